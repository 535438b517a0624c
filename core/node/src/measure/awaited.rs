//! Acknowledgements that are timed, also when nobody waits for them any more.
//!
//! A write is answered when enough replicas have acknowledged it, and forgotten then. Were only
//! those timed that came before, a slow replica would look fast: what is counted of it would be
//! the few times that it was among the first. So a write is chosen to be timed when it begins,
//! before anything is known of its answers, and stays so until the last of its replicas has
//! answered. Guests that stand in for some are asked later than those, and their answers say
//! nothing.
//!
//! The choice must not depend on how long others take, either. There are as many places as a
//! small table holds. Did every write take one that finds it free, then few would be chosen
//! whenever all are held by writes that take long, and a stall of seconds would count for next to
//! nothing. So no more are chosen than have places if each takes as long as any may: two hundred a
//! second, and a thousand after a rest. At more writes than that those that are timed are a
//! sample of them, chosen by when they begin.

use std::time::Duration;

use model::{NodeId, Now, REPLICAS_MAX};

use crate::RequestId;

/// Writes timed at once. At 48 bytes each the table has 192 KiB, once there is a write.
const PLACES: usize = 4_096;

/// Who has not answered after so long has lost the write, or the connection. Nobody could
/// tell such a time from a failure, and the place is free.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A write is timed so often in the long run. In [`WAIT_MAX`] these are two thousand, which with
/// those that [`AHEAD_MAX`] allows leave a quarter of the places free.
const EVERY: Duration = Duration::from_millis(5);

/// So much of that may be used up at once, which is a thousand writes: where there are few, all
/// are timed.
const AHEAD_MAX: Duration = Duration::from_secs(5);

/// The writes that are timed.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    /// Each write has one place, by its number. Empty until the first.
    places: Vec<Place>,
    /// Until when what may be timed is used up.
    used: Now,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    request: RequestId,
    begun: Now,
    /// The replicas whose answers are still to come; those behind them have answered.
    replicas: [NodeId; REPLICAS_MAX],
    missing: u8,
}

impl Place {
    const FREE: Self = Self {
        request: RequestId::NOBODY,
        begun: Now::from_micros(0),
        replicas: [NodeId::new(0); REPLICAS_MAX],
        missing: 0,
    };

    fn begin(request: RequestId, replicas: &[NodeId], begun: Now) -> Self {
        let mut place = Self { request, begun, ..Self::FREE };
        for (to, replica) in place.replicas.iter_mut().zip(replicas) {
            *to = *replica;
            place.missing += 1;
        }
        place
    }

    fn is_free(&self, now: Now) -> bool {
        self.missing == 0 || WAIT_MAX < now.since(self.begun)
    }

    /// Waits no longer for a replica. Returns whether it did.
    fn hear(&mut self, replica: NodeId) -> bool {
        let missing = self.replicas.iter().take(usize::from(self.missing));
        let Some(index) = missing.into_iter().position(|other| *other == replica) else {
            return false;
        };
        self.missing -= 1;
        self.replicas.swap(index, usize::from(self.missing));
        true
    }
}

impl Awaited {
    /// A write goes out to these replicas.
    pub(crate) fn begin(&mut self, request: RequestId, replicas: &[NodeId], now: Now) {
        if AHEAD_MAX < self.used.since(now) {
            return;
        }
        if self.places.is_empty() {
            self.places = vec![Place::FREE; PLACES];
        }
        // Where the place is taken, the next write is chosen instead.
        let Some(place) = self.place(request).filter(|place| place.is_free(now)) else { return };
        *place = Place::begin(request, replicas, now);
        self.used = self.used.max(now) + EVERY;
    }

    /// Somebody has acknowledged it. Returns how long that took, if it is a replica of the write
    /// and the write is timed.
    pub(crate) fn answered(
        &mut self,
        request: RequestId,
        from: NodeId,
        now: Now,
    ) -> Option<Duration> {
        let place = self.place(request).filter(|place| place.request == request)?;
        let is_awaited = place.hear(from);
        is_awaited.then(|| now.since(place.begun)).filter(|took| *took <= WAIT_MAX)
    }

    fn place(&mut self, request: RequestId) -> Option<&mut Place> {
        let index = usize::try_from(request.0 % PLACES as u64).unwrap_or_default();
        self.places.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const N1: NodeId = NodeId::new(1);
    const N2: NodeId = NodeId::new(2);
    const N3: NodeId = NodeId::new(3);
    const N4: NodeId = NodeId::new(4);

    fn at(millis: u64) -> Now {
        Now::from_micros(1_000 * millis)
    }

    #[test]
    fn the_last_of_three_is_timed_like_the_first_and_none_twice() {
        let (mut awaited, write) = (Awaited::default(), RequestId(7_000));
        assert_eq!(awaited.answered(write, N1, at(0)), None);
        awaited.begin(write, &[N1, N2, N3], at(1));
        for (node, millis) in [(N2, 1), (N1, 2), (N3, 90)] {
            let took = awaited.answered(write, node, at(1 + millis));
            assert_eq!(took, Some(Duration::from_millis(millis)));
            assert_eq!(awaited.answered(write, node, at(95)), None);
        }
    }

    #[test]
    fn a_guest_is_not_timed_and_takes_nothing_from_the_replica_for_which_it_stands() {
        let (mut awaited, write) = (Awaited::default(), RequestId(5));
        awaited.begin(write, &[N1, N2, N3], at(0));
        for (node, took) in [(N1, Some(1)), (N4, None), (N2, Some(1)), (N4, None)] {
            assert_eq!(awaited.answered(write, node, at(1)), took.map(Duration::from_millis));
        }
        assert_eq!(awaited.answered(write, N3, at(700)), Some(Duration::from_millis(700)));
    }

    #[test]
    fn a_write_whose_place_is_taken_is_not_timed_and_takes_nothing_from_the_other() {
        let (mut awaited, write) = (Awaited::default(), RequestId(5));
        let other = RequestId(5 + PLACES as u64);
        awaited.begin(write, &[N1, N2], at(0));
        awaited.begin(other, &[N1, N2], at(1));
        assert_eq!(awaited.answered(other, N1, at(2)), None);
        assert_eq!(awaited.answered(write, N1, at(3)), Some(Duration::from_millis(3)));
        awaited.begin(other, &[N1, N2], at(10_001));
        assert_eq!(awaited.answered(other, N1, at(10_004)), Some(Duration::from_millis(3)));
        assert_eq!(awaited.answered(write, N2, at(10_005)), None, "it gave up its place");
    }

    #[test]
    fn what_took_ten_seconds_is_no_time() {
        let (mut awaited, write) = (Awaited::default(), RequestId(9));
        awaited.begin(write, &[N1, N2], at(0));
        assert_eq!(awaited.answered(write, N1, at(10_000)), Some(WAIT_MAX));
        assert_eq!(awaited.answered(write, N2, at(10_001)), None);
    }

    #[test]
    fn of_ten_thousand_writes_a_second_as_large_a_part_of_the_slow_as_of_the_fast_is_timed() {
        let (mut awaited, mut due) = (Awaited::default(), BTreeMap::new());
        let (mut slow, mut all) = (0_u32, 0_u32);
        // A quarter of them, in one stall.
        for request in 0..200_000_u64 {
            let now = Now::from_micros(100 * request);
            let is_slow = (50_000..100_000).contains(&request);
            let took = if is_slow { 9_000_000 } else { 1_000 };
            while let Some((at, answered)) = due.first_key_value().map(|(key, ())| *key)
                && at <= now
            {
                due.remove(&(at, answered));
                if let Some(took) = awaited.answered(RequestId(answered), N1, at) {
                    all += 1;
                    slow += u32::from(Duration::from_secs(1) < took);
                }
            }
            awaited.begin(RequestId(request), &[N1], now);
            due.insert((now + Duration::from_micros(took), request), ());
        }
        // Those of the beginning are a thousand more.
        assert!((4_500..5_100).contains(&all), "{all}");
        assert!((900..1_100).contains(&slow), "{slow} of {all}");
    }
}

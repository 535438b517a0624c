//! Legs from what the nodes of a running cluster see of each other.
//!
//! A coordinator can time only round trips: clocks of two machines are never close enough to
//! time one way of less than a millisecond. So the round trips of reads and of writes are
//! counted for each pair of coordinator and replica, and divided here:
//!
//! ```text
//! read   ──R──► looks up ──S──►         R = S = half of a read's round trip
//! write  ──W──► has it, to disk ──A──►  W = half of another read's, A = what is left
//! ```
//!
//! A write comes to a replica the way a read does: over the same link, into the same queue. The
//! replica shows it to reads from then on, while its disk still works, so that the disk is a
//! part of the way back. How long reads and writes take in all is as it was measured; only what
//! is said of staleness rests on the division. It is wrong by the half of the difference, where
//! the ways there and back differ.

use rand::{Rng, RngExt as _};

use crate::{Impossible, Quorum, Sample};

/// Round trips, counted by how long they took.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundTrips {
    /// Invariant: not empty, and each has at least one.
    ranges: Vec<Range>,
    count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    /// In milliseconds.
    from: f64,
    to: f64,
    /// How many are in this range and those before it.
    below: u64,
}

impl RoundTrips {
    /// From the upper bound of each range in milliseconds, in order, and how many are in it. The
    /// last one may be infinite: what is in there is taken to be at most twice as long as the
    /// bound before it.
    ///
    /// # Errors
    ///
    /// [`Impossible::NoSamples`] if all are empty, or [`Impossible::Time`] for a bound that is not
    /// above the one before.
    pub fn new(counts: impl IntoIterator<Item = (f64, u64)>) -> Result<Self, Impossible> {
        let (mut ranges, mut from, mut below) = (Vec::new(), 0.0, 0);
        for (index, (bound, count)) in counts.into_iter().enumerate() {
            if bound.is_nan() || bound <= from || f64::is_infinite(from) {
                return Err(Impossible::Time { index, millis: bound });
            }
            if 0 < count {
                below += count;
                let to = if bound.is_finite() { bound } else { 2.0 * from };
                ranges.push(Range { from, to, below });
            }
            from = bound;
        }
        if ranges.is_empty() {
            Err(Impossible::NoSamples)
        } else {
            Ok(Self { ranges, count: below })
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The upper bound, in milliseconds, of the range that so large a share of them reaches, from
    /// 0 to 1.
    pub fn quantile(&self, share: f64) -> f64 {
        let place = (share * self.count as f64).ceil() as u64;
        self.range(place.saturating_sub(1)).to
    }

    /// The range that so many round trips are before or in.
    fn range(&self, before: u64) -> Range {
        let index = self.ranges.partition_point(|range| range.below <= before);
        let found = self.ranges.get(index).or(self.ranges.last());
        *found.expect("there is at least one range")
    }

    /// One of them; within its range any time is as likely.
    fn draw(&self, rng: &mut impl Rng) -> f64 {
        let Range { from, to, .. } = self.range(rng.random_range(0..self.count));
        from + (to - from) * rng.random::<f64>()
    }
}

/// What one coordinator has seen of one replica.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Of reads.
    pub reads: RoundTrips,
    /// Of writes, with the disk of the replica. Nothing if it coordinates none there.
    pub writes: Option<RoundTrips>,
}

/// What one coordinator has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Coordinator {
    /// Which of the replicas it is itself, by place.
    pub is: Option<usize>,
    /// Of each replica, in the same order at all coordinators.
    pub views: Vec<View>,
}

impl Coordinator {
    fn is_in(&self, group: &[usize]) -> bool {
        self.is.is_some_and(|is| group.contains(&is))
    }

    /// Whether it has seen writes of all these replicas.
    fn writes_to(&self, group: &[usize]) -> bool {
        let has = |place: &usize| self.views.get(*place).is_some_and(|view| view.writes.is_some());
        group.iter().all(has)
    }
}

/// What several coordinators have seen of the same replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Invariant: not empty, and all have as many views, at least one.
    coordinators: Vec<Coordinator>,
    replicas: usize,
    /// Which of them keep a key together. Empty if any may.
    groups: Vec<Vec<usize>>,
}

impl Seen {
    /// Puts together what was seen. Any replicas may keep a key together.
    ///
    /// # Errors
    ///
    /// [`Impossible::NoSamples`] if there is no coordinator or no replica, or if one of them has
    /// not seen all replicas.
    pub fn new(coordinators: Vec<Coordinator>) -> Result<Self, Impossible> {
        Self::placed(coordinators, Vec::new())
    }

    /// The same where only some keep a key together: each of these groups as often as the others.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); also if no coordinator is in a group, whose writes nobody would
    /// coordinate. Writes have to be seen only of those that are in a group with their coordinator.
    pub fn placed(
        coordinators: Vec<Coordinator>,
        groups: Vec<Vec<usize>>,
    ) -> Result<Self, Impossible> {
        let replicas = coordinators.first().map_or(0, |first| first.views.len());
        let seen = Self { coordinators, replicas, groups };
        let is_whole = |one: &Coordinator| one.views.len() == replicas;
        let all: Vec<usize> = (0..replicas).collect();
        let is_seen = match seen.groups.as_slice() {
            [] => seen.coordinators.iter().all(|one| one.writes_to(&all)),
            groups => groups.iter().all(|group| seen.is_written(group)),
        };
        let is_good = replicas != 0 && seen.coordinators.iter().all(is_whole) && is_seen;
        if is_good { Ok(seen) } else { Err(Impossible::NoSamples) }
    }

    /// Whether there is somebody who writes to a group, and all who do have seen it.
    fn is_written(&self, group: &[usize]) -> bool {
        let mut writers = self.coordinators.iter().filter(|one| one.is_in(group)).peekable();
        writers.peek().is_some() && writers.all(|one| one.writes_to(group))
    }

    /// Draws who the replicas of a key are, who coordinates its write and its read, and the legs
    /// of both. Where more replicas are asked for than there are, some are drawn twice, as if
    /// there were more nodes like them.
    pub(crate) fn draw(&self, samples: &mut [Sample], rng: &mut impl Rng) {
        let mut place = [0; Quorum::REPLICAS_MAX];
        let places = place.get_mut(..samples.len()).unwrap_or_default();
        match self.groups.get(rng.random_range(0..self.groups.len().max(1))) {
            Some(group) if group.len() == places.len() => places.copy_from_slice(group),
            Some(_) | None => self.draw_replicas(places, rng),
        }
        let (writer, reader) = (self.writer(places, rng), self.any(rng));
        for (sample, place) in samples.iter_mut().zip(places) {
            if let (Some(writes), Some(reads)) =
                (writer.views.get(*place), reader.views.get(*place))
            {
                *sample = divided(writes, reads, rng);
            }
        }
    }

    /// As many different ones as there are (Floyd's method), and then others.
    fn draw_replicas(&self, places: &mut [usize], rng: &mut impl Rng) {
        let again = places.len() / self.replicas * self.replicas;
        let (whole, rest) = places.split_at_mut(again);
        for (index, place) in whole.iter_mut().enumerate() {
            *place = index % self.replicas;
        }
        for index in 0..rest.len() {
            let last = self.replicas - rest.len() + index;
            let drawn = rng.random_range(0..=last);
            let is_taken = rest.iter().take(index).any(|place| *place == drawn);
            if let Some(place) = rest.get_mut(index) {
                *place = if is_taken { last } else { drawn };
            }
        }
    }

    /// Who writes is a replica of the key, if one of those that were seen is.
    fn writer(&self, places: &[usize], rng: &mut impl Rng) -> &Coordinator {
        let is_replica = |one: &&Coordinator| one.is_in(places);
        let count = self.coordinators.iter().filter(is_replica).count();
        if count == 0 {
            return self.any(rng);
        }
        let drawn = rng.random_range(0..count);
        self.coordinators.iter().filter(is_replica).nth(drawn).unwrap_or_else(|| self.any(rng))
    }

    fn any(&self, rng: &mut impl Rng) -> &Coordinator {
        let drawn = rng.random_range(0..self.coordinators.len());
        self.coordinators.get(drawn).expect("there are as many coordinators")
    }
}

/// The four legs of a replica, from round trips.
fn divided(writes: &View, reads: &View, rng: &mut impl Rng) -> Sample {
    // Who has seen no writes is drawn only where a group has another size than a prediction: then
    // a write takes as long as a read.
    let written = writes.writes.as_ref().unwrap_or(&writes.reads).draw(rng);
    let write = (writes.reads.draw(rng) / 2.0).min(written);
    let half = reads.reads.draw(rng) / 2.0;
    Sample { write, ack: written - write, read: half, response: half }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn about(millis: f64) -> RoundTrips {
        RoundTrips::new([(0.9 * millis, 0), (millis, 10)]).unwrap()
    }

    fn view(reads: f64, writes: f64) -> View {
        View { reads: about(reads), writes: Some(about(writes)) }
    }

    fn drawn(seen: &Seen, n: usize) -> Vec<Sample> {
        let mut samples = vec![Sample::default(); n];
        seen.draw(&mut samples, &mut ChaCha8Rng::seed_from_u64(3));
        samples
    }

    #[test]
    fn what_is_drawn_is_spread_as_it_was_counted() {
        let trips = RoundTrips::new([(1.0, 500), (1.25, 0), (1.5, 400), (f64::INFINITY, 100)]);
        let trips = trips.unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<f64> = (0..10_000).map(|_| trips.draw(&mut rng)).collect();
        let share = |from: f64, to: f64| {
            drawn.iter().filter(|millis| (from..to).contains(*millis)).count() as f64 / 10_000.0
        };
        for (from, to, expected) in
            [(0.0, 0.5, 0.25), (0.0, 1.0, 0.5), (1.0, 1.25, 0.0), (1.25, 1.5, 0.4), (1.5, 3.0, 0.1)]
        {
            let found = share(from, to);
            assert!((found - expected).abs() < 0.02, "{from} to {to}: {found}, not {expected}");
        }
        assert_eq!([0.5, 0.51, 0.9, 0.91].map(|share| trips.quantile(share)), [1.0, 1.5, 1.5, 3.0]);
    }

    #[test]
    fn the_disk_is_a_part_of_the_way_back_and_a_round_trip_stays_as_long_as_it_was() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..100 {
            let Sample { write, ack, read, response } =
                divided(&view(4.0, 30.0), &view(80.0, 1.0), &mut rng);
            assert!((1.8..2.0).contains(&write) && (27.0..30.0).contains(&(write + ack)));
            assert!(read == response && (36.0..40.0).contains(&read));
            let quick = divided(&view(4.0, 1.0), &view(4.0, 1.0), &mut rng);
            assert!(quick.write <= 1.0 && quick.ack == 0.0, "no leg is below 0: {quick:?}");
        }
    }

    #[test]
    fn a_key_has_different_replicas_and_all_of_them_if_it_has_as_many() {
        let views: Vec<View> = [1.0, 10.0, 100.0].map(|millis| view(millis, millis)).into();
        let seen = Seen::new(vec![Coordinator { is: Some(1), views }]).unwrap();
        for n in 1..=7 {
            let mut decades = drawn(&seen, n)
                .iter()
                .map(|sample| (sample.write + sample.ack).log10().round() as usize)
                .fold([0; 3], |mut all, decade| {
                    all[decade] += 1;
                    all
                });
            decades.sort_unstable();
            assert!(decades[2] - decades[0] <= 1, "{n} replicas: {decades:?}");
        }
    }

    #[test]
    fn a_write_is_coordinated_by_a_replica_of_its_key_if_one_was_asked() {
        let of = |is, millis| Coordinator {
            is,
            views: vec![view(millis, millis), view(millis, millis)],
        };
        let seen = Seen::new(vec![of(Some(0), 1.0), of(Some(1), 10.0), of(None, 100.0)]).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut sample = [Sample::default(); 2];
        let (mut own, mut others) = (0, 0);
        for _ in 0..300 {
            seen.draw(&mut sample, &mut rng);
            let [one, _] = sample;
            assert!(one.write + one.ack < 11.0, "never by the node that is no replica");
            own += usize::from(one.write + one.ack < 2.0);
            others += usize::from(50.0 < one.read + one.response);
        }
        assert!((110..190).contains(&own), "each of the two as often: {own}");
        assert!((60..140).contains(&others), "a read is asked of anybody: {others}");
    }

    #[test]
    fn replicas_that_keep_no_key_together_are_never_drawn_together() {
        let unwritten = |millis: f64| View { writes: None, ..view(millis, millis) };
        let views = |seen: [View; 3], is| Coordinator { is: Some(is), views: seen.into() };
        let (a, b, c) = (view(1.0, 1.0), view(10.0, 10.0), view(100.0, 100.0));
        let first = views([a.clone(), b.clone(), unwritten(100.0)], 0);
        let last = views([unwritten(1.0), b.clone(), c.clone()], 2);
        let (groups, all) = (vec![vec![0, 1], vec![1, 2]], vec![first.clone(), last.clone()]);
        let seen = Seen::placed(all.clone(), groups.clone()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut samples = [Sample::default(); 2];
        for _ in 0..200 {
            seen.draw(&mut samples, &mut rng);
            let reads = samples.map(|sample| (sample.read + sample.response).log10().round());
            assert!(reads == [0.0, 1.0] || reads == [1.0, 2.0], "{reads:?}");
        }
        assert_eq!(Seen::new(all), Err(Impossible::NoSamples), "any two, and some not seen");
        assert_eq!(Seen::placed(vec![first.clone()], groups), Err(Impossible::NoSamples));
        let blind = views([unwritten(1.0), b, c], 0);
        assert_eq!(Seen::placed(vec![blind], vec![vec![0, 1]]), Err(Impossible::NoSamples));
        assert!(Seen::placed(vec![first], vec![vec![0, 1]]).is_ok());
    }

    #[test]
    fn one_slow_replica_is_felt_only_by_those_who_wait_for_it() {
        let of = |is| Coordinator {
            is: Some(is),
            views: vec![view(1.0, 5.0), view(1.0, 5.0), view(10.0, 50.0)],
        };
        let legs = crate::Legs::Seen(Seen::new(vec![of(0), of(1)]).unwrap());
        let half = |r, w| {
            let quorum = Quorum::new(3, r, w).unwrap();
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let predicted = crate::Prediction::compute(quorum, &legs, 2_000, &mut rng);
            [&predicted.reads, &predicted.writes].map(|times| times.quantile(0.9).millis.ceil())
        };
        assert_eq!([half(1, 1), half(2, 2), half(3, 3)], [[1.0, 5.0], [1.0, 5.0], [10.0, 50.0]]);
    }

    #[test]
    fn what_says_nothing_is_refused() {
        assert_eq!(RoundTrips::new([(1.0, 0), (2.0, 0)]), Err(Impossible::NoSamples));
        for bounds in [[2.0, 1.0], [1.0, 1.0], [1.0, f64::NAN], [f64::INFINITY, 1.0]] {
            let refused = RoundTrips::new(bounds.map(|bound| (bound, 1))).unwrap_err();
            assert!(matches!(refused, Impossible::Time { index: 1, .. }), "{bounds:?}");
        }
        let views = |count: usize| Coordinator { is: None, views: vec![view(1.0, 1.0); count] };
        for coordinators in [vec![], vec![views(0)], vec![views(3), views(2)]] {
            assert_eq!(Seen::new(coordinators), Err(Impossible::NoSamples));
        }
    }
}

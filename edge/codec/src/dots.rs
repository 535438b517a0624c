//! Exact sets of dots as bytes.
//!
//! The context of an object is written with every version of it, so a set of one dot must
//! cost little more than the dot. Runs are grouped by incarnation, whose eight random
//! bytes are written once, and each number is the distance from the one before.
//!
//! ```text
//! set    = groups  { incarnation (8 bytes)  runs  { gap  length } }
//! {a:1..=3 a:7 b:5}  =  2  a 2 (0 2) (2 0)  b 1 (4 0)
//! ```
//!
//! The first gap counts from 1, each later one from the least number that would not touch
//! the run before. `length` is one less than the number of dots. Groups are in order, and
//! none is empty, so a set has one encoding.

use bytes::{BufMut, Bytes};
use causality::{DotSet, Incarnation, Run};

use crate::reader::Reader;
use crate::{Malformed, varint};

/// The fewest bytes that a group can have: its incarnation, a count, and one run.
const GROUP_BYTES_MIN: usize = 8 + 1 + RUN_BYTES_MIN;

/// The fewest bytes that a run can have.
const RUN_BYTES_MIN: usize = 2;

/// Appends a set.
pub fn encode(set: &DotSet, out: &mut impl BufMut) {
    let groups = || set.runs().chunk_by(|a, b| a.incarnation == b.incarnation);
    varint::put_len(groups().count(), out);
    for runs in groups() {
        let incarnation = runs.first().expect("a chunk is never empty").incarnation;
        out.put_u64_le(incarnation.bits());
        put_runs(runs, out);
    }
}

/// Reads a set that fills the bytes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`encode`] makes.
pub fn decode(bytes: &Bytes) -> Result<DotSet, Malformed> {
    let mut reader = Reader::new(bytes);
    let set = read(&mut reader)?;
    reader.finish()?;
    Ok(set)
}

/// Reads the set that comes next.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`encode`] makes.
pub fn read(reader: &mut Reader<'_>) -> Result<DotSet, Malformed> {
    let groups = reader.count(GROUP_BYTES_MIN)?;
    let mut runs = Vec::with_capacity(groups);
    let mut before = None;
    for _ in 0..groups {
        let incarnation = Incarnation::new(reader.fixed()?);
        if Some(incarnation) <= before {
            return Err(Malformed::Invalid("incarnations out of order"));
        }
        before = Some(incarnation);
        read_runs(incarnation, reader, &mut runs)?;
    }
    DotSet::from_runs(runs).map_err(|_| Malformed::Invalid("runs of dots out of order"))
}

/// Appends the runs of one incarnation, without the incarnation.
pub(crate) fn put_runs(runs: &[Run], out: &mut impl BufMut) {
    varint::put_len(runs.len(), out);
    let mut least = 1;
    for run in runs {
        varint::put(run.first - least, out);
        varint::put(run.last - run.first, out);
        // At the greatest number there can be no further run.
        least = run.last.saturating_add(2);
    }
}

/// Reads what [`put_runs`] wrote. At least one run.
pub(crate) fn read_runs(
    incarnation: Incarnation,
    reader: &mut Reader<'_>,
    runs: &mut Vec<Run>,
) -> Result<(), Malformed> {
    let count = reader.count(RUN_BYTES_MIN)?;
    if count == 0 {
        return Err(Malformed::Invalid("an incarnation without dots"));
    }
    runs.reserve(count);
    let mut least = Some(1_u64);
    for _ in 0..count {
        let first = add(least, reader.varint()?)?;
        let last = add(Some(first), reader.varint()?)?;
        runs.push(Run { incarnation, first, last });
        least = last.checked_add(2);
    }
    Ok(())
}

fn add(base: Option<u64>, distance: u64) -> Result<u64, Malformed> {
    base.and_then(|base| base.checked_add(distance))
        .ok_or(Malformed::Invalid("a dot numbered above 64 bits"))
}

#[cfg(test)]
mod tests {
    use causality::Dot;

    use super::*;

    fn run(incarnation: u64, first: u64, last: u64) -> Run {
        Run { incarnation: Incarnation::new(incarnation), first, last }
    }

    fn encoded(set: &DotSet) -> Bytes {
        let mut out = Vec::new();
        encode(set, &mut out);
        out.into()
    }

    #[test]
    fn the_example_of_the_module_holds() {
        let set = DotSet::from_runs(vec![run(10, 1, 3), run(10, 7, 7), run(11, 5, 5)]).unwrap();
        let mut expected = vec![2];
        expected.extend(10_u64.to_le_bytes());
        expected.extend([2, 0, 2, 2, 0]);
        expected.extend(11_u64.to_le_bytes());
        expected.extend([1, 4, 0]);
        assert_eq!(encoded(&set), expected);
        assert_eq!(decode(&expected.into()), Ok(set));
    }

    #[test]
    fn one_dot_costs_twelve_bytes() {
        let set: DotSet = [Dot::new(Incarnation::new(u64::MAX), 100)].into_iter().collect();
        assert_eq!(encoded(&set).len(), 12);
    }

    #[test]
    fn the_greatest_number_survives() {
        let set = DotSet::from_runs(vec![run(1, 1, 1), run(1, u64::MAX, u64::MAX)]).unwrap();
        assert_eq!(decode(&encoded(&set)), Ok(set));
    }

    #[test]
    fn a_second_way_to_write_a_set_is_refused() {
        let a = 10_u64.to_le_bytes();
        let one = |runs: &[u8]| [&[1][..], &a, runs].concat();
        let two = |first: &[u8], second: &[u8]| [&[2][..], &a, first, &a, second].concat();
        for bytes in [one(&[0]), two(&[1, 0, 0], &[1, 0, 0]), two(&[1, 0, 0], &[1, 4, 0])] {
            assert!(decode(&bytes.clone().into()).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let bytes = [&[1][..], &[7; 8], &[1], &huge, &[0]].concat();
        assert!(matches!(decode(&bytes.into()), Err(Malformed::Invalid(_))));
    }

    #[test]
    fn a_declared_count_makes_no_room_before_the_bytes_are_there() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(decode(&bytes.to_vec().into()), Err(Malformed::Truncated));
    }
}

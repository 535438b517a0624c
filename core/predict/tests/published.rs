//! The published figures, and those that are exact.
//!
//! The tables of the paper rest on 50,000 draws for each point; the references here on 16
//! million, from an implementation of its own. Where the two differ, in how long a read can
//! be stale, it is by the bias of the paper's search.

use predict::{Impossible, Legs, Prediction, Quorum, Sample, Samples, Trial, misses_last};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// With as many the 99.9th percentile rests on 4,000 draws.
const TRIALS: usize = 4_000_000;

/// R and W; the 99.9th percentiles of reads, of writes, and of staleness, in milliseconds.
type Row = ((usize, usize), (f64, f64, f64));

fn assert_near(what: &str, found: f64, expected: f64, tolerance: f64) {
    let off = (found - expected).abs() / expected.max(0.01);
    assert!(off <= tolerance, "{what}: {found:.3} ms, and not {expected} ms");
}

fn assert_as_published(name: &str, legs: &Legs, rows: [Row; 6]) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut trial = Trial::new(3);
    let mut times: Vec<[Vec<f32>; 3]> = vec![Default::default(); rows.len()];
    for _ in 0..TRIALS {
        trial.draw(legs, &mut rng);
        for (((r, w), _), [reads, writes, stale]) in rows.iter().zip(&mut times) {
            reads.push(trial.read_millis(*r) as f32);
            writes.push(trial.write_millis(*w) as f32);
            stale.push(trial.stale_millis(*r, *w) as f32);
        }
    }
    for (((r, w), (read, write, stale)), times) in rows.into_iter().zip(times) {
        let [reads, writes, stales] = times
            .map(|mut times| *times.select_nth_unstable_by(TRIALS / 1000 * 999, f32::total_cmp).1);
        let what = |of: &str| format!("{name} R={r} W={w}, {of}");
        assert_near(&what("read"), reads.into(), read, 0.02);
        assert_near(&what("write"), writes.into(), write, 0.02);
        assert_near(&what("staleness"), stales.into(), stale, 0.03);
    }
}

#[test]
fn solid_state_disks_are_as_published() {
    assert_as_published(
        "LNKD-SSD",
        &Legs::lnkd_ssd(),
        [
            ((1, 1), (0.655, 0.655, 1.97)),
            ((1, 2), (0.66, 1.63, 1.85)),
            ((2, 1), (1.63, 0.655, 0.0)),
            ((2, 2), (1.63, 1.63, 0.0)),
            ((3, 1), (4.11, 0.655, 0.0)),
            ((1, 3), (0.655, 4.11, 0.0)),
        ],
    );
}

#[test]
fn spinning_disks_are_as_published() {
    assert_as_published(
        "LNKD-DISK",
        &Legs::lnkd_disk(),
        [
            ((1, 1), (0.66, 10.93, 52.4)),
            ((1, 2), (0.66, 20.93, 47.7)),
            ((2, 1), (1.635, 10.93, 14.15)),
            ((2, 2), (1.63, 20.94, 0.0)),
            ((3, 1), (4.12, 10.92, 0.0)),
            ((1, 3), (0.655, 111.3, 0.0)),
        ],
    );
}

#[test]
fn riak_at_yammer_is_as_published() {
    assert_as_published(
        "YMMR",
        &Legs::ymmr(),
        [
            ((1, 1), (5.60, 10.78, 1454.0)),
            ((1, 2), (5.60, 432.6, 1433.0)),
            ((2, 1), (33.1, 10.78, 218.0)),
            ((2, 2), (33.05, 432.3, 0.0)),
            ((3, 1), (219.6, 10.77, 0.0)),
            ((1, 3), (5.60, 1861.0, 0.0)),
        ],
    );
}

#[test]
fn several_continents_are_as_published() {
    assert_as_published(
        "WAN",
        &Legs::wan(),
        [
            ((1, 1), (3.43, 54.9, 116.1)),
            ((1, 2), (3.43, 167.7, 0.0)),
            ((2, 1), (151.3, 55.0, 30.95)),
            ((2, 2), (151.3, 167.7, 0.0)),
            ((3, 1), (153.9, 54.9, 0.0)),
            ((1, 3), (3.42, 241.4, 0.0)),
        ],
    );
}

#[test]
fn reads_right_after_the_write_are_as_published() {
    let published = [
        (Legs::lnkd_ssd(), 3, 0.0, 0.9736),
        (Legs::lnkd_disk(), 3, 0.0, 0.4367),
        (Legs::lnkd_disk(), 3, 10.0, 0.9262),
        (Legs::lnkd_disk(), 2, 0.0, 0.5749),
        (Legs::lnkd_disk(), 10, 0.0, 0.2104),
        (Legs::ymmr(), 3, 0.0, 0.8929),
        (Legs::wan(), 3, 0.0, 0.3338),
    ];
    for (legs, n, millis, expected) in published {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let quorum = Quorum::new(n, 1, 1).unwrap();
        let found = Prediction::compute(quorum, &legs, 400_000, &mut rng).returns_latest(millis);
        assert!((found - expected).abs() < 0.003, "N={n}, {millis} ms: {found}");
    }
}

#[test]
fn quorums_that_meet_are_never_stale_and_meeting_is_counted_right() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (n, r, w, meets) in [(3, 2, 2, true), (5, 3, 3, true), (4, 2, 2, false), (1, 1, 1, true)] {
        let quorum = Quorum::new(n, r, w).unwrap();
        let predicted = Prediction::compute(quorum, &Legs::lnkd_disk(), 20_000, &mut rng);
        let always = predicted.returns_latest(0.0) == 1.0;
        assert_eq!((quorum.meets(), always), (meets, meets), "N={n} R={r} W={w}");
    }
}

#[test]
fn the_worst_case_is_a_matter_of_counting() {
    let of = |n, r, w, k| misses_last(Quorum::new(n, r, w).unwrap(), k);
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 5e-4, "{found}");
    close(1.0 - of(3, 1, 1, 2), 0.5555);
    close(1.0 - of(3, 1, 1, 3), 0.7037);
    close(1.0 - of(3, 1, 2, 1), 0.6667);
    close(1.0 - of(3, 1, 2, 2), 0.8889);
    close(of(3, 2, 2, 1), 0.0);
}

#[test]
fn a_measured_replica_keeps_its_legs_together() {
    let fast = Sample { write: 1.0, ack: 1.0, read: 1.0, response: 1.0 };
    let slow = Sample { write: 50.0, ack: 50.0, read: 50.0, response: 50.0 };
    let legs = Legs::measured(vec![fast, slow]).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let quorum = Quorum::new(1, 1, 1).unwrap();
    let predicted = Prediction::compute(quorum, &legs, 2_000, &mut rng);
    let times = |samples: &Samples| [0.0, 2.0, 99.0, 100.0].map(|t| samples.share_within(t));
    let [none, half, still_half, all] = times(&predicted.reads);
    assert!(none == 0.0 && half == still_half && all == 1.0 && (0.4..0.6).contains(&half));
    assert_eq!(times(&predicted.writes)[2], times(&predicted.writes)[1], "nothing between");
}

#[test]
fn what_cannot_be_is_refused() {
    for (n, r, w) in [(0, 0, 0), (3, 0, 1), (3, 1, 4), (16, 1, 1)] {
        assert_eq!(Quorum::new(n, r, w), Err(Impossible::Quorum { n, r, w }));
    }
    assert_eq!(Legs::measured(Vec::new()), Err(Impossible::NoSamples));
    for millis in [-1.0, f64::NAN, f64::INFINITY, 1e308] {
        let samples = vec![Sample::default(), Sample { ack: millis, ..Sample::default() }];
        let refused = Legs::measured(samples).unwrap_err();
        assert!(matches!(refused, Impossible::Time { index: 1, .. }), "{millis}");
    }
}

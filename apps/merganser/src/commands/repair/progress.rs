//! How far a repair of a cluster is.

use indicatif::{ProgressBar, ProgressStyle};

use super::found::Found;

/// What the bar counts for one pair.
const PAIR: u64 = 1_000;

/// Of that, for reading, which takes longest where there is much.
const READING: u64 = 800;

/// A bar on standard error, if that is a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar for so many pairs.
    pub(super) fn new(pairs: u64) -> Self {
        let bar = ProgressBar::new(pairs * PAIR);
        let style = ProgressStyle::with_template("{bar:32} {percent}% {msg} {eta} left");
        bar.set_style(style.expect("the template is well formed"));
        Self { bar }
    }

    /// The next node has its turn.
    pub(super) fn at(&self, node: u16) {
        self.bar.set_message(format!("n{node}"));
    }

    /// Shows what was heard.
    pub(super) fn show(&self, found: &Found) {
        let done = found.pairs().map(|(_, pair)| done(pair)).sum();
        self.bar.set_length(self.bar.length().unwrap_or_default().max(done));
        self.bar.set_position(done);
        if let Some((at, pair)) = found.current() {
            let differs = match found.differences() {
                0 => String::new(),
                count => format!(", {count} differed"),
            };
            let why = pair.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            self.bar.set_message(format!(
                "n{} {}/{} with n{}: {}{why}{differs},",
                at.node, at.keyspace, at.shard, at.with, pair.state
            ));
        }
    }

    /// A node does not answer.
    pub(super) fn wait_for(&self, node: u16) {
        self.bar.set_message(format!("n{node} does not answer, waiting for it,"));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// How much of a pair is done.
fn done(pair: &client::RepairPair) -> u64 {
    match pair.state.as_str() {
        "proved" | "passed" | "compared" | "failed" => PAIR,
        "comparing" => READING,
        _ => READING * pair.read / (2 * pair.keys).max(pair.read).max(1),
    }
}

#[cfg(test)]
mod tests {
    use client::RepairPair;

    use super::*;

    #[test]
    fn a_pair_is_as_far_as_it_has_read_and_never_more_than_done() {
        let pair = |state: &str, keys, read| {
            done(&RepairPair { state: state.to_owned(), keys, read, ..RepairPair::default() })
        };
        assert_eq!(pair("waiting", 0, 0), 0);
        assert_eq!(pair("reading", 100, 50), 200);
        assert_eq!(pair("blocked", 100, 100), 400);
        assert_eq!(pair("reading", 100, 900), 800, "more came than there was");
        assert_eq!((pair("comparing", 100, 200), pair("proved", 100, 200)), (800, 1_000));
    }
}

//! Who must take part in a request, and what its answer must be worth.

use std::fmt;
use std::str::FromStr;

use crate::Identity;

/// Whose answers are awaited, by name or by count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// One copy anywhere.
    Any,
    /// One replica.
    One,
    /// Two replicas.
    Two,
    /// Three replicas.
    Three,
    /// A majority of all votes.
    Quorum,
    /// All replicas.
    All,
    /// One replica in the region of the node that is asked.
    LocalOne,
    /// A majority of the votes in the region of the node that is asked.
    LocalQuorum,
    /// A majority of the votes in each region.
    EachQuorum,
    /// So many votes; every replica has one, unless the table says otherwise.
    Count(u8),
}

/// The levels that have a name, and the name.
const NAMED: [(Level, &str); 9] = [
    (Level::Any, "ANY"),
    (Level::One, "ONE"),
    (Level::Two, "TWO"),
    (Level::Three, "THREE"),
    (Level::Quorum, "QUORUM"),
    (Level::All, "ALL"),
    (Level::LocalOne, "LOCAL_ONE"),
    (Level::LocalQuorum, "LOCAL_QUORUM"),
    (Level::EachQuorum, "EACH_QUORUM"),
];

impl FromStr for Level {
    type Err = String;

    /// Reads a name in either case, or a number.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = NAMED.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        let level = named.map(|(level, _)| *level).or_else(|| text.parse().ok().map(Self::Count));
        level.ok_or_else(|| {
            let names: Vec<&str> = NAMED.iter().map(|(_, name)| *name).collect();
            format!("{text:?} is no level: use {} or a number", names.join(", "))
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, NAMED.iter().find(|(level, _)| level == self)) {
            (Self::Count(count), _) => write!(f, "{count}"),
            (_, Some((_, name))) => f.write_str(name),
            (_, None) => unreachable!("every level but a count has a name"),
        }
    }
}

/// What a read asks for. What is left out comes from the table.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Replicas that must answer.
    pub r: Option<Level>,
    /// Of these, how many must be primaries.
    pub pr: Option<Level>,
    /// What is demanded beside.
    pub demands: Demands,
    /// Ask for everything the server knows about the answer: the dot of a single value, and
    /// each replica's part. Without it a single value comes as it is, which is cheaper.
    pub full: bool,
    /// No later read of the key that says so, too, returns less than this one: what is read is
    /// brought to enough replicas before it is returned. If it cannot be in time, the read fails
    /// with the code `not_settled`.
    pub monotonic: bool,
}

/// What a write asks for. What is left out comes from the table.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Replicas that must have the write.
    pub w: Option<Level>,
    /// Of these, how many must be primaries.
    pub pw: Option<Level>,
    /// Of these, how many must have it on disk.
    pub dw: Option<Level>,
    /// What is demanded beside.
    pub demands: Demands,
    /// What it is known by when it is sent again.
    pub identity: Identity,
}

/// What a request demands beside its levels.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Demands {
    /// How many different nodes must take part, whatever their votes.
    pub min_nodes: Option<u8>,
    /// In how many different zones somebody must take part.
    pub min_zones: Option<u8>,
    /// Whether the answer must be [strict](crate::Kind::Strict). If it cannot be made so in
    /// time the request fails, with the code `weaker_than_wanted` if all else was met.
    pub strict: bool,
}

impl Demands {
    fn named(self) -> [(&'static str, Option<String>); 3] {
        let text = |number: Option<u8>| number.map(|number| number.to_string());
        let min = self.strict.then(|| "strict".to_owned());
        [("min_nodes", text(self.min_nodes)), ("min_zones", text(self.min_zones)), ("min", min)]
    }
}

/// Levels and demands as parameters of a query.
pub(crate) fn named<'a>(
    levels: impl IntoIterator<Item = (&'a str, Option<Level>)>,
    demands: Demands,
) -> impl Iterator<Item = (&'a str, String)> {
    let levels = levels.into_iter().map(|(name, level)| (name, level.map(|l| l.to_string())));
    let all = levels.chain(demands.named());
    all.filter_map(|(name, value)| value.map(|value| (name, value)))
}

impl ReadOptions {
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, String)> {
        named([("r", self.r), ("pr", self.pr)], self.demands)
    }
}

impl WriteOptions {
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, String)> {
        named([("w", self.w), ("pw", self.pw), ("dw", self.dw)], self.demands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_spells_every_level_as_the_client_does() {
        let numbers = (0..=300).map(|count: u32| count.to_string());
        let words = ["ONE", "two", "Three", "QUORUM", "all", "any", "local_ONE", "LOCAL_QUORUM"];
        let wrong = ["each_quorum", "", "MOST", "-1", "+1", "01", " 1", "LOCAL"];
        let words = words.into_iter().chain(wrong);
        for text in numbers.chain(words.map(str::to_owned)) {
            let ours = text.parse::<Level>().ok().map(|level| level.to_string());
            let theirs = model::Level::parse(&text).map(|level| level.to_string());
            assert_eq!(ours, theirs, "{text:?}");
        }
    }
}

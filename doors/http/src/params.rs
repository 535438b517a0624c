//! The query of a request, and what each request accepts in it.
//!
//! A parameter given twice, or one that a request does not have, is refused instead of
//! guessed at. A misspelt `w` would otherwise be answered at the default level, and the
//! client would believe that it had got what it asked for.
//!
//! The list of what a request accepts is also what the description of the API shows.

use std::time::Duration;

use bytes::Bytes;
use model::{Kind, Level, Name, ReadOptions, Spread, WriteOptions};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use crate::openapi::NAME_PATTERN;
use crate::path::decode;
use crate::problem::{Code, Problem};
use crate::repair::{self, MODES};

/// How long a client waits that does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// The longest that a client may wait, in milliseconds. A request that takes longer holds
/// its place among those that the node can bear.
const TIMEOUT_MILLIS_MAX: u64 = 60_000;

/// The longest that a wait can have lasted, in milliseconds: a year.
const AGE_MILLIS_MAX: u64 = 365 * 24 * 3_600_000;

/// Keys of one page, if the client does not say.
const LIMIT_DEFAULT: usize = 100;

/// The most keys of one page.
const LIMIT_MAX: usize = 1000;

/// The most nodes or zones that can be demanded: more than a shard has replicas.
pub(crate) const SPREAD_MAX: u64 = 255;

/// The kinds that can be demanded.
const KINDS: [&str; 4] = ["strict", "sloppy", "partial", "any"];

/// What a level looks like, as the API is described. Names are taken in small letters, too.
pub(crate) const LEVEL_PATTERN: &str =
    "^(ANY|ONE|TWO|THREE|QUORUM|ALL|LOCAL_ONE|LOCAL_QUORUM|EACH_QUORUM|[1-9][0-9]{0,2})$";

/// What a level can be, for people.
pub(crate) const LEVEL_WORDS: &str = "ANY, ONE, TWO, THREE, QUORUM, ALL, LOCAL_ONE, LOCAL_QUORUM, \
    EACH_QUORUM or a number of votes";

/// A query parameter of some request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Param {
    Sort,
    Level,
    R,
    Pr,
    W,
    Pw,
    Dw,
    MinNodes,
    MinZones,
    Min,
    Timeout,
    Receipt,
    Limit,
    Cursor,
    Values,
    Monotonic,
    Age,
    Id,
    Mode,
    Within,
    Keyspace,
    Table,
    Shard,
    From,
    To,
    With,
    Patience,
    Since,
    Wait,
}

/// What a read of one key takes.
pub(crate) const READ: &[Param] = &[
    Param::Sort,
    Param::Level,
    Param::R,
    Param::Pr,
    Param::MinNodes,
    Param::MinZones,
    Param::Min,
    Param::Timeout,
    Param::Receipt,
    Param::Monotonic,
];

/// What a write of one key takes.
pub(crate) const WRITE: &[Param] = &[
    Param::Sort,
    Param::Level,
    Param::W,
    Param::Pw,
    Param::Dw,
    Param::MinNodes,
    Param::MinZones,
    Param::Min,
    Param::Timeout,
    Param::Receipt,
];

/// What the question for the outcome of a write takes.
pub(crate) const OUTCOME: &[Param] = &[Param::Sort, Param::Timeout];

/// What the wait for what is kept for others takes.
pub(crate) const WAIT: &[Param] = &[Param::Timeout, Param::Age];

/// What the taking in of what only a disk has takes.
pub(crate) const SALVAGE: &[Param] = &[Param::Timeout];

/// What a repair takes.
pub(crate) const REPAIR: &[Param] = &[
    Param::Id,
    Param::Mode,
    Param::Within,
    Param::Keyspace,
    Param::Table,
    Param::Shard,
    Param::From,
    Param::To,
    Param::With,
    Param::Patience,
];

/// What the end of a repair takes.
pub(crate) const REPAIR_CANCEL: &[Param] = &[Param::Id];

/// What a list takes.
pub(crate) const LIST: &[Param] = &[
    Param::Limit,
    Param::Cursor,
    Param::Level,
    Param::R,
    Param::Pr,
    Param::MinNodes,
    Param::MinZones,
    Param::Min,
    Param::Timeout,
    Param::Values,
];

/// What a feed takes.
pub(crate) const CHANGES: &[Param] = &[Param::Since, Param::Limit, Param::Wait, Param::Values];

impl Param {
    const ALL: [Param; 29] = [
        Self::Sort,
        Self::Level,
        Self::R,
        Self::Pr,
        Self::W,
        Self::Pw,
        Self::Dw,
        Self::MinNodes,
        Self::MinZones,
        Self::Min,
        Self::Timeout,
        Self::Receipt,
        Self::Limit,
        Self::Cursor,
        Self::Values,
        Self::Monotonic,
        Self::Age,
        Self::Id,
        Self::Mode,
        Self::Within,
        Self::Keyspace,
        Self::Table,
        Self::Shard,
        Self::From,
        Self::To,
        Self::With,
        Self::Patience,
        Self::Since,
        Self::Wait,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Sort => "sort",
            Self::Level => "level",
            Self::R => "r",
            Self::Pr => "pr",
            Self::W => "w",
            Self::Pw => "pw",
            Self::Dw => "dw",
            Self::MinNodes => "min_nodes",
            Self::MinZones => "min_zones",
            Self::Min => "min",
            Self::Timeout => "timeout",
            Self::Receipt => "receipt",
            Self::Limit => "limit",
            Self::Cursor => "cursor",
            Self::Values => "values",
            Self::Monotonic => "monotonic",
            Self::Age => "age",
            Self::Id => "id",
            Self::Mode => "mode",
            Self::Within => "within",
            Self::Keyspace => "keyspace",
            Self::Table => "table",
            Self::Shard => "shard",
            Self::From => "from",
            Self::To => "to",
            Self::With => "with",
            Self::Patience => "patience",
            Self::Since => "since",
            Self::Wait => "wait",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Sort => "The sort key: percent-encoded bytes, empty if left out.",
            Self::Level => "Sets r or w: a level or a number of votes.",
            Self::R => "Replicas that must answer: a level or a number of votes.",
            Self::Pr => "Of these, how many must be primaries.",
            Self::W => "Replicas that must have the write: a level or a number of votes.",
            Self::Pw => "Of these, how many must be primaries.",
            Self::Dw => "Of these, how many must have the write on disk.",
            Self::MinNodes => "How many different nodes must take part, whatever their votes.",
            Self::MinZones => "In how many different zones somebody must take part.",
            Self::Min => {
                "What the answer must be worth: wait until it is, or fail. strict: every opposite request must meet this one."
            }
            Self::Timeout => "Milliseconds that the client waits, 5000 if left out.",
            Self::Receipt => "full: the receipt comes in a JSON body as well.",
            Self::Limit => "The most keys of the page, 100 if left out.",
            Self::Cursor => "The cursor of the page before.",
            Self::Values => "false: keys and contexts only.",
            Self::Monotonic => {
                "true: no later read of the key that says so, too, returns less. What is read is \
                 brought to enough replicas first. false if left out."
            }
            Self::Since => {
                "Where to begin: the cursor of the page before; beginning, for everything that there is and then what changes; now, which is what it is if left out."
            }
            Self::Wait => {
                "Milliseconds to wait for something to change, if nothing has; left out, it does not wait. A stream always waits."
            }
            Self::Age => {
                "Milliseconds: what has been kept for less long is not waited for. Left out, \
                 everything is that is kept now."
            }
            Self::Id => "The number of the repair: 16 hexadecimal digits.",
            Self::Mode => {
                "full: both replicas read what their disks hold, and what differs is brought. \
                 incremental: what is known without reading is compared, of pairs that were not \
                 proven lately. preview: as full, and nothing is brought. full if left out."
            }
            Self::Within => {
                "Milliseconds: an incremental repair passes over what was proven within them, \
                 3600000 if left out."
            }
            Self::Keyspace => "Of this keyspace only.",
            Self::Table => "Of this table only.",
            Self::Shard => "Of these shards of the keyspace only: numbers, separated by commas.",
            Self::From => "Of keys from this partition key on: percent-encoded bytes.",
            Self::To => "Of keys before this partition key: percent-encoded bytes.",
            Self::With => "With these nodes only: numbers, separated by commas.",
            Self::Patience => {
                "Milliseconds that a pair may come no further before it is given up, 600000 if \
                 left out."
            }
        }
    }

    /// The parameter as the OpenAPI document shows it.
    pub(crate) fn declared(self) -> Parameter {
        let schema = ObjectBuilder::new();
        let schema = match self {
            Self::Sort => schema.schema_type(Type::String),
            Self::Cursor | Self::Since => schema.schema_type(Type::String).min_length(Some(1)),
            Self::Level | Self::R | Self::Pr | Self::W | Self::Pw | Self::Dw => {
                schema.schema_type(Type::String).pattern(Some(LEVEL_PATTERN)).min_length(Some(1))
            }
            Self::Timeout | Self::Wait => schema
                .schema_type(Type::Integer)
                .minimum(Some(1_u64))
                .maximum(Some(TIMEOUT_MILLIS_MAX)),
            Self::MinNodes | Self::MinZones => {
                schema.schema_type(Type::Integer).minimum(Some(1_u64)).maximum(Some(SPREAD_MAX))
            }
            Self::Min => schema.schema_type(Type::String).enum_values(Some(KINDS)),
            Self::Receipt => schema.schema_type(Type::String).enum_values(Some(["full"])),
            Self::Limit => schema
                .schema_type(Type::Integer)
                .minimum(Some(1_u64))
                .maximum(Some(LIMIT_MAX as u64)),
            Self::Values | Self::Monotonic => schema.schema_type(Type::Boolean),
            Self::Age => {
                schema.schema_type(Type::Integer).minimum(Some(1_u64)).maximum(Some(AGE_MILLIS_MAX))
            }
            Self::Within | Self::Patience => {
                schema.schema_type(Type::Integer).minimum(Some(1_u64)).maximum(Some(AGE_MILLIS_MAX))
            }
            Self::Id => schema.schema_type(Type::String).pattern(Some("^[0-9a-fA-F]{1,16}$")),
            Self::Mode => schema.schema_type(Type::String).enum_values(Some(MODES)),
            Self::Keyspace | Self::Table => schema
                .schema_type(Type::String)
                .pattern(Some(NAME_PATTERN))
                .min_length(Some(1))
                .max_length(Some(64)),
            Self::From | Self::To => schema.schema_type(Type::String).min_length(Some(1)),
            Self::Shard | Self::With => {
                schema.schema_type(Type::String).pattern(Some("^[0-9]{1,5}(,[0-9]{1,5})*$"))
            }
        };
        ParameterBuilder::new()
            .name(self.name())
            .parameter_in(ParameterIn::Query)
            .description(Some(self.description()))
            .schema(Some(schema.build()))
            .build()
    }
}

/// How much of the receipt a client wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Detail {
    /// One header line.
    Line,
    /// A JSON body, too.
    Full,
}

/// The query of a request. What it does not take has its default.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) sort: Bytes,
    level: Option<Level>,
    r: Option<Level>,
    pr: Option<Level>,
    w: Option<Level>,
    pw: Option<Level>,
    dw: Option<Level>,
    spread: Spread,
    min: Kind,
    pub(crate) timeout: Duration,
    pub(crate) receipt: Detail,
    pub(crate) limit: usize,
    pub(crate) cursor: Option<String>,
    pub(crate) values: bool,
    pub(crate) monotonic: bool,
    pub(crate) age: Duration,
    pub(crate) repair: repair::Asked,
    pub(crate) since: Option<String>,
    pub(crate) wait: Duration,
}

impl Query {
    /// Reads the query of a request that takes the `accepted` parameters.
    ///
    /// # Errors
    ///
    /// `malformed_request` for a parameter that is unknown here, given twice, or has a
    /// value it cannot have; `level_out_of_range` for a number that no replicas can be.
    pub(crate) fn parse(text: Option<&str>, accepted: &[Param]) -> Result<Self, Problem> {
        let mut query = Self {
            sort: Bytes::new(),
            level: None,
            r: None,
            pr: None,
            w: None,
            pw: None,
            dw: None,
            spread: Spread::default(),
            min: Kind::default(),
            timeout: TIMEOUT_DEFAULT,
            receipt: Detail::Line,
            limit: LIMIT_DEFAULT,
            cursor: None,
            values: true,
            monotonic: false,
            age: Duration::ZERO,
            repair: repair::Asked::default(),
            since: None,
            wait: Duration::ZERO,
        };
        let mut seen: u64 = 0;
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let param = accepted.iter().copied().find(|param| param.name() == name);
            let param = param.ok_or_else(|| unknown(name, accepted))?;
            let bit = 1 << param as u64;
            if seen & bit != 0 {
                return Err(Problem::malformed(format_args!(
                    "the parameter {name} is given twice"
                )));
            }
            seen |= bit;
            query.set(param, value)?;
        }
        if query.level.is_some() && query.r.or(query.w).is_some() {
            return Err(Problem::malformed("level sets r or w: give one of them"));
        }
        Ok(query)
    }

    fn set(&mut self, param: Param, escaped: &str) -> Result<(), Problem> {
        let value = decode(escaped)?;
        match param {
            Param::Sort => self.sort = Bytes::copy_from_slice(&value),
            Param::Level => self.level = Some(level(param, &value)?),
            Param::R => self.r = Some(level(param, &value)?),
            Param::Pr => self.pr = Some(level(param, &value)?),
            Param::W => self.w = Some(level(param, &value)?),
            Param::Pw => self.pw = Some(level(param, &value)?),
            Param::Dw => self.dw = Some(level(param, &value)?),
            Param::MinNodes => self.spread.nodes = number(param, &value, SPREAD_MAX)? as u8,
            Param::MinZones => self.spread.zones = number(param, &value, SPREAD_MAX)? as u8,
            Param::Min => {
                let kind = str::from_utf8(&value).ok().and_then(Kind::parse);
                self.min =
                    kind.ok_or_else(|| invalid(param, "is strict, sloppy, partial or any"))?;
            }
            Param::Timeout => self.timeout = timeout(number(param, &value, TIMEOUT_MILLIS_MAX)?)?,
            Param::Limit => {
                self.limit = number(param, &value, LIMIT_MAX as u64)? as usize;
            }
            Param::Cursor => self.cursor = Some(text(param, &value)?),
            Param::Since => self.since = Some(text(param, &value)?),
            Param::Wait => {
                self.wait = Duration::from_millis(number(param, &value, TIMEOUT_MILLIS_MAX)?);
            }
            Param::Receipt => match &*value {
                b"full" => self.receipt = Detail::Full,
                _ => return Err(invalid(param, "can only be full")),
            },
            Param::Values => self.values = truth(param, &value)?,
            Param::Monotonic => self.monotonic = truth(param, &value)?,
            Param::Age => {
                self.age = Duration::from_millis(number(param, &value, AGE_MILLIS_MAX)?);
            }
            Param::Id => self.repair.id = Some(hexadecimal(param, &value)?),
            Param::Mode => self.repair.mode = Some(mode(param, &value)?),
            Param::Within => self.repair.within = Some(millis(param, &value)?),
            Param::Patience => self.repair.patience = Some(millis(param, &value)?),
            Param::Keyspace => self.repair.keyspace = Some(name(&value)?),
            Param::Table => self.repair.table = Some(name(&value)?),
            Param::Shard => self.repair.shards = numbers(param, &value)?,
            Param::With => self.repair.with = numbers(param, &value)?,
            Param::From => self.repair.from = Some(Bytes::copy_from_slice(&value)),
            Param::To => self.repair.to = Some(Bytes::copy_from_slice(&value)),
        }
        Ok(())
    }

    /// What a read with this query asks for.
    pub(crate) fn read_options(&self) -> ReadOptions {
        let (spread, min) = (self.spread, self.min);
        ReadOptions { r: self.r.or(self.level), pr: self.pr, spread, min }
    }

    /// What a write with this query asks for.
    pub(crate) fn write_options(&self) -> WriteOptions {
        let (spread, min) = (self.spread, self.min);
        WriteOptions { w: self.w.or(self.level), pw: self.pw, dw: self.dw, spread, min }
    }
}

/// Accepts a timeout in milliseconds.
pub(crate) fn timeout(millis: u64) -> Result<Duration, Problem> {
    if (1..=TIMEOUT_MILLIS_MAX).contains(&millis) {
        return Ok(Duration::from_millis(millis));
    }
    let detail = format!("timeout is from 1 to {TIMEOUT_MILLIS_MAX} milliseconds");
    Err(Problem::malformed(detail))
}

/// How long a client waits that does not say.
pub(crate) fn timeout_default() -> Duration {
    TIMEOUT_DEFAULT
}

fn unknown(name: &str, accepted: &[Param]) -> Problem {
    let name: String = name.chars().take(80).collect();
    let known = Param::ALL.iter().any(|param| param.name() == name);
    let what = if known { "does not apply to this request" } else { "is unknown" };
    let takes: Vec<_> = accepted.iter().map(|param| param.name()).collect();
    let takes = if takes.is_empty() { "none".to_owned() } else { takes.join(", ") };
    Problem::malformed(format_args!("the parameter {name:?} {what}; it takes {takes}"))
}

fn invalid(param: Param, why: &str) -> Problem {
    Problem::malformed(format_args!("{} {why}", param.name()))
}

fn level(param: Param, value: &[u8]) -> Result<Level, Problem> {
    let text = str::from_utf8(value).unwrap_or_default();
    if let Some(level) = Level::parse(text) {
        return Ok(level);
    }
    let number = text.trim_start_matches('-');
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let why = format!("is {LEVEL_WORDS}");
    if is_number {
        return Err(Problem::new(Code::LevelOutOfRange, format!("{} {why}", param.name())));
    }
    Err(invalid(param, &why))
}

fn text(param: Param, value: &[u8]) -> Result<String, Problem> {
    str::from_utf8(value).map(str::to_owned).map_err(|_| invalid(param, "is no text"))
}

fn truth(param: Param, value: &[u8]) -> Result<bool, Problem> {
    match value {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(invalid(param, "is true or false")),
    }
}

fn number(param: Param, value: &[u8], max: u64) -> Result<u64, Problem> {
    let digits = value.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    number
        .filter(|number| (1..=max).contains(number))
        .ok_or_else(|| invalid(param, &format!("is a number from 1 to {max}")))
}

fn millis(param: Param, value: &[u8]) -> Result<Duration, Problem> {
    number(param, value, AGE_MILLIS_MAX).map(Duration::from_millis)
}

fn name(value: &[u8]) -> Result<Name, Problem> {
    Ok(Name::new(&String::from_utf8_lossy(value))?)
}

fn mode(param: Param, value: &[u8]) -> Result<&'static str, Problem> {
    let mode = MODES.into_iter().find(|mode| mode.as_bytes() == value);
    mode.ok_or_else(|| invalid(param, "is full, incremental or preview"))
}

fn hexadecimal(param: Param, value: &[u8]) -> Result<u64, Problem> {
    let text = str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
    let number = text.and_then(|text| u64::from_str_radix(text, 16).ok());
    number.ok_or_else(|| invalid(param, "is a number of up to 16 hexadecimal digits"))
}

/// Numbers, separated by commas.
fn numbers(param: Param, value: &[u8]) -> Result<Vec<u16>, Problem> {
    let number = |digits: &[u8]| {
        let text = str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'));
        text.and_then(|text| text.parse().ok())
    };
    let all: Option<Vec<u16>> = value.split(|byte| *byte == b',').map(number).collect();
    all.ok_or_else(|| invalid(param, "is numbers from 0 to 65535, separated by commas"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str, accepted: &[Param]) -> (u16, String) {
        let problem = Query::parse(Some(query), accepted).expect_err("refused");
        (problem.status(), serde_json::to_string(&problem.into_json()).unwrap())
    }

    #[test]
    fn unknown_repeated_and_foreign_parameters_are_refused() {
        for (query, says) in [
            ("rr=2", "unknown"),
            ("r=1&r=1", "twice"),
            ("w=2", "does not apply"),
            ("level=ONE&r=2", "give one"),
            ("timeout=0", "from 1 to 60000"),
            ("timeout=60001", "from 1 to 60000"),
            ("timeout=%2B5", "from 1 to 60000"),
            ("receipt=short", "full"),
            ("r=MOST", "LOCAL_QUORUM"),
            ("min=lax", "strict"),
            ("min_zones=0", "from 1 to 255"),
        ] {
            let (status, problem) = refused(query, READ);
            assert_eq!(status, 400, "{query}");
            assert!(problem.contains(says) && problem.contains("malformed_request"), "{problem}");
        }
        assert!(refused("r=256", READ).1.contains("level_out_of_range"));
    }

    #[test]
    fn level_stands_for_r_of_a_read_and_w_of_a_write() {
        let read = Query::parse(Some("level=all&timeout=7"), READ).ok().unwrap();
        assert_eq!(read.read_options().r, Some(Level::All));
        assert_eq!(read.timeout, Duration::from_millis(7));
        let write = Query::parse(Some("level=2&dw=ONE"), WRITE).ok().unwrap();
        assert_eq!(write.write_options().w, Some(Level::Count(2)));
        assert_eq!(write.write_options().dw, Some(Level::One));
        let demands = Query::parse(Some("min=strict&min_nodes=2&min_zones=3"), LIST).ok().unwrap();
        let ReadOptions { spread, min, .. } = demands.read_options();
        assert_eq!((spread, min), (Spread { nodes: 2, zones: 3 }, Kind::Strict));
    }

    #[test]
    fn a_read_of_one_key_can_be_monotonic_and_a_list_cannot() {
        let monotonic = |query| Query::parse(Some(query), READ).ok().unwrap().monotonic;
        assert!(monotonic("monotonic=true") && !monotonic("monotonic=false"));
        assert!(refused("monotonic=true", LIST).1.contains("does not apply"));
        assert!(refused("monotonic=1", READ).1.contains("true or false"));
    }
}

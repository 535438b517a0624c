//! What all commands share: which nodes to talk to, how long to wait, which levels to ask
//! for; and what an error of the client means to the person at the keyboard.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::Duration;

use client::{
    Client, Demands, Error, Identity, Key, Level, Options, Problem, ReadOptions, Token,
    WriteOptions,
};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::error::{CliError, Exit};

/// Whom to talk to.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Connect {
    /// The nodes to talk to, separated by commas. The first that answers is used; the others
    /// are tried when it does not.
    #[arg(
        long = "node",
        global = true,
        value_name = "URL",
        env = "MERGANSER_NODE",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7001"
    )]
    pub(crate) nodes: Vec<String>,
    /// How long a request may take, as in 500ms, 5s, 1m; from 1ms to 60s.
    #[arg(long, global = true, value_name = "TIME", value_parser = timeout, default_value = "5s")]
    pub(crate) timeout: Duration,
}

impl Connect {
    /// A client with these endpoints.
    pub(crate) fn client(&self, mut options: Options) -> Result<Client, CliError> {
        options.timeout = self.timeout;
        Ok(Client::new(&self.nodes, options)?)
    }
}

/// What a level can be.
const LEVEL_HELP: &str = "Who must take part: ANY, ONE, TWO, THREE, QUORUM, ALL, LOCAL_ONE, \
    LOCAL_QUORUM, EACH_QUORUM or a number of votes. Without it the table's default";

/// Levels of a read.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct ReadLevels {
    /// Whose answers are awaited.
    #[arg(help = LEVEL_HELP, long, short = 'r', visible_alias = "r", value_name = "LEVEL")]
    pub(crate) level: Option<Level>,
    /// Of these, how many must be primaries.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) pr: Option<Level>,
    #[command(flatten)]
    demands: Demanded,
}

impl ReadLevels {
    /// As the client wants them.
    pub(crate) fn options(self, full: bool) -> ReadOptions {
        let demands = self.demands.demands();
        ReadOptions { r: self.level, pr: self.pr, demands, full, ..ReadOptions::default() }
    }
}

/// Levels of a write.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct WriteLevels {
    /// Whose acknowledgements are awaited.
    #[arg(help = LEVEL_HELP, long, short = 'w', visible_alias = "w", value_name = "LEVEL")]
    pub(crate) level: Option<Level>,
    /// Of these, how many must be primaries.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) pw: Option<Level>,
    /// Of these, how many must have it on disk.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) dw: Option<Level>,
    #[command(flatten)]
    demands: Demanded,
    #[command(flatten)]
    named: Named,
}

impl WriteLevels {
    /// As the client wants them.
    pub(crate) fn options(self) -> WriteOptions {
        let (demands, identity) = (self.demands.demands(), self.named.identity());
        WriteOptions { w: self.level, pw: self.pw, dw: self.dw, demands, identity }
    }
}

/// What a write is known by.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Named {
    /// Do a write that may have been done before, once: the idempotency key that was printed
    /// with it. Its value and its context have to be the same.
    #[arg(long, value_name = "UUID", conflicts_with = "unsafe_to_repeat")]
    idempotency_key: Option<Token>,
    /// Send it without an idempotency key. It is not sent again after it may have been sent,
    /// and who runs the command twice may do it twice.
    #[arg(long)]
    unsafe_to_repeat: bool,
}

impl Named {
    fn identity(self) -> Identity {
        match self.idempotency_key {
            Some(token) => Identity::Known(token),
            None if self.unsafe_to_repeat => Identity::UnsafeToRepeat,
            None => Identity::Fresh,
        }
    }
}

/// Says of a write that ended unknown how to find out what became of it.
pub(crate) fn after_write(err: Error, at: &At) -> CliError {
    let Error::Unknown { token: Some(token), .. } = err else { return err.into() };
    let place = at.in_words();
    CliError::from(err).remedy(format!(
        "ask for it with `merganser outcome {token} {place}`, or do the same once more with `--idempotency-key {token}`, which has one effect"
    ))
}

/// What a request demands beside its levels.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Demanded {
    /// How many different nodes must take part, whatever their votes.
    #[arg(long, value_name = "N")]
    min_nodes: Option<u8>,
    /// In how many different zones somebody must take part.
    #[arg(long, value_name = "N")]
    min_zones: Option<u8>,
    /// Wait until every opposite request at the table's level must meet this one, or fail.
    #[arg(long)]
    strict: bool,
}

impl Demanded {
    fn demands(self) -> Demands {
        let Self { min_nodes, min_zones, strict } = self;
        Demands { min_nodes, min_zones, strict }
    }
}

/// A key on the command line. Any bytes the shell can pass are taken as they are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct At {
    /// The keyspace.
    #[arg(value_name = "KEYSPACE")]
    pub(crate) keyspace: String,
    /// The table.
    #[arg(value_name = "TABLE")]
    pub(crate) table: String,
    /// The partition key.
    #[arg(value_name = "KEY")]
    pub(crate) key: OsString,
    /// The sort key: orders the keys that share a partition key.
    #[arg(long, value_name = "SORT")]
    pub(crate) sort: Option<OsString>,
}

impl At {
    /// As it is written on a command line.
    fn in_words(&self) -> String {
        let Self { keyspace, table, key, sort } = self;
        let sort = sort.iter().map(|sort| format!(" --sort {}", quoted(sort)));
        format!("{keyspace} {table} {}{}", quoted(key), sort.collect::<String>())
    }

    /// The key.
    pub(crate) fn key(&self) -> Key {
        let sort = self.sort.clone().unwrap_or_default();
        Key::with_sort(self.key.clone().into_vec(), sort.into_vec())
    }
}

/// An argument as a shell takes it. Bytes that are no text are lost.
fn quoted(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Runs a command's future to its end.
pub(crate) fn block_on<T>(
    future: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|err| CliError::failed(format!("cannot start the runtime: {err}")))?;
    runtime.block_on(future)
}

/// So many things are done at once. One that hangs holds up nobody, and a list of all nodes of a
/// large cluster does not open hundreds of connections in one moment.
const AT_ONCE: usize = 32;

/// Does several things at the same time, and gives what came of them in the order they were
/// named.
pub(crate) async fn at_once<F>(all: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let (mut doing, places) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for (index, one) in all.into_iter().enumerate() {
        let places = Arc::clone(&places);
        doing.spawn(async move {
            // Nobody closes it; who got no place would only begin without one.
            let _place = places.acquire().await;
            (index, one.await)
        });
    }
    let mut done = doing.join_all().await;
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, one)| one).collect()
}

/// Asks every endpoint of a client for itself, at the same time, and gives the answers in the
/// order in which they were named.
pub(crate) async fn ask_each<F>(
    client: &Client,
    ask: impl Fn(Client) -> F,
) -> Vec<(String, F::Output)>
where
    F: Future<Output: Send> + Send + 'static,
{
    let answers = at_once(client.each().into_iter().map(ask)).await;
    client.endpoints().map(str::to_owned).zip(answers).collect()
}

/// Reads a time such as `500ms`, `5s`, `2m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("{text:?} is no time: write 500ms, 5s, 2m or 1h");
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(refuse)?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| refuse())?;
    let seconds = match unit {
        "ms" => number / 1_000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return Err(refuse()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| refuse())
}

/// Reads a time that may be told to a server: it refuses others.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&time) {
        Ok(time)
    } else {
        Err("it has to be from 1ms to 60s".to_owned())
    }
}

/// Reads a time of which something can happen.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it has to be above 0".to_owned()),
        time => Ok(time),
    }
}

impl From<Error> for CliError {
    fn from(err: Error) -> Self {
        let nothing = "nothing was changed";
        let told = match &err {
            Error::Refused(problem) => refusal(&err, problem),
            Error::NotAttempted(problem) if problem.code == "session_behind" => {
                Self::new(Exit::NotAttempted, err.to_string())
                    .remains(nothing)
                    .remedy("see which nodes are away with `merganser status`, and try again when they are back; what a lost disk has taken along stays missing: begin another session, with another file")
            }
            Error::NotAttempted(_) => Self::new(Exit::NotAttempted, err.to_string())
                .remains(nothing)
                .remedy("see which nodes are away with `merganser status`; try again, or ask for a lower level"),
            Error::Unknown { problem, .. } => Self::new(Exit::Unknown, unknown(&err, problem.as_deref()))
                .remains("replicas that took the write keep it, and bring it to the others")
                .remedy("read the key to see; write again only with the context of that read"),
            Error::NoAnswer { .. } => Self::new(Exit::NotAttempted, err.to_string())
                .remains(nothing)
                .remedy("see which nodes are away with `merganser status`; try again, or ask for a lower level"),
            Error::Connect { .. } => Self::new(Exit::NotAttempted, err.to_string())
                .remains(nothing)
                .remedy("say where the nodes are with --node or MERGANSER_NODE, or start some with `merganser dev`"),
            Error::Protocol { .. } => {
                Self::failed(err.to_string()).remedy("check that --node names Merganser's HTTP port, and the versions")
            }
            Error::Endpoint { .. } => {
                Self::failed(err.to_string()).remedy("write it as http://HOST:PORT")
            }
        };
        told.code(err.code())
    }
}

/// What to say of a write of which nothing is known. A server that says so itself has said
/// all; the client's words before its own would only repeat them.
fn unknown(err: &Error, problem: Option<&Problem>) -> String {
    match problem {
        Some(problem) if problem.detail.starts_with("unknown outcome") => problem.to_string(),
        Some(_) | None => err.to_string(),
    }
}

fn refusal(err: &Error, problem: &Problem) -> CliError {
    let (exit, remedy) = match problem.code.as_str() {
        "unknown_keyspace" => (
            Exit::NotFound,
            "list them with `merganser keyspace list`, create one with `merganser keyspace create NAME`",
        ),
        "unknown_table" => (
            Exit::NotFound,
            "list them with `merganser table list KEYSPACE`, create one with `merganser table create KEYSPACE NAME --policy siblings`",
        ),
        "context_invalid" => {
            (Exit::Failed, "read this very key again, and use the context of that answer")
        }
        "too_many_siblings" => (
            Exit::Failed,
            "look at the values with `merganser get`, and write what they come to with `--replace` or their context",
        ),
        "context_required" => (
            Exit::Failed,
            "the table takes no write that has not read what is there: use `--replace`, or the context of `merganser get`",
        ),
        "session_invalid" => (
            Exit::Failed,
            "the session was kept by another version, changed, or has become too wide: begin another one, with another file",
        ),
        _ => return CliError::failed(err.to_string()).remains("nothing was changed"),
    };
    CliError::new(exit, err.to_string()).remains("nothing was changed").remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_things_are_done_thirty_two_at_once_and_told_in_their_order() {
        use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all = (0..100_u64).map(|index| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(1 + running.fetch_add(1, Relaxed), Relaxed);
                tokio::time::sleep(Duration::from_millis(10 - index % 10)).await;
                running.fetch_sub(1, Relaxed);
                index
            }
        });
        let done = block_on(async { Ok(at_once(all).await) }).unwrap();
        assert_eq!(done, (0..100).collect::<Vec<_>>());
        assert_eq!(most.load(Relaxed), 32);
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "5", "s", "5 s", "-1s", "5d", "1e400s"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_timeout_that_a_server_would_refuse_is_refused_before() {
        assert_eq!(timeout("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(timeout("1m"), Ok(Duration::from_secs(60)));
        for text in ["0s", "0.5ms", "61s", "2h", "5"] {
            assert!(timeout(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_write_of_unknown_outcome_names_the_commands_that_tell() {
        let token: Token = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f".parse().unwrap();
        let at = At {
            keyspace: "ks".to_owned(),
            table: "t".to_owned(),
            key: "it's".into(),
            sort: Some("2".into()),
        };
        let err = Error::Unknown { why: "silence".to_owned(), problem: None, token: Some(token) };
        let said = after_write(err, &at).to_string();
        let ask = format!("`merganser outcome {token} ks t 'it'\\''s' --sort 2`");
        assert!(said.contains(&ask), "{said}");
        assert!(said.contains(&format!("--idempotency-key {token}")), "{said}");
    }

    #[test]
    fn an_unknown_outcome_is_said_once() {
        let detail = "unknown outcome: 1 of the 2 replicas that are needed answered in time";
        for (detail, why) in [(detail, detail), ("", "no answer in time")] {
            let problem = Problem { detail: detail.to_owned(), ..Problem::default() };
            let problem = (!detail.is_empty()).then(|| Box::new(problem));
            let said = CliError::from(Error::Unknown { why: why.to_owned(), problem, token: None })
                .to_string();
            assert_eq!(said.matches("unknown outcome:").count(), 1, "{said}");
            assert!(said.contains(why), "{said}");
        }
    }
}

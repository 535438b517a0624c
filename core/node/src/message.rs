//! What nodes say to each other.
//!
//! Each conversation is a pair, an imperative and its past: [`Merge`] and [`Merged`],
//! [`Fetch`] and [`Fetched`]. An answer repeats the [`RequestId`] of its question, and
//! one that finds nobody waiting is dropped: it is late, or was sent twice.

use std::collections::BTreeMap;
use std::time::Duration;

use antientropy::{Answers, KeyRange, Questions};
use bytes::Bytes;
use catalog::{Ballot, Catalog};
use causality::{Dot, DotSet};
pub use coordinator::{Digest, Want};
use model::{Address, DiskId, Key, NodeId, Now, Object, Reply, Request, Seen, ShardId, TableId};
use mutant::{Mutant, is};
use replica::{PageNeed, Span};

use crate::Place;

/// One request in the hands of one node. Never used twice in the life of a process, and
/// begins at a random number, so that answers to a former life find nobody waiting.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

impl RequestId {
    /// Nobody waits for an answer, and none is given.
    pub const NOBODY: Self = Self(0);
}

/// A message from one node to another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// Answered by [`Merged`].
    Merge(Merge),
    /// Answers [`Merge`].
    Merged(Merged),
    /// Answered by [`Fetched`].
    Fetch(Fetch),
    /// Answers [`Fetch`].
    Fetched(Fetched),
    /// Answered by [`Scanned`].
    Scan(Scan),
    /// Answers [`Scan`].
    Scanned(Scanned),
    /// Answered by [`Forwarded`].
    Forward(Forward),
    /// Answers [`Forward`].
    Forwarded(Forwarded),
    /// "Are you there?", with the version of the sender's catalog. Answered by `Probed`.
    Probe {
        /// The sender's catalog is of this version.
        catalog_version: u64,
        /// The sender does not hear the receiver.
        deaf: bool,
        /// The disk that the sender serves with. Older programs do not say.
        disk: Option<DiskId>,
    },
    /// Answers `Probe`.
    Probed {
        /// The sender's catalog is of this version.
        catalog_version: u64,
    },
    /// Asks an acceptor to promise. Answered by `Promised` or `Rejected`.
    Prepare {
        /// The attempt.
        ballot: Ballot,
    },
    /// Answers `Prepare`: no earlier attempt will be accepted, and this was accepted last.
    Promised {
        /// The attempt.
        ballot: Ballot,
        /// In which attempt `catalog` was accepted.
        accepted: Ballot,
        /// The last catalog accepted.
        catalog: Catalog,
    },
    /// Asks an acceptor to accept. Answered by `Accepted` or `Rejected`.
    Accept {
        /// The attempt.
        ballot: Ballot,
        /// The catalog proposed.
        catalog: Catalog,
    },
    /// Answers `Accept`.
    Accepted {
        /// The attempt.
        ballot: Ballot,
    },
    /// Answers `Prepare` and `Accept`: a later attempt was promised.
    Rejected {
        /// The attempt.
        ballot: Ballot,
        /// The one that was promised.
        promised: Ballot,
    },
    /// A catalog that a majority has accepted. Not answered.
    Learn {
        /// The catalog.
        catalog: Catalog,
    },
    /// The sender keeps hints for the receiver. Answered by `Take`.
    Holding {
        /// How many.
        count: u64,
        /// Roughly how many bytes they have.
        bytes: u64,
    },
    /// Answers `Holding`: so many bytes of them can come. Answered by [`Merge`]s.
    Take {
        /// Roughly how many.
        bytes: u64,
    },
    /// What the sender knows of who is there. Answered by the same.
    Gossip {
        /// For [`Membership::gossip`](membership::Membership::gossip).
        packet: Bytes,
    },
    /// What the sender's clocks come to. Answered by [`Lack`] where those of the receiver
    /// come to something else.
    Clocks(Clocks),
    /// Stands for [`Clocks`], where these would say what the receiver has just said.
    Alike(Alike),
    /// Answered by [`Merge`]s, and by [`Sent`].
    Lack(Lack),
    /// Answers [`Lack`].
    Sent(Sent),
    /// Answered by [`Compared`].
    Compare(Compare),
    /// Answers [`Compare`].
    Compared(Compared),
    /// Answered for each key: by a [`Merge`], or in [`Spared`].
    Bring(Bring),
    /// Answers [`Bring`] for some of its keys.
    Spared(Spared),
    /// Not answered.
    Forgot(Forgot),
    /// Answered by [`Followed`].
    Follow(Follow),
    /// Answers [`Follow`].
    Followed(Followed),
    /// Answered by [`Vouched`], by who knows that the disk is joining and takes part itself.
    Vouch(Vouch),
    /// Answers [`Vouch`].
    Vouched(Vouched),
    /// Asks whether some dots are forgotten.
    Doubt(Doubt),
    /// Answers [`Doubt`].
    Doubted(Doubted),
    /// Answered by [`Examined`].
    Examine(Examine),
    /// Answers [`Examine`].
    Examined(Examined),
    /// Answered by [`Recognised`].
    Recognise(Recognise),
    /// Answers [`Recognise`].
    Recognised(Recognised),
}

impl Message {
    /// Whether nobody waits for the answer any more, so long after the message was sent. To
    /// answer such a read takes time from those that can still be answered, and is how a node
    /// with too much to do comes to do nothing useful at all.
    ///
    /// A write is never expired: it may be the copy that makes it survive.
    pub fn is_expired(&self, waited: Duration) -> bool {
        let left = self.left();
        let left = if is(Mutant::LiveReadsDropped) { left / 1_000 } else { left };
        !left.is_zero() && left <= waited && !is(Mutant::ExpiredServed)
    }

    /// How long the sender still waits for the answer to a read, if it says so; else zero.
    pub fn left(&self) -> Duration {
        match self {
            Self::Fetch(fetch) => fetch.left,
            Self::Scan(scan) => scan.left,
            Self::Merge(_)
            | Self::Merged(_)
            | Self::Fetched(_)
            | Self::Scanned(_)
            | Self::Forward(_)
            | Self::Forwarded(_)
            | Self::Probe { .. }
            | Self::Probed { .. }
            | Self::Prepare { .. }
            | Self::Promised { .. }
            | Self::Accept { .. }
            | Self::Accepted { .. }
            | Self::Rejected { .. }
            | Self::Learn { .. }
            | Self::Holding { .. }
            | Self::Take { .. }
            | Self::Gossip { .. }
            | Self::Clocks(_)
            | Self::Alike(_)
            | Self::Lack(_)
            | Self::Sent(_)
            | Self::Compare(_)
            | Self::Compared(_)
            | Self::Bring(_)
            | Self::Spared(_)
            | Self::Forgot(_)
            | Self::Follow(_)
            | Self::Followed(_)
            | Self::Vouch(_)
            | Self::Vouched(_)
            | Self::Doubt(_)
            | Self::Doubted(_)
            | Self::Examine(_)
            | Self::Examined(_)
            | Self::Recognise(_)
            | Self::Recognised(_) => Duration::ZERO,
        }
    }
}

/// How long is left, as a message says it. What is not over is at least a millisecond.
pub(crate) fn time_left(deadline: Now, now: Now) -> Duration {
    let micros = deadline.since(now).as_micros();
    Duration::from_millis(u64::try_from(micros.div_ceil(1_000)).unwrap_or(u64::MAX).max(1))
}

/// What caused a merge. The object is merged alike whatever it was, but for a repair, which may put
/// back what this replica has lost; the rest is for metrics, and for what is done beside clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// A client's write on its way to all replicas.
    Write,
    /// A read found this replica behind.
    ReadRepair,
    /// This replica had asked for what it lacks.
    Exchange,
    /// A guest kept it for this replica.
    Handoff,
    /// A comparison of trees has found that the two differ.
    Repair,
}

/// "Merge this into what you hold."
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Merge {
    /// Whom it concerns.
    pub request: RequestId,
    /// Where the object lives.
    pub address: Address,
    /// What to merge.
    pub object: Object,
    /// Whether to answer only when it is on disk.
    pub sync: bool,
    /// Why.
    pub cause: Cause,
    /// The replica that the receiver is to keep it for. Nothing if it is for the receiver.
    pub stands_for: Option<NodeId>,
}

/// The number of a round of exchange, of one life of one node. The first is drawn.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stamp(pub u64);

/// "This is what my clocks come to, on disk."
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Clocks {
    /// The sender's round.
    pub stamp: Stamp,
    /// The last round of the receiver that the sender has heard of.
    pub echo: Stamp,
    /// Whether the sender has clients to serve, and what others ask of it should be little.
    pub is_busy: bool,
    /// The sender's catalog is of this version: it tells who is joining.
    pub catalog_version: u64,
    /// Whether the sender understands [`Alike`]. Older programs do not.
    pub hears_alike: bool,
    /// Whether the sender understands a [`Lack`] of several shards. Older programs do not.
    pub hears_others: bool,
    /// The shards that both keep, if anything was ever written to them at the sender.
    pub shards: Vec<Sums>,
}

/// "What I would tell you of my clocks, on disk, is what you have just told me of yours."
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Alike {
    /// The last bits of the sender's round.
    pub stamp: u16,
    /// The last bits of the last round of the receiver that the sender has heard of.
    pub echo: u16,
    /// As in [`Clocks`].
    pub is_busy: bool,
    /// What the clocks come to, with the version of the catalog and both rounds.
    pub sum: u64,
}

/// What a node tells of one shard, of one moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sums {
    /// Which.
    pub shard: ShardId,
    /// What its clock comes to.
    pub clock: u64,
    /// What everything that is stored comes to. Nothing while it is being read.
    pub tree: Option<u64>,
    /// Something that was stored is known to be missing.
    pub is_suspect: bool,
}

/// "Where does what I hold differ from what you hold?"
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Compare {
    /// Whom it concerns.
    pub request: RequestId,
    /// Of which shard.
    pub shard: ShardId,
    /// About which ranges of it.
    pub questions: Questions<Place>,
}

/// Says where it does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Compared {
    /// Whom it concerns.
    pub request: RequestId,
    /// Nothing if the sender cannot answer now.
    pub answers: Option<Answers<Place>>,
}

/// "Send me what you hold here."
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bring {
    /// Whom it concerns.
    pub request: RequestId,
    /// Of which shard.
    pub shard: ShardId,
    /// Under which keys.
    pub addresses: Vec<Address>,
    /// What the sender holds there, of each the bones, without bodies: nothing of what these
    /// have is to be sent. None where that is not told, and everything is to be sent.
    pub bones: Vec<Object>,
}

/// "What I hold here is in what you hold, so that you lack nothing, and I may."
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spared {
    /// Whom it concerns.
    pub request: RequestId,
    /// Which of the keys that were asked for, counted from zero.
    pub numbers: Vec<u32>,
}

/// "Read again what your disk holds here, so that your tree says it."
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Examine {
    /// Whom it concerns.
    pub request: RequestId,
    /// Of which shard.
    pub shard: ShardId,
    /// Which keys of it.
    pub range: KeyRange<Place>,
}

/// Says that the first of these keys were read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Examined {
    /// Whom it concerns.
    pub request: RequestId,
    /// Nothing if the sender cannot read now, or is reading all of the shard.
    pub leaves: Option<Leaves>,
}

/// Some leaves of a tree that were read again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Leaves {
    /// Where to go on. Nothing if all were read.
    pub next: Option<Place>,
    /// How many keys were read.
    pub keys: u64,
    /// About how many bytes they have.
    pub bytes: u64,
}

/// "This is my clock, on disk. Send me what I lack."
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lack {
    /// Whom it concerns.
    pub request: RequestId,
    /// Of which shard.
    pub shard: ShardId,
    /// What the sender has.
    pub clock: DotSet,
    /// Nothing below this dot is asked for: it was looked at before.
    pub after: Option<Dot>,
    /// How many bytes may be sent, about.
    pub credit: usize,
    /// Whether small objects may come with [`Sent`], and not in a [`Merge`] each.
    pub is_together: bool,
    /// The sender's catalog is of this version: it tells who is joining.
    pub catalog_version: u64,
    /// The sender's round.
    pub stamp: Stamp,
    /// The last round of the receiver that the sender has heard of.
    pub echo: Stamp,
    /// The same of other shards of this keyspace, in requests that follow this one without a gap.
    /// None where the receiver has not said that it understands them.
    pub others: Vec<Lacking>,
}

/// "This is my clock of another shard."
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lacking {
    /// Which.
    pub shard: ShardId,
    /// What the sender has.
    pub clock: DotSet,
    /// As in [`Lack`].
    pub after: Option<Dot>,
}

/// Asks a replica of a shard whether everything that it holds may be copied to a new disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vouch {
    /// Whom it concerns.
    pub request: RequestId,
    /// Which shard.
    pub shard: ShardId,
    /// The disk that is to be made whole.
    pub disk: DiskId,
    /// The last dot of what was told already of what is forgotten. Nothing at the beginning.
    pub after: Option<Dot>,
}

/// Says that a replica is one that can be copied, and knows that the disk is joining.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Vouched {
    /// Whom it concerns.
    pub request: RequestId,
    /// What is forgotten there, or the next part of it.
    pub forgotten: DotSet,
    /// Whether there is more.
    pub more: bool,
}

/// "Which of these writes have you never heard of, and what do you hold here?"
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recognise {
    /// Whom it concerns.
    pub request: RequestId,
    /// Where, in the shard that the writes are of.
    pub address: Address,
    /// Which writes.
    pub dots: DotSet,
}

/// Says which.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recognised {
    /// Whom it concerns.
    pub request: RequestId,
    /// Nothing if the sender cannot say: its disk is not whole, or cannot be read.
    pub found: Option<Recognition>,
}

/// What a replica knows of some writes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recognition {
    /// Those that its clock does not contain.
    pub unheard: DotSet,
    /// What it holds at the address.
    pub held: Object,
    /// Whether it has forgotten anything in the shard.
    pub forgets: bool,
}

/// Says that what was lacking is sent, or a part of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sent {
    /// Whom it concerns.
    pub request: RequestId,
    /// The small ones of the objects, to be merged like any other, if they may come together.
    pub objects: Vec<(Address, Object)>,
    /// Where to go on, if there is more.
    pub next: Option<Dot>,
    /// How many dots the sender has in its clock and could not produce.
    pub gaps: u64,
    /// Whether the sender has forgotten some of what was asked for. All replicas had it once, so that
    /// the disk of who asks is not what it was.
    pub forgets: bool,
    /// What is left of the other shards, in the order in which they were asked for. Those that
    /// are not answered are asked for again.
    pub others: Vec<Rest>,
}

/// What is left of a shard of which something was lacking: see [`Sent`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rest {
    /// Where to go on, if there is more.
    pub next: Option<Dot>,
    /// How many dots could not be produced.
    pub gaps: u64,
    /// Whether some are forgotten.
    pub forgets: bool,
}

/// "What has changed since?"
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Follow {
    /// Whom it concerns.
    pub request: RequestId,
    /// In which table.
    pub table: TableId,
    /// In which shards of the table's keyspace, and since when.
    pub shards: Vec<(u16, Stand)>,
    /// How much at once, all shards together.
    pub need: PageNeed,
    /// How long to wait, in whole milliseconds, until there is something new, and then to say no
    /// more than that. Zero asks for what there is.
    pub wait: Duration,
}

/// How far a watcher has come in a shard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stand {
    /// It begins with what is there now.
    Now,
    /// It was told of these writes.
    At(DotSet),
    /// It was told of these writes, and reads what else there is, up to this key so far.
    Reading(DotSet, Option<Key>),
}

/// Says what has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Followed {
    /// Whom it concerns.
    pub request: RequestId,
    /// In which shards. To a question that waits, none.
    pub shards: Vec<(u16, Told)>,
}

/// What a replica tells a watcher of a shard. All of it is on its disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Told {
    /// Nothing that the watcher has not been told.
    Same,
    /// This.
    Changed(Changes),
    /// Keys of the shard in order, and how far it was looked; nothing at its end.
    Read {
        /// What has a value.
        entries: Vec<(Key, Object)>,
        /// The last key that was looked at, if there are more.
        after: Option<Key>,
    },
    /// The replica lacks these of the writes that the watcher has been told of.
    Behind(DotSet),
    /// A line of the log is gone that the watcher would have to be told of.
    Gone,
    /// The disk failed, or the table is not known there yet.
    Failed,
}

/// What has changed in a shard.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// The keys, with what they hold.
    pub entries: Vec<(Key, Object)>,
    /// The writes that the watcher was told of then.
    pub clock: DotSet,
    /// Writes that the sender has applied, and cannot show.
    pub gaps: DotSet,
    /// Whether there is more.
    pub more: bool,
}

/// What became of a merge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is in, and on disk.
    Durable,
    /// It is in, and in the operating system's hands.
    Buffered,
    /// It is not in: the disk failed, or the table is not known there yet.
    Failed,
    /// It is not in: there is no room for what is kept for others.
    Full,
}

/// Says that a merge is in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Merged {
    /// Whom it concerns.
    pub request: RequestId,
    /// What became of it.
    pub verdict: Verdict,
}

/// "What do you hold here?"
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fetch {
    /// Whom it concerns.
    pub request: RequestId,
    /// Where the object lives.
    pub address: Address,
    /// How much of it is wanted.
    pub want: Want,
    /// Whether to answer only when what is answered is on disk.
    pub sync: bool,
    /// What a session has seen of the shard: the answer says what of it is lacking. Nothing if the
    /// read is of no session.
    pub seen: Option<Box<Seen>>,
    /// How long the asker still waits, in whole milliseconds. Zero says nothing about it.
    pub left: Duration,
}

/// What a replica holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// The object; bottom if there is none.
    Full(Object),
    /// What the object comes to.
    Digest(Digest),
    /// The disk failed, or the table is not known there yet.
    Failed,
}

/// What a replica knows of what a session has seen. Incarnations are shortened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Known {
    /// The part that its clock does not contain.
    pub lacking: DotSet,
    /// The part, and the part of what it holds, that every replica has on disk.
    pub settled: DotSet,
}

/// Says what a replica holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fetched {
    /// Whom it concerns.
    pub request: RequestId,
    /// What was found.
    pub found: Found,
    /// Whether it is on disk. Said only if it was asked for.
    pub durable: bool,
    /// A write that any replica had acknowledged so long ago is in it, in whole milliseconds.
    /// Nothing if the sender does not know.
    pub staleness: Option<Duration>,
    /// To a read of a session: what the sender knows of what the session has seen.
    pub known: Option<Box<Known>>,
    /// Whether the sender has forgotten anything in the shard. Then what is found does not say what
    /// it knows to be deleted.
    pub forgets: bool,
}

/// "Which of these have you forgotten?"
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Doubt {
    /// Whom it concerns.
    pub request: RequestId,
    /// Of which shard.
    pub shard: ShardId,
    /// Dots of values that somebody else holds, under their keys.
    pub keys: BTreeMap<Address, DotSet>,
}

/// "These are superseded, and I have forgotten them. Do so, too."
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forgot {
    /// Of which shard.
    pub shard: ShardId,
    /// Which dots, under which keys.
    pub keys: BTreeMap<Address, DotSet>,
}

/// Says which dots are forgotten: their values are deleted, or others took their place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Doubted {
    /// Whom it concerns.
    pub request: RequestId,
    /// Of which shard.
    pub shard: ShardId,
    /// A part of those that were asked about.
    pub forgotten: DotSet,
    /// What is held now under the keys of these, where anything is.
    pub held: Vec<(Address, Object)>,
}

/// "What do you hold in this span?"
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scan {
    /// Whom it concerns.
    pub request: RequestId,
    /// Of which table.
    pub table: TableId,
    /// Of which shard of the table's keyspace.
    pub shard: u16,
    /// Which part of it.
    pub span: Span,
    /// How much at once.
    pub need: PageNeed,
    /// How long the asker still waits, in whole milliseconds. Zero says nothing about it.
    pub left: Duration,
}

/// Says what a replica holds in a span.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scanned {
    /// Whom it concerns.
    pub request: RequestId,
    /// The objects in order, and whether there are more. Nothing if the replica failed.
    pub page: Option<(Vec<(Key, Object)>, bool)>,
    /// As of [`Fetched`].
    pub staleness: Option<Duration>,
    /// As of [`Fetched`].
    pub forgets: bool,
}

/// "Coordinate this in my place": the sender is no replica of the key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forward {
    /// Whom it concerns.
    pub request: RequestId,
    /// What the client asked.
    pub asked: Request,
}

/// Says what came of a forwarded request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forwarded {
    /// Whom it concerns.
    pub request: RequestId,
    /// The answer for the client.
    pub reply: Reply,
}

//! Deliberate bugs, to see whether the checks would notice.
//!
//! A checker that has never failed proves nothing. So each rule of the core can be broken
//! at the very line that keeps it: `if mutant::is(Mutant::PutAnswersEarly) { .. }`. The
//! simulator sets one of them for its thread and must then find something wrong.
//!
//! Without the feature `on`, [`is`] is the constant `false`, and what it guards is not in
//! the program. Nothing but the simulator's own tests may enable the feature, and the bench
//! `upkeep`, which leaves out what it measures; a test of the application looks that
//! it does not.

/// Declares the mutants, and the list of all of them, so that none can be forgotten there.
macro_rules! mutants {
    ($($(#[$says:meta])* $name:ident,)*) => {
        /// One rule, broken.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Mutant {
            $($(#[$says])* $name,)*
        }

        #[cfg(feature = "on")]
        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$name),*];
        }
    };
}

mutants! {
    /// Old news is taken in like any other.
    OldNewsTaken,
    /// The value of old news is left out, and its dot is kept in the context.
    OldNewsClaimed,
    /// The context is filled up from the clock, to "everything up to n".
    ContextFilled,
    /// What an object that arrives does not hold is deleted here.
    AbsenceDeletes,
    /// Of concurrent values, the one that was here first stays.
    FirstWins,
    /// A tombstone is forgotten at once.
    TombstoneForgotten,
    /// The context of a live object forgets what was superseded.
    ContextForgotten,
    /// A delete removes siblings that its client had not read, too.
    DeleteTakesAll,
    /// A key may hold any number of siblings.
    SiblingsUnlimited,
    /// A table that takes no put without a context takes it.
    BlindPutTaken,
    /// A key that holds too many siblings drops the first of them.
    SiblingDropped,
    /// Every seventh write gets the dot of the one before.
    DotReused,
    /// The clock does not hear of what is merged.
    ClockNotAdvanced,
    /// The clock is stored as "everything up to n".
    ClockWidened,
    /// An object is stored without its clock.
    ClockNotStored,
    /// An object and its clock are stored without their line in the log.
    LogNotStored,
    /// A write is answered one acknowledgement early.
    PutAnswersEarly,
    /// A read is answered one replica early.
    GetAnswersEarly,
    /// A replica that failed counts as one that acknowledged.
    FailureCounts,
    /// An acknowledgement that arrives twice counts twice.
    DoubledAckCounts,
    /// What is with the operating system counts as durable.
    BufferedCountsAsDurable,
    /// A digest counts as equal, whatever it is.
    DigestIgnored,
    /// A read repairs nobody.
    RepairForgotten,
    /// A read repairs another replica than the one that lags.
    RepairMisdirected,
    /// A read repairs a replica with what that replica has.
    RepairStale,
    /// A list goes on beyond where the first replica's page ends.
    PageEndIgnored,
    /// A list ends where its first page ends.
    PageTakenForAll,
    /// Every receipt says strict.
    StrictAlways,
    /// What a receipt says of votes leaves out those that guests speak for.
    GuestsCastNoVotes,
    /// The votes of a replica count twice.
    VoteCountedTwice,
    /// Each node of a zone counts as a zone.
    ZoneCountedTwice,
    /// Nodes of other regions count for levels of the coordinator's region.
    LocalCountsFar,
    /// A write that is passed on counts the region of who takes it up as its own.
    LocalIsElsewhere,
    /// An answer is strict if the numbers add up to more than there are, whoever they are.
    StrictByCount,
    /// A write does not wait for as many nodes and zones as the table says.
    SpreadForgotten,
    /// An answer that is worth less than was demanded is given all the same.
    MinimumIgnored,
    /// A request weaker than the table allows is carried out.
    GuardrailIgnored,
    /// A node takes on any number of requests.
    QueueUnbounded,
    /// A forwarded write that arrives twice is taken on twice.
    ForwardTakenTwice,
    /// A forwarded write of unknown outcome is forwarded again.
    UnknownForwardedAgain,
    /// A read sets no timer.
    TimerLost,
    /// Each life of a node begins to number its requests at one.
    RequestIdsRepeat,
    /// Acknowledgements leave before anything is committed.
    AckBeforeCommit,
    /// A write is refused after it was applied.
    RefusedAfterAll,
    /// An acceptor does not keep what it promised.
    PromiseBroken,
    /// An acceptor votes, and does not remember it after a restart.
    VoteNotStored,
    /// A proposer builds on the oldest catalog that it hears of.
    LatestIgnored,
    /// Half of the nodes is a majority.
    HalfIsMajority,
    /// A declaration is acknowledged before any node has it on disk as being in force.
    ChosenNotStored,
    /// An attempt that was outbid is repeated soon, however often, and beside others.
    AttemptsDuel,
    /// A catalog that arrives late takes the place of a newer one.
    OldCatalogLearned,
    /// A node counts shards in its own way.
    ShardWrong,
    /// A node that was lost once is never taken for alive again.
    DeadForEver,
    /// A process goes on under the incarnation of its former life, and counts on from the last
    /// dot that its disk has.
    IncarnationReadBack,
    /// A value that arrives again is taken for superseded.
    MergeNotIdempotent,
    /// A write that is done stays in hand, and nothing ever looks at it again.
    DoneKept,
    /// A write that too few replicas have names all of them in its receipt.
    UnmetNamesAll,
    /// A node refuses requests as if it had more in hand than it may.
    OverloadedEarly,
    /// A node that has too much in hand says that its disk failed.
    DiskBlamed,
    /// A read asks one more replica whenever it takes long, however many have.
    HedgesUnpaid,
    /// A read that too few replicas answered says that a write may have been applied.
    ReadTakenForWrite,
    /// A read for which nobody waits any more is answered all the same.
    ExpiredServed,
    /// A read is dropped as expired long before its time.
    LiveReadsDropped,
    /// Who finds that another clock is not like its own does not ask for what it lacks.
    NothingPulled,
    /// What clocks come to is said before what they speak of is on disk.
    ClocksOvertake,
    /// What the log speaks of is said to be superseded, though its object does not know it.
    EvidenceIgnored,
    /// What is stored is not told to the hash tree.
    TreeNotTold,
    /// No leaf of a hash tree is read again.
    NothingScrubbed,
    /// A scrub looks, and leaves the tree as it is.
    ScrubChangesNothing,
    /// A tree holds the first table of its keyspace only.
    FirstTableOnly,
    /// What an object has heard of does not count in a tree.
    ContextNotSummed,
    /// Replicas with other sums do not compare.
    NothingCompared,
    /// A repair believes trees, and reads no disks.
    RepairReadsNothing,
    /// A repair says that what it compared once is equal, whatever it found.
    RepairProvedAtOnce,
    /// A record that fails its check is not replaced.
    DamagedStays,
    /// What a comparison brings is merged like any news.
    ComparedIsNews,
    /// A line of the log is dropped when one other replica has its dots.
    LogPrunedEarly,
    /// No line of the log is ever dropped for being settled.
    LogKept,
    /// A token that is older than retries may be is taken like any other.
    ExpiredTokenTaken,
    /// What comes with a token is not compared with what came with it before.
    FingerprintIgnored,
    /// A write that was tried at two nodes is shown twice.
    TwinsShown,
    /// The second attempt of a write stays when the first is superseded.
    TwinKept,
    /// A value that is superseded takes its mark with it.
    MarkForgotten,
    /// The marks of writes that were sent again are forgotten as soon as all others.
    RepeatedMarkForgotten,
    /// Objects are stored without their marks.
    MarksNotStored,
    /// A write takes no marks along of what it supersedes.
    MarksNotSent,
    /// A write is not looked for before it is accepted.
    RepetitionMinted,
    /// A write that comes again is answered, and not sent to anybody.
    RepetitionNotSpread,
    /// A node that is no replica says that a write was refused, although the replica that it asked
    /// first may have it.
    RefusalBelieved,
    /// A replica says what it holds as if it were on disk, and does not wait for that.
    RecallNotSynced,
    /// Who has not said whether it has a write is taken for one that has not heard of it.
    SilentTakenForWithout,
    /// A write that was overwritten is said to be in effect.
    SupersededTakenForHeld,
    /// A write that nobody has heard of yet is said to be one that will never be.
    UnseenTakenForFinal,
    /// What guests keep is not asked for when a client wants to know of its write.
    GuestsNotRecalled,
    /// A replica to which a connection is made is taken for one that has nothing new.
    ConnectedIsFresh,
    /// What another replica says of its clock is taken for what it had at that moment.
    StampIgnored,
    /// A guest counts where a write asks for replicas.
    GuestCountsForPw,
    /// A guest counts as the replica that it stands in for, in what an answer is worth, too.
    GuestCountsAsStrict,
    /// Two guests of one replica count as two.
    GuestsCountTwice,
    /// A hint is forgotten when it is sent, and not when it has arrived.
    HintDroppedAtSend,
    /// A node does not know of its hints after a restart.
    HintsForgotten,
    /// A hint is sent to another replica than the one it is for.
    HintMisdirected,
    /// A guest keeps only the hint that came last for a key.
    HintReplaced,
    /// A guest says that it has a write, and keeps nothing.
    HintNotKept,
    /// What a guest keeps and cannot read is written over.
    DamagedHintReplaced,
    /// A guest takes in what it has no room for.
    HintCapIgnored,
    /// A guest counts the values of what it keeps, and not all that is written with them.
    HintValuesCounted,
    /// A guest refuses hints as if it kept twice as much.
    HintRefusedEarly,
    /// What was handed over counts as kept until the next restart.
    HintBytesNotFreed,
    /// A guest without room for a write that it was asked for does not ask the other guests.
    FullGuestSpeaksForAll,
    /// A replica that lacks what the log does not have any more is not marked as needing repair.
    NeedsRepairNotMarked,
    /// A replica takes those that it has not heard of for as fresh as the others.
    UnheardIsFresh,
    /// A replica of a sloppy keyspace says how old its answer can be, as if no guest had anything.
    SloppyIsFresh,
    /// A strict answer is taken for one that lacks nothing, whatever the level of a write was.
    StrictIsFresh,
    /// A write whose replicas are away is not attempted, though guests are there.
    GuestsNotCountedOn,
    /// A node that is no replica never accepts a write itself.
    NeverMintedByGuest,
    /// A replica that sees too few others is believed by one who sees enough.
    NotAttemptedBelieved,
    /// A guest that says nothing is waited for until the deadline.
    SilentGuestKept,
    /// A monotonic read answers before what it read is at enough replicas.
    WriteBackNotAwaited,
    /// A monotonic read takes what one replica is known to have for what all have.
    SettledByOne,
    /// A monotonic read counts replicas that have it in memory only.
    StagedCountsAsSettled,
    /// A replica that has the latest write of each run that a session has seen is taken for one
    /// that has all of them.
    SessionByLatest,
    /// A read of a session does not ask whether something is missing.
    SessionLacksIgnored,
    /// What a node says that was given up counts as if it were in the answer.
    LateAnswerVouches,
    /// A read of a session that has seen something never finds all of it.
    SessionNeverMet,
    /// A write of a session that has seen something calls no guests.
    SessionWithoutGuests,
    /// A session does not remember what it has read.
    SessionForgetsReads,
    /// A write of a session is accepted by whoever is asked.
    SessionWritesUnchecked,
    /// A watcher that is told a part of what has changed is taken to have been told all.
    ToldInPartIsToldAll,
    /// A write whose line is gone is taken for one that watchers were told of.
    GoneLineIsTold,
    /// A watcher is told by a replica that lacks what it was told before, as if nothing were wrong.
    BehindIsFollowed,
    /// A node whose disk is new takes part at once.
    EmptyDiskTakesPart,
    /// A member of a shard does not let a new disk copy it.
    NobodyVouches,
    /// A tombstone is forgotten after some time, whoever lacks it.
    TombstonesByTimer,
    /// A tombstone is forgotten when most replicas have what it speaks of.
    TombstonesByMajority,
    /// No tombstone is ever forgotten.
    TombstonesKept,
    /// A tombstone is forgotten with the marks of writes that may come again.
    TombstonesDropMarks,
    /// What is forgotten leaves nothing behind.
    ForgottenNotKept,
    /// Whoever brings a value that is forgotten is not told that it is superseded.
    RefutedNotTold,
    /// A value that others have forgotten is shown.
    NothingDoubted,
    /// Watchers are told values that the replica which tells them has forgotten.
    ForgottenToldToWatchers,
    /// A new disk is not told what was forgotten.
    ForgottenNotVouched,
    /// No superseded dot of a live object is ever forgotten.
    ContextsKept,
    /// A superseded dot is forgotten when all replicas have it, whoever lacks what took its place.
    SupersederNotAwaited,
    /// What a shard should come to is stored some time after the change that it speaks of.
    SumNotInBatch,
    /// A shard that does not come to what it should is taken for whole.
    LossNotNoticed,
    /// What a suspect replica has acknowledged counts as settled.
    SuspectsCount,
    /// A suspect shard is never whole again.
    SuspectForEver,
    /// The dots of a key that is written again and again are counted anew after a while.
    LaneBeginsAnew,
}

#[cfg(feature = "on")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Sets the bug of this thread, or none.
    pub fn set(mutant: Option<Mutant>) {
        MUTANT.set(mutant);
    }

    /// Returns whether a rule is to be broken.
    pub fn is(mutant: Mutant) -> bool {
        MUTANT.get() == Some(mutant)
    }
}

#[cfg(feature = "on")]
pub use switch::{is, set};

/// Returns whether a rule is to be broken: no.
#[cfg(not(feature = "on"))]
#[inline(always)]
pub const fn is(_: Mutant) -> bool {
    false
}

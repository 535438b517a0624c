//! What must hold, when it is looked at, and which promise of the database it stands for.
//!
//! "It is checked" says little: a check that looks once, at the end, finds that something was
//! wrong an hour ago, and a promise that nobody has turned into a check is a hope. So here is
//! both in one table, [`PROMISES`]: each promise of the design beside the invariants that
//! stand for it, and what cannot be checked yet because it is not built. Each [`Invariant`]
//! says at which [`Moment`]s it is looked at. `merganser sim promises` prints it.
//!
//! ```text
//! promise                     invariants                            looked at
//! a dot is minted once        DotsAreUnique, WritesHappenOnce       each object stored
//! an expired token is refused none: there are no tokens yet
//! ```
//!
//! That each check can fail is shown by `tests/mutants.rs`, which holds a table of what
//! breaks each invariant, and demands one for each.

use std::fmt::Write;

use crate::every::every;

every! {
    /// What must hold, in every run.
    #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
    pub enum Invariant as ALL {
        /// An acknowledged write is there, or superseded by a write that is.
        AcknowledgedIsKept,
        /// Every value was written, under this key, by the write its dot names.
        NothingIsInvented,
        /// A value that another one here has superseded is gone.
        NoFalseSibling,
        /// A value is dropped only for a write that had read it.
        NoFalseDominance,
        /// Replicas that have heard everything hold the same.
        ReplicasConverge,
        /// Once there are no faults, each replica has every write that another one can produce,
        /// without a read.
        ExchangeConverges,
        /// What disks have lost is there again soon, without a read.
        LossesAreHealed,
        /// The sum that a node tells of a shard is that of what its disk holds.
        TreesAreTrue,
        /// A node whose disk has lost something finds it when it reads it, without any other.
        LossesAreNoticed,
        /// A shard is suspect only if a record of it was lost.
        SuspicionHasACause,
        /// In the end no shard is suspect.
        SuspicionEnds,
        /// Nobody forgets anything in a shard of which a replica has said to be suspect.
        SuspectsSettleNothing,
        /// What a repair says to be proved both hold, as far as either did when it began.
        ProvedIsEqual,
        /// A log has each dot that somebody may lack.
        LogReachesBack,
        /// A replica, and a read, has each write that was acknowledged before the time to which it
        /// says to be up to date.
        StalenessIsTrue,
        /// A monotonic read returns no less than one that was answered before it began.
        MonotonicReadsHold,
        /// A session reads what it has written and read, and writes after it.
        SessionsHold,
        /// Who watches a table is told how each key is in the end, and never what is older than what
        /// he was told before, unless that is said.
        WatchersMissNothing,
        /// What is held in the end are the latest writes of the true history, and whatever is
        /// missing of it was lost in a way that the guarantees name.
        HistoryIsHeld,
        /// A dot names one write, for ever.
        DotsAreUnique,
        /// A write has one dot, however often it is sent.
        WritesHappenOnce,
        /// A write that is tried again with the same token has one effect.
        TokensTakeEffectOnce,
        /// What a client is told of a write that it asks for is so.
        OutcomesAreTrue,
        /// A read whose replicas meet those of an acknowledged write sees it.
        QuorumsMeet,
        /// A receipt says who took part.
        ReceiptsAreTrue,
        /// What a receipt calls durable is on the disk it names, and stays there.
        DurableIsOnDisk,
        /// A list holds what gets hold.
        ListsAgree,
        /// A write that was refused or not attempted never turns up.
        RefusedStaysAway,
        /// A node that is up answers in time, once.
        EveryRequestIsAnswered,
        /// When nobody asks any more, no node has a request in hand, or reads for one.
        NothingIsLeft,
        /// Without faults, every request succeeds.
        HealthyRequestsSucceed,
        /// A replica never forgets what it has heard.
        ReplicasOnlyGrow,
        /// What was superseded at a replica is not held there again, even if the record that
        /// says so is lost.
        SupersededStaysAway,
        /// What was deleted is not shown once all replicas have that or its tombstone is forgotten,
        /// and not held in the end.
        DeletedStaysAway,
        /// The clock on a disk says exactly what the objects on it have heard.
        ClocksAreExact,
        /// A request that no cluster can carry out is refused, and says why.
        ImproperIsRefused,
        /// A failure says what is so: of the request, or of the node that refuses.
        RefusalsAreTrue,
        /// A keyspace or table that was acknowledged stays, everywhere the same.
        ContractsStand,
        /// A node does not panic, whatever it hears.
        NodesDoNotPanic,
        /// What has a limit stays below it: requests of a node, siblings of a key.
        LimitsHold,
        /// Bytes that were damaged, on their way or on disk, are refused.
        DamageIsNoticed,
        /// A context token is good for the key it was made for, and as it was made.
        TokensAreBound,
        /// A node with a new disk takes part when it has what it had acknowledged, and not before.
        NewDisksAreWhole,
        /// A node with a new disk takes part in the end.
        NewDisksJoin,
        /// A tombstone is forgotten when all replicas have what it speaks of on disk, and a superseded dot
        /// when none holds its value.
        ForgottenIsSettled,
        /// In the end no tombstone is left that could be forgotten.
        TombstonesGo,
        /// In the end no context is longer than it may be.
        ContextsAreShort,
        /// What guests keep is handed over once its replicas are there.
        HintsAreHandedOver,
        /// In a sloppy keyspace no write is left alone while its node can count on enough others,
        /// whoever they are.
        WritesAreTaken,
    }
}

/// When something is looked at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Moment {
    /// Each time a replica stores an object.
    Stored,
    /// Each time a client is answered, or asks.
    Answered,
    /// At each step of a node.
    Stepped,
    /// Each time something was lost or damaged: a crash, a record, a disk, a message.
    Lost,
    /// Each time a node starts from what is on its disk.
    Started,
    /// Each time the faults have ended, everything was delivered, and all keys were read.
    Quiet,
}

impl Moment {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Moment::Stored => "each object stored",
            Moment::Answered => "each answer",
            Moment::Stepped => "each step of a node",
            Moment::Lost => "each loss",
            Moment::Started => "each start of a node",
            Moment::Quiet => "in quiet",
        }
    }
}

impl Invariant {
    /// What it says, in a sentence.
    pub fn promise(self) -> &'static str {
        match self {
            Invariant::AcknowledgedIsKept => {
                "An acknowledged write is there, or superseded by a write that is."
            }
            Invariant::NothingIsInvented => {
                "Every value was written, under this key, by the write its dot names."
            }
            Invariant::NoFalseSibling => "A value that another one here has superseded is gone.",
            Invariant::NoFalseDominance => "A value is dropped only for a write that had read it.",
            Invariant::ReplicasConverge => "Replicas that have heard everything hold the same.",
            Invariant::HistoryIsHeld => {
                "What is held in the end are the latest writes of the true history, and whatever is missing of it was lost in a way that the guarantees name."
            }
            Invariant::ExchangeConverges => {
                "Once there are no faults, each replica has every write that another one can produce, without a read."
            }
            Invariant::LossesAreHealed => {
                "What disks have lost is there again soon, without a read."
            }
            Invariant::TreesAreTrue => {
                "The sum that a node tells of a shard is that of what its disk holds."
            }
            Invariant::LossesAreNoticed => {
                "A node whose disk has lost something finds it when it reads it, without any other."
            }
            Invariant::SuspicionHasACause => "A shard is suspect only if a record of it was lost.",
            Invariant::SuspicionEnds => "In the end no shard is suspect.",
            Invariant::SuspectsSettleNothing => {
                "Nobody forgets anything in a shard of which a replica has said to be suspect."
            }
            Invariant::ProvedIsEqual => {
                "What a repair says to be proved both hold, as far as either did when it began."
            }
            Invariant::LogReachesBack => "A log has each dot that somebody may lack.",
            Invariant::StalenessIsTrue => {
                "A replica, and a read, has each write that was acknowledged before the time to which it says to be up to date."
            }
            Invariant::MonotonicReadsHold => {
                "A monotonic read returns no less than one that was answered before it began."
            }
            Invariant::SessionsHold => {
                "A session reads what it has written and read, and writes after it."
            }
            Invariant::WatchersMissNothing => {
                "Who watches a table is told how each key is in the end, and never what is older than what he was told before, unless that is said."
            }
            Invariant::DotsAreUnique => "A dot names one write, for ever.",
            Invariant::WritesHappenOnce => "A write has one dot, however often it is sent.",
            Invariant::TokensTakeEffectOnce => {
                "A write that is tried again with the same token has one effect."
            }
            Invariant::OutcomesAreTrue => {
                "What a client is told of a write that it asks for is so."
            }
            Invariant::QuorumsMeet => {
                "A read whose replicas meet those of an acknowledged write sees it."
            }
            Invariant::ReceiptsAreTrue => "A receipt says who took part.",
            Invariant::DurableIsOnDisk => {
                "What a receipt calls durable is on the disk it names, and stays there."
            }
            Invariant::ListsAgree => "A list holds what gets hold.",
            Invariant::RefusedStaysAway => {
                "A write that was refused or not attempted never turns up."
            }
            Invariant::EveryRequestIsAnswered => "A node that is up answers in time, once.",
            Invariant::NothingIsLeft => {
                "When nobody asks any more, no node has a request in hand, or reads for one."
            }
            Invariant::HealthyRequestsSucceed => "Without faults, every request succeeds.",
            Invariant::ReplicasOnlyGrow => "A replica never forgets what it has heard.",
            Invariant::SupersededStaysAway => {
                "What was superseded at a replica is not held there again, even if the record that says so is lost."
            }
            Invariant::DeletedStaysAway => {
                "What was deleted is not shown once all replicas have that or its tombstone is forgotten, and not held in the end."
            }
            Invariant::NewDisksAreWhole => {
                "A node with a new disk takes part when it has what it had acknowledged, and not before."
            }
            Invariant::NewDisksJoin => "A node with a new disk takes part in the end.",
            Invariant::ForgottenIsSettled => {
                "A tombstone is forgotten when all replicas have what it speaks of on disk, and a superseded dot when none holds its value."
            }
            Invariant::ContextsAreShort => "In the end no context is longer than it may be.",
            Invariant::TombstonesGo => "In the end no tombstone is left that could be forgotten.",
            Invariant::ClocksAreExact => {
                "The clock on a disk says exactly what the objects on it have heard."
            }
            Invariant::ImproperIsRefused => {
                "A request that no cluster can carry out is refused, and says why."
            }
            Invariant::RefusalsAreTrue => {
                "A failure says what is so: of the request, or of the node that refuses."
            }
            Invariant::ContractsStand => {
                "A keyspace or table that was acknowledged stays, everywhere the same."
            }
            Invariant::NodesDoNotPanic => "A node does not panic, whatever it hears.",
            Invariant::LimitsHold => {
                "What has a limit stays below it: requests of a node, siblings of a key."
            }
            Invariant::DamageIsNoticed => {
                "Bytes that were damaged, on their way or on disk, are refused."
            }
            Invariant::HintsAreHandedOver => {
                "What guests keep is handed over once its replicas are there."
            }
            Invariant::WritesAreTaken => {
                "In a sloppy keyspace no write is left alone while its node can count on enough others, whoever they are."
            }
            Invariant::TokensAreBound => {
                "A context token is good for the key it was made for, and as it was made."
            }
        }
    }

    /// When it is looked at.
    pub fn moments(self) -> &'static [Moment] {
        use Moment::{Answered, Lost, Quiet, Started, Stepped, Stored};
        match self {
            Invariant::AcknowledgedIsKept => &[Lost, Quiet],
            Invariant::NothingIsInvented => &[Stored, Answered, Quiet],
            Invariant::NoFalseSibling
            | Invariant::NoFalseDominance
            | Invariant::TokensTakeEffectOnce => &[Stored, Answered],
            Invariant::NothingIsLeft => &[Stepped, Quiet],
            Invariant::ReplicasConverge
            | Invariant::ExchangeConverges
            | Invariant::LossesAreHealed
            | Invariant::TreesAreTrue
            | Invariant::SuspicionEnds
            | Invariant::HintsAreHandedOver
            | Invariant::HistoryIsHeld => &[Quiet],
            Invariant::LogReachesBack => &[Stored, Stepped],
            Invariant::DotsAreUnique | Invariant::WritesHappenOnce => &[Stored],
            Invariant::QuorumsMeet
            | Invariant::ReceiptsAreTrue
            | Invariant::StalenessIsTrue
            | Invariant::MonotonicReadsHold
            | Invariant::SessionsHold
            | Invariant::HealthyRequestsSucceed
            | Invariant::ImproperIsRefused
            | Invariant::WritesAreTaken
            | Invariant::TokensAreBound => &[Answered],
            Invariant::OutcomesAreTrue => &[Stored, Answered],
            Invariant::DurableIsOnDisk => &[Answered, Lost],
            Invariant::DeletedStaysAway => &[Answered, Quiet],
            Invariant::ListsAgree | Invariant::WatchersMissNothing => &[Answered, Quiet],
            Invariant::RefusedStaysAway | Invariant::SupersededStaysAway => &[Stored, Answered],
            Invariant::EveryRequestIsAnswered
            | Invariant::NodesDoNotPanic
            | Invariant::NewDisksAreWhole
            | Invariant::ProvedIsEqual => &[Stepped],
            Invariant::NewDisksJoin | Invariant::TombstonesGo | Invariant::ContextsAreShort => {
                &[Quiet]
            }
            Invariant::LossesAreNoticed => &[Started, Quiet],
            Invariant::ForgottenIsSettled
            | Invariant::SuspicionHasACause
            | Invariant::SuspectsSettleNothing => &[Stepped],
            Invariant::RefusalsAreTrue => &[Stepped, Answered],
            Invariant::ReplicasOnlyGrow => &[Stored],
            Invariant::ClocksAreExact => &[Stored, Started, Quiet],
            Invariant::ContractsStand => &[Stepped, Answered, Quiet],
            Invariant::LimitsHold => &[Stepped, Stored],
            Invariant::DamageIsNoticed => &[Lost],
        }
    }
}

/// One promise of the design, what stands for it here, and what is missing.
#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// What is promised.
    pub says: &'static str,
    /// What is looked at.
    pub invariants: &'static [Invariant],
    /// What of it is not looked at because it is not built. Empty if nothing is missing.
    pub missing: &'static str,
}

const fn promise(
    says: &'static str,
    invariants: &'static [Invariant],
    missing: &'static str,
) -> Promise {
    Promise { says, invariants, missing }
}

/// All promises of the design, and a few that go without saying.
pub const PROMISES: &[Promise] = {
    use Invariant::*;
    &[
        promise("a dot is minted once", &[DotsAreUnique, WritesHappenOnce], ""),
        promise(
            "a replica changes only by merge",
            &[ReplicasOnlyGrow, NothingIsInvented, NoFalseDominance],
            "",
        ),
        promise(
            "each dropped value is covered by an exact context that is there",
            &[NoFalseDominance, HistoryIsHeld],
            "",
        ),
        promise(
            "nothing is forgotten that somebody may not have heard of",
            &[
                ForgottenIsSettled,
                SuspectsSettleNothing,
                ReplicasOnlyGrow,
                TombstonesGo,
                ContextsAreShort,
            ],
            "",
        ),
        promise("strict means that quorums meet", &[ReceiptsAreTrue, QuorumsMeet], ""),
        promise(
            "a write that is tried again has one effect",
            &[TokensTakeEffectOnce, NoFalseDominance, HistoryIsHeld],
            "",
        ),
        promise("what became of a write is told as it is", &[OutcomesAreTrue], ""),
        promise("an expired token is refused", &[ImproperIsRefused], ""),
        promise("the hybrid clock follows nobody too far", &[], "wall-clock time"),
        promise(
            "object, clock and sum are stored together",
            &[ClocksAreExact, LogReachesBack, SuspicionHasACause],
            "",
        ),
        promise(
            "what a disk has lost is found and put back",
            &[
                LossesAreNoticed,
                LossesAreHealed,
                SuspicionEnds,
                TreesAreTrue,
                ProvedIsEqual,
                ReplicasConverge,
            ],
            "",
        ),
        promise(
            "a new disk takes part in nothing until it is whole",
            &[NewDisksAreWhole, NewDisksJoin],
            "",
        ),
        promise("the evicted never come back as themselves", &[], "changes of membership"),
        promise("a monotonic read sees what was read before", &[MonotonicReadsHold], ""),
        promise(
            "a session sees what it has seen, or an error",
            &[SessionsHold],
            "sessions of lists and batches",
        ),
        promise("who watches a table misses nothing", &[WatchersMissNothing], ""),
        promise(
            "what a node says never overtakes the data it speaks of",
            &[DurableIsOnDisk, LogReachesBack, StalenessIsTrue],
            "",
        ),
        promise("one region mints in each epoch of ownership", &[], "home regions"),
        promise(
            "an acknowledged write is read, or one that had read it",
            &[QuorumsMeet, ListsAgree, DurableIsOnDisk, AcknowledgedIsKept],
            "",
        ),
        promise(
            "after the faults, replicas hold the same, and what the history says",
            &[ReplicasConverge, ExchangeConverges, HistoryIsHeld],
            "",
        ),
        promise(
            "what was superseded is not read again",
            &[NoFalseSibling, SupersededStaysAway, DeletedStaysAway, QuorumsMeet],
            "anti-entropy: a partial read may ask a replica that has not heard of a delete",
        ),
        promise("counters are exact", &[], "counters"),
        promise(
            "whatever grows has a bound",
            &[LimitsHold, ListsAgree, NothingIsLeft],
            "logs of shards",
        ),
        promise(
            "without faults, each request succeeds in time",
            &[HealthyRequestsSucceed, EveryRequestIsAnswered],
            "",
        ),
        promise(
            "what was refused never happens, and deserved it",
            &[RefusedStaysAway, ImproperIsRefused, RefusalsAreTrue],
            "",
        ),
        promise(
            "what a guest takes in, its replica gets",
            &[HintsAreHandedOver, DurableIsOnDisk, ReceiptsAreTrue],
            "",
        ),
        promise("where enough nodes are, a sloppy keyspace takes writes", &[WritesAreTaken], ""),
        promise("what was declared stays", &[ContractsStand], ""),
        promise("no input ends a node", &[NodesDoNotPanic], ""),
        promise("damaged bytes are not used", &[DamageIsNoticed], ""),
        promise("clients cannot forge contexts", &[TokensAreBound], ""),
    ]
};

/// The promises as a table, for people to read.
pub fn promises_as_text() -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes all");
    for promise in PROMISES {
        line(promise.says.into());
        for invariant in promise.invariants {
            let moments: Vec<_> = invariant.moments().iter().map(|moment| moment.name()).collect();
            line(format!("    {:<24}{}", format!("{invariant:?}"), moments.join(", ")));
        }
        if !promise.missing.is_empty() {
            line(format!("    not built: {}", promise.missing));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_invariant_stands_for_a_promise_and_is_looked_at() {
        for invariant in Invariant::ALL {
            let stands = PROMISES.iter().any(|promise| promise.invariants.contains(invariant));
            assert!(stands, "{invariant:?} stands for nothing");
            assert!(!invariant.moments().is_empty(), "{invariant:?}");
        }
    }

    #[test]
    fn each_promise_is_checked_or_says_what_is_missing() {
        for promise in PROMISES {
            let empty = promise.invariants.is_empty() && promise.missing.is_empty();
            assert!(!empty, "{}", promise.says);
            assert!(promises_as_text().contains(promise.says));
        }
    }
}

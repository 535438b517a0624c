//! What became of a write, found out from everybody who may have it.
//!
//! A mark lies in the object of its key, so this is a read of that object: at all replicas, and
//! at all guests, which may keep a write that no replica has. Nobody's answer stands for
//! another's, so the receipt names exactly those who have it, and whether on disk; the others
//! are named as those who have not heard of it, or who have not said.
//!
//! ```text
//! n1: a1 (t) on disk     n2: nothing     n3: away        applied, by n1; without it n2; silent n3
//! n1: nothing            n2: nothing     n3: away        not seen, and n3 may have it
//! n1: nothing            n2: nothing     n3: nothing     not seen; final if t is taken no more
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use coordinator::Get;
use lattice::Lattice;
use model::{
    Ack, Address, Failure, Fate, NodeId, Now, Object, Recall, Recalled, Receipt, Token,
    WriteOptions,
};
use mutant::{Mutant, is};

use crate::flight::Client;
use crate::{Disk, Node, Site, Turn};

/// Why everybody is asked for what they hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// To learn what became of the write with this token.
    Recall(Token),
    /// To show what each holds.
    Explain,
}

/// What is asked of a read that asks everybody.
#[derive(Debug)]
pub(crate) struct Recalling {
    pub(crate) purpose: Purpose,
    /// Everybody who may have it.
    pub(crate) asked: Vec<NodeId>,
    /// Those who have what they told on disk.
    pub(crate) durable: BTreeSet<NodeId>,
}

impl Recalling {
    /// What a node told is on its disk.
    pub(crate) fn is_on_disk(&mut self, node: NodeId) {
        self.durable.insert(node);
    }
}

impl Node {
    /// Asks everybody who may have heard of a write, and is there.
    pub(crate) fn recall<D: Disk>(
        &mut self,
        client: Client,
        asked: Recall,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let site = self.locate(&asked.keyspace, &asked.table, asked.key.partition())?;
        let address = Address { table: site.table.id, key: asked.key };
        let purpose = Purpose::Recall(asked.token);
        self.ask_everybody(client, site, address, purpose, asked.timeout, turn);
        Ok(())
    }

    /// What those who answered come to.
    pub(crate) fn recalled(
        &self,
        get: &Get<Object>,
        site: &Site,
        recalling: &Recalling,
        token: Token,
        now: Now,
    ) -> Recalled {
        let mut merged = Object::default();
        for (_, object) in get.told() {
            let _ = merged.merge(object.clone());
        }
        let (mut acks, mut guests, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for (node, object) in get.told() {
            let durable = recalling.durable.contains(&node);
            if !object.has_heard_of(token, merged.marks()) {
                without.push(node);
            } else if site.replicas.contains(&node) {
                acks.push(Ack::of_replica(node, durable));
            } else {
                guests.push(node);
            }
        }
        let has_told = |node: &NodeId| get.told().any(|(told, _)| told == *node);
        let mut silent = recalling.asked.clone();
        silent.retain(|node| !has_told(node));
        if is(Mutant::SilentTakenForWithout) {
            without.append(&mut silent);
        }
        // A guest may have handed over what a replica had not had when it was asked.
        let is_whole = silent.is_empty() && !self.contracts.is_sloppy(site.shard);
        let fate = self.fate(token, &merged, is_whole, now);
        let dot = merged.of_token(token).map(|(dot, _)| dot);
        let kind = site.electorate().write_kind(&acks);
        let receipt = site.receipt(kind, acks, self.wanted(site));
        let receipt = dot.map(|dot| Receipt { dot: Some(dot), ..receipt });
        Recalled { fate, receipt, guests, without, silent }
    }

    /// What an object that is merged from all who answered says of a token.
    fn fate(&self, token: Token, merged: &Object, is_whole: bool, now: Now) -> Fate {
        if let Some((dot, mark)) = merged.of_token(token) {
            let is_held = merged.values().contains_key(&dot) || is(Mutant::SupersededTakenForHeld);
            return if is_held || mark.is_delete() { Fate::Applied } else { Fate::Superseded };
        }
        let limits = self.config.limits;
        let age = self.wall_millis(now).saturating_sub(token.millis());
        let age = Duration::from_millis(age);
        let is_remembered = !merged.may_have_forgotten(token) && !merged.is_beyond_reach(token);
        let is_over = limits.retry_window < age;
        // Another node's clock may be behind this one, and that node still take the token.
        let taken = limits.retry_window + limits.token_ahead_max;
        // Later than that a tombstone may be forgotten that knew of it.
        let is_over_everywhere = taken < age && age < taken + limits.retry_window;
        if is_remembered && is_whole && (is_over_everywhere || is(Mutant::UnseenTakenForFinal)) {
            Fate::NotSeen { is_final: true }
        } else if is_over || !is_remembered {
            Fate::Expired
        } else {
            Fate::NotSeen { is_final: false }
        }
    }

    /// How many replicas a write needs at the table's level, at the least.
    fn wanted(&self, site: &Site) -> u8 {
        let need = site.electorate().write(WriteOptions::default(), &self.here);
        need.map_or(1, |need| need.least())
    }
}

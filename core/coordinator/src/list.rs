//! One page of an ordered read, put together from the pages of several replicas.
//!
//! Replicas hold different keys, so their pages end at different places. What one replica
//! would have shown *beyond* the end of its page is unknown, and so the common page ends
//! where the first of them ends: a key above that line could be incomplete, or be missing
//! a neighbour.
//!
//! ```text
//! n1: a c e | more           the page ends at e (n2 has nothing more to show before f)
//! n2: a b c f                a, b, c, e are answered, f is read again with the next page
//! ```

use std::collections::{BTreeMap, VecDeque};

use lattice::Lattice;
use model::{Need, NodeId};
use mutant::{Mutant, is};

/// What one replica holds in a span.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page<K, T> {
    /// In order of keys.
    pub objects: Vec<(K, T)>,
    /// Whether the span goes on after the last of them.
    pub more: bool,
}

/// What happened to a page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListEvent<K, T> {
    /// A replica holds this.
    Scanned(NodeId, Page<K, T>),
    /// A replica could not read, or cannot be reached any more.
    Failed(NodeId),
    /// The answers take long: ask everybody.
    Slow,
    /// The client waits no longer.
    Deadline,
}

/// What a page wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListEffect<K, T> {
    /// Ask this replica.
    Scan(NodeId),
    /// Answer: these replicas hold this together.
    Met(Page<K, T>, Vec<NodeId>),
    /// Answer: only these replicas told what they hold.
    Unmet(Vec<NodeId>),
    /// Bring this replica up to date.
    Merge(NodeId, K, T),
}

/// One page, until it is answered.
#[derive(Clone, Debug)]
pub struct List<K, T> {
    need: Need,
    /// Who was asked and has not failed, and what they told, if anything yet.
    asked: BTreeMap<NodeId, Option<Page<K, T>>>,
    spares: VecDeque<NodeId>,
    is_done: bool,
}

impl<K: Ord + Clone, T: Lattice + Clone + Default + Eq> List<K, T> {
    /// Asks as many replicas of the list as are needed. The rest are spares.
    pub fn start(replicas: &[NodeId], need: Need, out: &mut Vec<ListEffect<K, T>>) -> Self {
        let mut list = Self {
            need,
            asked: BTreeMap::new(),
            spares: replicas.iter().copied().collect(),
            is_done: false,
        };
        list.ask_enough(out);
        list
    }

    /// Whether the client has been answered, and nothing remains to be done.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes in what happened.
    pub fn step(&mut self, event: ListEvent<K, T>, out: &mut Vec<ListEffect<K, T>>) {
        if self.is_done {
            return;
        }
        match event {
            ListEvent::Scanned(node, page) => {
                if let Some(slot @ None) = self.asked.get_mut(&node) {
                    *slot = Some(page);
                }
            }
            ListEvent::Failed(node) => self.fail(node, out),
            ListEvent::Slow => {
                while let Some(node) = self.spares.pop_front() {
                    self.ask(node, out);
                }
            }
            ListEvent::Deadline => return self.give_up(out),
        }
        self.answer(out);
    }

    fn ask(&mut self, node: NodeId, out: &mut Vec<ListEffect<K, T>>) {
        self.asked.insert(node, None);
        out.push(ListEffect::Scan(node));
    }

    /// Asks spares until those asked are enough, or none is left that would help.
    fn ask_enough(&mut self, out: &mut Vec<ListEffect<K, T>>) {
        loop {
            let is_asked = |node: NodeId| self.asked.contains_key(&node);
            let wanted = |node: &NodeId| self.need.wants(*node, is_asked);
            let Some(index) = self.spares.iter().position(wanted) else { return };
            if let Some(node) = self.spares.remove(index) {
                self.ask(node, out);
            }
        }
    }

    fn fail(&mut self, node: NodeId, out: &mut Vec<ListEffect<K, T>>) {
        if let Some(None) = self.asked.get(&node) {
            self.asked.remove(&node);
            self.ask_enough(out);
        }
    }

    fn answer(&mut self, out: &mut Vec<ListEffect<K, T>>) {
        let pages: Vec<(NodeId, &Page<K, T>)> = self.pages().collect();
        if self.need.is_met(|node| pages.iter().any(|(heard, _)| *heard == node)) {
            let nodes = pages.iter().map(|(node, _)| *node).collect();
            let merged = merge(&pages);
            out.extend(repairs(&pages, &merged));
            out.push(ListEffect::Met(merged, nodes));
            self.is_done = true;
        } else if !self.need.is_met(|node| self.is_able(node)) {
            self.give_up(out);
        }
    }

    /// Whether a replica has answered, or may.
    fn is_able(&self, node: NodeId) -> bool {
        self.asked.contains_key(&node) || self.spares.contains(&node)
    }

    fn pages(&self) -> impl Iterator<Item = (NodeId, &Page<K, T>)> {
        self.asked.iter().filter_map(|(node, page)| page.as_ref().map(|page| (*node, page)))
    }

    fn give_up(&mut self, out: &mut Vec<ListEffect<K, T>>) {
        out.push(ListEffect::Unmet(self.pages().map(|(node, _)| node).collect()));
        self.is_done = true;
    }
}

/// Merges pages up to where the first of them ends.
fn merge<K: Ord + Clone, T: Lattice + Clone>(pages: &[(NodeId, &Page<K, T>)]) -> Page<K, T> {
    let ends = pages.iter().filter(|(_, page)| page.more).map(|(_, page)| page.objects.last());
    let end = ends.flatten().map(|(key, _)| key).min();
    let end = end.filter(|_| !is(Mutant::PageEndIgnored));
    let mut merged: BTreeMap<K, T> = BTreeMap::new();
    let mut beyond = false;
    for (key, object) in pages.iter().flat_map(|(_, page)| &page.objects) {
        if end.is_some_and(|end| end < key) {
            beyond = true;
        } else if let Some(here) = merged.get_mut(key) {
            let _ = here.merge(object.clone());
        } else {
            merged.insert(key.clone(), object.clone());
        }
    }
    let more = !is(Mutant::PageTakenForAll) && (beyond || pages.iter().any(|(_, page)| page.more));
    Page { objects: merged.into_iter().collect(), more }
}

/// Names the replicas whose objects differ from the merge. One that does not have a key
/// holds bottom there.
fn repairs<K: Ord + Clone, T: Clone + Default + Eq>(
    pages: &[(NodeId, &Page<K, T>)],
    merged: &Page<K, T>,
) -> Vec<ListEffect<K, T>> {
    let bottom = T::default();
    let mut repairs = Vec::new();
    for (node, page) in pages {
        for (key, object) in &merged.objects {
            let found = page.objects.binary_search_by(|(theirs, _)| theirs.cmp(key));
            let held = found.ok().and_then(|index| page.objects.get(index));
            let theirs = held.map_or(&bottom, |(_, object)| object);
            if theirs != object {
                repairs.push(ListEffect::Merge(*node, key.clone(), object.clone()));
            }
        }
    }
    repairs
}

#[cfg(test)]
mod tests {
    use ListEvent::{Deadline, Failed, Scanned};
    use lattice::Max;

    use super::*;
    use crate::script::votes;

    const N1: NodeId = NodeId::new(1);
    const N2: NodeId = NodeId::new(2);
    const N3: NodeId = NodeId::new(3);

    type Effects = Vec<ListEffect<char, Max<u64>>>;

    fn page(objects: &[(char, u64)], more: bool) -> Page<char, Max<u64>> {
        Page { objects: objects.iter().map(|(key, max)| (*key, Max(*max))).collect(), more }
    }

    fn run(events: Vec<ListEvent<char, Max<u64>>>) -> Effects {
        let mut out = Vec::new();
        let mut list = List::start(&[N1, N2, N3], votes(&[(N1, 1), (N2, 1), (N3, 1)], 2), &mut out);
        assert_eq!(out, [ListEffect::Scan(N1), ListEffect::Scan(N2)]);
        out.clear();
        events.into_iter().for_each(|event| list.step(event, &mut out));
        out
    }

    #[test]
    fn list_ends_where_the_first_page_ends_and_repairs_what_it_shows() {
        let ours = page(&[('a', 1), ('c', 1), ('e', 1)], true);
        let theirs = page(&[('a', 2), ('b', 1), ('c', 1), ('f', 1)], false);
        let merged = page(&[('a', 2), ('b', 1), ('c', 1), ('e', 1)], true);
        assert_eq!(
            run(vec![Scanned(N1, ours), Scanned(N2, theirs)]),
            [
                ListEffect::Merge(N1, 'a', Max(2)),
                ListEffect::Merge(N1, 'b', Max(1)),
                ListEffect::Merge(N2, 'e', Max(1)),
                ListEffect::Met(merged, vec![N1, N2]),
            ]
        );
    }

    #[test]
    fn list_asks_a_spare_when_a_replica_fails() {
        let whole = page(&[('a', 1)], false);
        let effects = run(vec![Scanned(N1, whole.clone()), Failed(N2), Scanned(N3, whole.clone())]);
        assert_eq!(effects, [ListEffect::Scan(N3), ListEffect::Met(whole, vec![N1, N3])]);
    }

    #[test]
    fn list_gives_up_when_too_few_replicas_are_able() {
        let effects = run(vec![Failed(N1), Failed(N2), Deadline]);
        assert_eq!(effects, [ListEffect::Scan(N3), ListEffect::Unmet(vec![])]);
    }

    #[test]
    fn list_counts_no_replica_twice() {
        let whole = page(&[], false);
        let effects = run(vec![Scanned(N1, whole.clone()), Scanned(N1, whole), Deadline]);
        assert_eq!(effects, [ListEffect::Unmet(vec![N1])]);
    }
}

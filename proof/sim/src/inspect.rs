//! Looking into a world that is stopped in the middle of a run.
//!
//! Whoever goes through the events of a run wants to know, at some line, what became of one
//! key by then and what each replica holds, or how it stands with one node. A run is a
//! function of its seed, so nothing of that needs to be kept: it is run again up to that
//! line, and looked at.

use causality::DotSet;
use model::{NodeId, Object};

use crate::host::{Doom, Host};
use crate::oracle::{Oracle, Write};
use crate::trace::Keep;
use crate::world::World;
use crate::{Options, attempt};

/// What somebody wants to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Question {
    /// The history of a key, and what its replicas hold. It is named as in the trace, `p1/s2`
    /// or `p1` if it has no sort key.
    Key(String),
    /// The state of a node, by its number.
    Node(u16),
}

/// Answers a question about a run as it is when so many lines of its trace are told.
pub fn inspect(seed: u64, options: &Options, lines: u64, question: &Question) -> Vec<String> {
    let options = Options { trace: false, ..options.clone() };
    let (world, _) = attempt(seed, &options, Keep::Nothing, Some(lines));
    match question {
        Question::Key(key) => world.tell_key(key),
        Question::Node(number) => world.tell_node(NodeId::new(*number)),
    }
}

impl Oracle {
    /// The history of one key, in words.
    pub(crate) fn tell(&self, spot: usize) -> Vec<String> {
        let of_key = |(_, write): &(usize, &Write)| write.spot == spot;
        let known = self.spots.get(spot);
        let place =
            known.map(|spot| format!("{:?} in {} at {:?}", spot.key, spot.shard, spot.replicas));
        let lines = self.writes.iter().enumerate().filter(of_key).map(|(id, write)| {
            let Write { at, context, begun, ended, outcome, dot, acks, .. } = write;
            let what = if write.value.is_some() { "put" } else { "delete" };
            let token = write.family.map_or(String::new(), |first| {
                format!(" with the token of w{}", first.0)
            });
            let dot = dot.map_or("no dot".to_string(), |dot| dot.to_string());
            let acks: Vec<_> = acks
                .iter()
                .map(|ack| format!("{}{}", ack.node, if ack.durable { " durable" } else { "" }))
                .collect();
            format!(
                "w{id} {what}{token} by {at} at {begun}..{ended} {outcome:?} as {dot}, acks [{}], had read {context:?}",
                acks.join(", ")
            )
        });
        place.into_iter().chain(lines).collect()
    }
}

impl World {
    fn tell_key(&self, wanted: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for (index, spot) in self.oracle.spots.iter().enumerate() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let mut name = text(spot.key.partition());
            if !spot.key.sort().is_empty() {
                name = format!("{name}/{}", text(spot.key.sort()));
            }
            if name != wanted {
                continue;
            }
            lines.push(format!("{name} in {}:", spot.table.name));
            lines.extend(self.oracle.tell(index).into_iter().map(|line| format!("  {line}")));
            for host in spot.replicas.iter().filter_map(|node| self.hosts.get(node)) {
                let disk = &host.disk;
                let view = tell_object(disk.view().objects.get(&spot.place()));
                let synced = tell_object(disk.synced_object(&spot.place()));
                let same =
                    if view == synced { "synced".into() } else { format!("on disk {synced}") };
                let lost = self.oracle.losses.of_node(host.id, index).map(tell_dots);
                let lost = lost.map_or(String::new(), |lost| format!(", has lost {lost}"));
                let is_damaged = disk.damaged().contains(&spot.place());
                let damaged = if is_damaged { ", and cannot read it" } else { "" };
                lines.push(format!("  {} holds {view}, {same}{lost}{damaged}", host.id));
            }
        }
        if lines.is_empty() {
            lines.push(format!("no key is called {wanted}"));
        }
        lines
    }

    fn tell_node(&self, node: NodeId) -> Vec<String> {
        let Some(host) = self.hosts.get(&node) else {
            return vec![format!("there is no {node}")];
        };
        let mut lines = vec![self.tell_process(host)];
        let (objects, clocks) = (host.disk.view().objects.len(), host.disk.view().clocks());
        lines.push(format!(
            "  {objects} objects, {} of them damaged; {}",
            host.disk.damaged().len(),
            host.disk.tell_groups()
        ));
        for (shard, clock) in clocks {
            lines.push(format!("  clock of {shard}: {}", tell_dots(&clock)));
        }
        for (index, lost) in self.oracle.losses.all_of(node) {
            let key = &self.oracle.spot(index).key;
            lines.push(format!("  has lost {} of {key:?}", tell_dots(lost)));
        }
        lines.extend(self.network.tell_ways(self.now, node).map(|way| format!("  {way}")));
        for (ticket, open) in self.open.iter().filter(|(_, open)| open.at == node) {
            lines.push(format!("  {ticket:?} since {}: {:?}", open.begun, open.request));
        }
        lines
    }

    fn tell_process(&self, host: &Host) -> String {
        let now = self.now;
        let mut line = format!("{} at {now}: ", host.id);
        line += &match &host.node {
            Some(node) => format!(
                "up as {}, its life number {}, {} requests in hand, catalog {}",
                host.incarnation,
                host.life,
                node.requests(),
                node.catalog_version()
            ),
            None => "down".into(),
        };
        line += &format!(", its clock shows {}", host.clock.read(now).as_micros());
        let until = [
            ("stands still", host.paused_until),
            ("its disk is full", host.full_until),
            ("its disk is slow", host.slow_disk.1),
            ("it is slow", host.slow_steps.1),
        ];
        for (what, until) in until.into_iter().filter(|(_, until)| now < *until) {
            line += &format!(", {what} until {until}");
        }
        if let Some(Doom { effects, .. }) = host.doom {
            line += &format!(", dies after {effects} more effects");
        }
        line
    }
}

fn tell_object(object: Option<&Object>) -> String {
    let Some(object) = object else { return "nothing".into() };
    let values = object.values().iter();
    let values: Vec<_> = values
        .map(|(dot, value)| format!("{dot} {:?}", String::from_utf8_lossy(&value.body)))
        .collect();
    format!("[{}] after {}", values.join(", "), tell_dots(object.context()))
}

fn tell_dots(dots: &DotSet) -> String {
    format!("{dots:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace;

    /// Something of a run at a line, joined.
    fn told(lines: u64, question: &Question) -> String {
        inspect(3, &Options::default(), lines, question).join("\n")
    }

    #[test]
    fn what_is_told_of_a_node_is_how_it_was_at_that_line() {
        let (lines, _) = trace(3, &Options::default());
        let mut later = lines.iter().enumerate().skip(100);
        let (at, line) = later.find(|(_, line)| line.contains("starts as")).unwrap();
        let number = line.split_whitespace().nth(1).unwrap().trim_start_matches('n');
        let node = Question::Node(number.parse().unwrap());
        assert!(told(at as u64, &node).contains("down"), "{line}: {}", told(at as u64, &node));
        assert!(told(at as u64 + 1, &node).contains("up as"));
        assert!(told(5, &Question::Node(99)).contains("there is no n99"));
    }

    #[test]
    fn the_history_of_a_key_ends_at_that_line() {
        let (lines, _) = trace(3, &Options::default());
        let key = Question::Key("p0".into());
        let early = told(lines.len() as u64 / 20, &key);
        let late = told(lines.len() as u64, &key);
        assert!(early.len() < late.len(), "{early}\n{late}");
        assert!(late.contains("holds ["), "{late}");
        assert!(told(1_000, &Question::Key("of nobody".into())).contains("no key"));
    }
}

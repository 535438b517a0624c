//! Nodes that do not answer, and nodes that the others do not hear.
//!
//! A node that is down is noticed twice: nobody answers at its endpoint, and the others do not
//! hear it. An endpoint that never answered does not say which node it is. The two are put together
//! where each node that said nothing, also those that are heard, can be an endpoint that said
//! nothing: then all were asked. One more, and an endpoint may be a node that hangs and is heard
//! still, while one that is away was not asked.

use std::collections::BTreeSet;

use super::super::finding::Finding;
use super::{Answer, Said, Seen, heard};

/// What is said of nodes from which nothing was heard.
pub(super) fn absent(seen: &[Seen], said: &[(&str, &Said)]) -> Vec<Finding> {
    let missed = missed(said);
    let is_silent = |seen: &&Seen| match &seen.answer {
        Answer::Said(_) | Answer::Declined { .. } => false,
        Answer::Refused(_) | Answer::Silent(_) => true,
    };
    let silent = seen.iter().filter(is_silent).count();
    let (nobody, some): (Vec<&Missed>, Vec<&Missed>) = missed.iter().partition(|one| one.by_all);
    let were_all_asked = untold(said).len() + said.len() <= seen.len();
    let are_the_same = were_all_asked && nobody.len() <= silent;
    let evidence = match are_the_same && !nobody.is_empty() {
        true => {
            let nodes: Vec<String> = nobody.iter().map(|one| format!("n{}", one.node)).collect();
            let by = nobody.first().map(|one| one.by.as_str()).unwrap_or_default();
            format!("; {by} do not hear {}", nodes.join(", "))
        }
        false => String::new(),
    };
    let mut findings: Vec<Finding> =
        seen.iter().filter_map(|seen| endpoint(seen, &evidence)).collect();
    if !are_the_same {
        findings.extend(nobody.into_iter().map(Missed::is_away));
    }
    findings.extend(some.into_iter().map(Missed::is_cut_off));
    findings
}

fn endpoint(Seen { url, answer }: &Seen, evidence: &str) -> Option<Finding> {
    match answer {
        Answer::Said(_) => None,
        Answer::Refused(why) => Some(
            Finding::critical("node_down", format!("nobody listens at {url}"))
                .because(format!("{why}{evidence}"))
                .so("start the node (merganser serve --config FILE); the end of its log says why it ended"),
        ),
        Answer::Silent(why) => Some(
            Finding::critical("node_hangs", format!("{url} does not answer, though somebody may be there"))
                .because(format!("{why}{evidence}"))
                .so("on that machine: kill -CONT $(cat DATA_DIR/node.pid) if it was stopped; else look at its disk (iostat -x 1) and memory, and restart it"),
        ),
        Answer::Declined { code, why } => Some(
            Finding::critical("node_refuses", format!("{url} is there, and does not say how it is"))
                .because(why.clone())
                .so(when_declined(code)),
        ),
    }
}

/// What to do about a node that answers with a problem of this code.
fn when_declined(code: &str) -> &'static str {
    match code {
        "overloaded" => {
            "ask again after a moment; if it has too many connections, let clients keep fewer, spread them over all nodes, or raise connections_max"
        }
        "not_found" => {
            "check that the URL is that of a node, with the port of its HTTP door, and the versions of both programs"
        }
        _ => "ask again after a moment; if it says so again, look at the end of its log",
    }
}

/// A node that said nothing, and that some of the others do not hear.
struct Missed {
    node: u16,
    /// By whom.
    by: String,
    by_all: bool,
}

/// The nodes of which others know, and that said nothing themselves.
fn untold(said: &[(&str, &Said)]) -> BTreeSet<u16> {
    let heard = heard(said);
    let known = heard.values().flat_map(|others| others.keys().copied());
    known.filter(|node| !heard.contains_key(node)).collect()
}

fn missed(said: &[(&str, &Said)]) -> Vec<Missed> {
    let heard = heard(said);
    let missed = untold(said).into_iter().filter_map(|node| {
        let deaf: Vec<String> = heard
            .iter()
            .filter(|(_, others)| others.get(&node) == Some(&false))
            .map(|(by, _)| format!("n{by}"))
            .collect();
        let by_all = deaf.len() == heard.len();
        (!deaf.is_empty()).then(|| Missed { node, by: deaf.join(", "), by_all })
    });
    missed.collect()
}

impl Missed {
    fn is_away(&self) -> Finding {
        let Self { node, by, .. } = self;
        Finding::critical("node_down", format!("n{node} is away"))
            .because(format!("{by} do not hear it"))
            .so(format!("start n{node} (merganser serve --config FILE), or mend the network to it; with --node URL the doctor asks it, too"))
    }

    fn is_cut_off(&self) -> Finding {
        let Self { node, by, .. } = self;
        Finding::warning("partly_cut_off", format!("n{node} is heard by some nodes only"))
            .because(format!("{by} do not hear it, others do"))
            .so(format!("check the network between {by} and n{node}"))
    }
}

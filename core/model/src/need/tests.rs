use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn voter(node: u16, region: &str, zone: &str, votes: u8) -> Voter {
    let name = |text: &str| crate::Name::new(text).unwrap();
    Voter { node: NodeId::new(node), region: name(region), zone: name(zone), votes }
}

fn set(nodes: &[u16]) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId::new).collect()
}

fn met(need: &Need, nodes: &[u16]) -> bool {
    let nodes = set(nodes);
    need.is_met(|node| nodes.contains(&node))
}

fn must_meet(need: &Need, nodes: &[u16]) -> bool {
    let nodes = set(nodes);
    need.must_meet(|node| nodes.contains(&node))
}

/// Two regions of three.
fn six() -> Vec<Voter> {
    (1..=6).map(|node| voter(node, if node <= 3 { "eu" } else { "us" }, "a", 1)).collect()
}

#[test]
fn a_heavy_node_counts_twice_and_not_as_two_nodes() {
    let voters = [voter(1, "here", "a", 2), voter(2, "here", "b", 1), voter(3, "here", "c", 1)];
    let need = Need::default().and_votes(&voters, 3);
    assert!(met(&need, &[1, 2]) && met(&need, &[1, 3]));
    assert!(!met(&need, &[2, 3]) && !met(&need, &[1]));
    assert_eq!(need.least(), 2);
    let guarded = need.and_nodes(&voters, 3);
    assert!(!met(&guarded, &[1, 2]) && met(&guarded, &[1, 2, 3]));
    assert_eq!(guarded.least(), 3);
}

#[test]
fn zones_of_two_regions_are_different_whatever_their_names() {
    let voters = [voter(1, "eu", "a", 1), voter(2, "eu", "a", 1), voter(3, "us", "a", 1)];
    let need = Need::default().and_zones(&voters, 2);
    assert!(!met(&need, &[1, 2]) && met(&need, &[1, 3]));
    let of = |has: &[u16]| need.wants(NodeId::new(2), |node| set(has).contains(&node));
    assert!(of(&[3]) && !of(&[1]), "the zone of n2 counts once");
}

#[test]
fn what_a_majority_of_each_region_wrote_is_met_by_a_majority_of_one() {
    let voters = six();
    let (eu, us) = voters.split_at(3);
    let each = Need::default().and_votes(eu, 2).and_votes(us, 2);
    let local = Need::default().and_votes(us, 2);
    let quorum = Need::default().and_votes(&voters, 4);
    assert!(each.meets(&local, &voters) && quorum.meets(&quorum, &voters));
    assert!(each.implies(&quorum, &voters) && !quorum.implies(&each, &voters));
    let other = Need::default().and_votes(eu, 2);
    assert!(!local.meets(&other, &voters), "majorities of two regions are apart");
    assert!(must_meet(&local, &[1, 5, 6]) && !must_meet(&local, &[1, 2, 3, 4]));
    assert_eq!((each.least(), local.least()), (4, 2));
}

#[test]
fn the_empty_need_is_met_by_nobody_and_meets_nothing() {
    let voters = [voter(1, "here", "a", 1)];
    let all = Need::default().and_votes(&voters, 1);
    assert!(Need::default().is_met(|_| false));
    assert!(!Need::default().meets(&all, &voters));
}

#[test]
fn a_need_that_must_meet_others_waits_until_the_rest_is_too_few_for_them() {
    let voters = six();
    let quorum = Need::default().and_votes(&voters, 4);
    let one = Need::default().and_nodes(&voters, 1).and_meets([quorum]);
    assert!(!met(&one, &[1, 2]) && met(&one, &[1, 2, 3]));
    assert_eq!(one.least(), 3);
    let has = set(&[1, 2]);
    assert!(one.is_met_alone(|node| has.contains(&node)));
    assert!(one.wants(NodeId::new(5), |node| has.contains(&node)));
}

#[test]
fn what_is_lacking_is_said_where_a_number_of_replicas_does_not_say_it() {
    let voters = six();
    let (eu, _) = voters.split_at(3);
    let region = crate::Name::new("eu").unwrap();
    let local = Need::default().and_votes(eu, 2).within(&region).and_zones(&voters, 2);
    let has = set(&[3]);
    let text = local.lacking(|node| has.contains(&node));
    assert_eq!(text, "1 of 2 replicas in eu, 1 of 2 zones");
    assert_eq!(Need::default().and_votes(&voters, 4).lacking(|_| false), "");
}

#[test]
fn both_heavy_nodes_are_a_quorum_and_a_blocker() {
    let voters = [voter(1, "here", "a", 2), voter(2, "here", "a", 2), voter(3, "here", "b", 1)];
    let need = Need::default().and_votes(&voters, 3);
    let node = |nodes: &[u16]| nodes.iter().copied().map(NodeId::new).collect::<Vec<_>>();
    let quorums = [node(&[1, 2]), node(&[1, 3]), node(&[2, 3])];
    assert_eq!(need.quorums(&voters), quorums);
    assert_eq!(need.blockers(&voters), quorums, "any one may go");
    let four = Need::default().and_votes(&voters, 4);
    assert_eq!(four.quorums(&voters), [node(&[1, 2])]);
    assert_eq!(four.blockers(&voters), [node(&[1]), node(&[2])]);
}

/// Any voters, in up to three regions with up to three zones.
fn voters() -> impl Strategy<Value = Vec<Voter>> {
    let place = (0_usize..3, 0_usize..3, 0_u8..4);
    proptest::collection::vec(place, 1..7).prop_map(|places| {
        let names = ["a", "b", "c"];
        let voter = |(node, (region, zone, votes)): (u16, (usize, usize, u8))| {
            voter(node, names[region], names[zone], votes)
        };
        (1_u16..).zip(places).map(voter).collect()
    })
}

/// A need over such voters, and how to say it without any of this module.
type Naive = Box<dyn Fn(&[Voter]) -> bool>;

fn needs(voters: &[Voter], draw: (u16, u16, u16, bool)) -> (Need, Naive) {
    let (votes, nodes, zones, first_only) = draw;
    let region = voters[0].region.clone();
    let of = |voter: &&Voter| !first_only || voter.region == region;
    let need = Need::default()
        .and_votes(voters.iter().filter(of), votes)
        .and_nodes(voters, nodes)
        .and_zones(voters, zones);
    let region = voters[0].region.clone();
    let naive = move |set: &[Voter]| {
        let counted = set.iter().filter(|voter| !first_only || voter.region == region);
        let sum: u16 = counted.map(|voter| u16::from(voter.votes)).sum();
        let places: BTreeSet<_> = set.iter().map(|v| (&v.region, &v.zone)).collect();
        votes <= sum && usize::from(nodes) <= set.len() && usize::from(zones) <= places.len()
    };
    (need, Box::new(naive))
}

fn subsets(voters: &[Voter]) -> Vec<Vec<Voter>> {
    let pick = |bits: u32| {
        let is_in = |(place, _): &(usize, &Voter)| bits >> place & 1 == 1;
        voters.iter().enumerate().filter(is_in).map(|(_, voter)| voter.clone()).collect()
    };
    (0..1_u32 << voters.len()).map(pick).collect()
}

fn draws() -> impl Strategy<Value = (u16, u16, u16, bool)> {
    (0_u16..8, 0_u16..4, 0_u16..3, any::<bool>())
}

proptest! {
    /// Everything that is asked of a need, beside the plain meaning of it.
    #[test]
    fn needs_are_what_enumeration_says(voters in voters(), a in draws(), b in draws()) {
        let ((ours, is_ours), (theirs, is_theirs)) = (needs(&voters, a), needs(&voters, b));
        let all = subsets(&voters);
        let without = |set: &[Voter]| -> Vec<Voter> {
            voters.iter().filter(|voter| !set.contains(voter)).cloned().collect()
        };
        let (mut apart, mut implied) = (false, true);
        for set in &all {
            let has = |node: NodeId| set.iter().any(|voter| voter.node == node);
            prop_assert_eq!(ours.is_met(has), is_ours(set));
            prop_assert_eq!(theirs.must_meet(has), !is_theirs(&without(set)));
            let strict = ours.clone().and_meets([theirs.clone()]);
            prop_assert_eq!(strict.is_met(has), is_ours(set) && !is_theirs(&without(set)));
            prop_assert!(!strict.is_met(has) || usize::from(strict.least()) <= set.len());
            prop_assert!(!is_ours(set) || usize::from(ours.least()) <= set.len());
            apart |= is_ours(set) && is_theirs(&without(set));
            implied &= !is_ours(set) || is_theirs(set);
            // Whoever is wanted by nobody may as well be left out.
            let wanted = without(set).iter().any(|voter| ours.wants(voter.node, has));
            let can = is_ours(&voters);
            prop_assert!(!can || is_ours(set) || wanted);
        }
        prop_assert_eq!(ours.meets(&theirs, &voters), !apart);
        prop_assert_eq!(ours.implies(&theirs, &voters), implied);
        if let Some((one, other)) = ours.apart(&theirs, &voters) {
            prop_assert!(one.iter().all(|node| !other.contains(node)));
            prop_assert!(ours.is_met(|node| one.contains(&node)));
            prop_assert!(theirs.is_met(|node| other.contains(&node)));
        }
    }

    /// Without votes, meeting is what everybody knows: R + W > N.
    #[test]
    fn single_votes_meet_when_they_do_not_fit_side_by_side(n in 1_u16..8, r in 1_u16..8, w in 1_u16..8) {
        prop_assume!(r <= n && w <= n);
        let voters: Vec<Voter> = (1..=n).map(|node| voter(node, "here", "a", 1)).collect();
        let (reads, writes) = (Need::default().and_votes(&voters, r), Need::default().and_votes(&voters, w));
        prop_assert_eq!(reads.meets(&writes, &voters), n < r + w);
    }

    /// What a receipt claims is what the declaration proved, for the sets at hand.
    #[test]
    fn sets_that_meet_a_need_must_meet_what_it_meets(voters in voters(), a in draws(), b in draws()) {
        let ((ours, is_ours), (theirs, _)) = (needs(&voters, a), needs(&voters, b));
        if ours.meets(&theirs, &voters) {
            for set in subsets(&voters).iter().filter(|set| is_ours(set)) {
                prop_assert!(theirs.must_meet(|node| set.iter().any(|voter| voter.node == node)));
            }
        }
    }
}

//! What the nodes of a cluster tell each other about who is there.
//!
//! SWIM (Das, Gupta, Motivala, 2002), by the library foca: each node probes another one each
//! second, and if it hears nothing asks three others to try. What fails both ways is
//! suspected, and has some seconds to object before it is said to be down. All news travels
//! on the probes.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, Foca, NoCustomBroadcast, Notification, PeriodicParams, PostcardCodec, Timer};
use model::{NodeId, Now, Standing};
use rand_chacha::ChaCha8Rng;

use crate::Peer;

/// How long a node may be suspected before it is said to be down: objections cross the
/// world several times.
const SUSPICION: Duration = Duration::from_secs(4);

/// How long a node that is down is remembered, so that late news of it is not believed.
const MEMORY: Duration = Duration::from_secs(24 * 3600);

/// The most bytes of one packet. One with a hundred members fits.
pub(crate) const PACKET_MAX: usize = 16 << 10;

/// What is told about a node, and to whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    /// To whom.
    pub to: NodeId,
    /// For [`Membership::gossip`](crate::Membership::gossip) there.
    pub bytes: Vec<u8>,
}

/// One node's part in the talk.
pub(crate) struct Gossip {
    foca: Foca<Peer, PostcardCodec, ChaCha8Rng, NoCustomBroadcast>,
    desk: Desk,
}

/// What the library wants done.
#[derive(Debug, Default)]
struct Desk {
    now: Now,
    timers: BTreeMap<(Now, u64), Timer<Peer>>,
    timers_set: u64,
    packets: Vec<Packet>,
    located: Vec<Peer>,
}

impl Gossip {
    pub(crate) fn new(me: Peer, rng: ChaCha8Rng) -> Self {
        let foca = Foca::new(me, config(), rng, PostcardCodec);
        Self { foca, desk: Desk::default() }
    }

    /// Asks a node whom it knows.
    pub(crate) fn announce(&mut self, to: NodeId, now: Now) {
        self.desk.now = now;
        // Fails only if a packet cannot hold two identities.
        let _ = self.foca.announce(Peer::stranger(to), &mut self.desk);
    }

    /// Takes in what another node told. Returns whether it could be read.
    pub(crate) fn receive(&mut self, bytes: &[u8], now: Now) -> bool {
        self.desk.now = now;
        self.foca.handle_data(bytes, &mut self.desk).is_ok()
    }

    /// Does what is due.
    pub(crate) fn wake(&mut self, now: Now) {
        self.desk.now = now;
        while let Some(entry) = self.desk.timers.first_entry().filter(|at| at.key().0 <= now) {
            let timer = entry.remove();
            // Fails for timers of a time before it was alone, which are void.
            let _ = self.foca.handle_timer(timer, &mut self.desk);
        }
    }

    pub(crate) fn wake_at(&self) -> Option<Now> {
        self.desk.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// What is to be sent.
    pub(crate) fn packets(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.desk.packets)
    }

    /// Nodes that were found, or that say another address than before.
    pub(crate) fn located(&mut self) -> Vec<Peer> {
        std::mem::take(&mut self.desk.located)
    }

    pub(crate) fn standing(&self, node: NodeId) -> Standing {
        let mut members = self.foca.iter_membership_state();
        let found = members.find(|member| member.id().node() == node);
        found.map_or(Standing::Unknown, |member| match member.state() {
            foca::State::Alive => Standing::Up,
            foca::State::Suspect => Standing::Suspected,
            foca::State::Down => Standing::Down,
        })
    }
}

impl foca::Runtime<Peer> for Desk {
    fn notify(&mut self, notification: Notification<'_, Peer>) {
        match notification {
            Notification::MemberUp(peer) | Notification::Rename(_, peer) => {
                self.located.push(peer.clone());
            }
            Notification::MemberDown(_)
            | Notification::Active
            | Notification::Idle
            | Notification::Defunct
            | Notification::Rejoin(_) => {}
        }
    }

    fn send_to(&mut self, to: Peer, data: &[u8]) {
        self.packets.push(Packet { to: to.node(), bytes: data.to_vec() });
    }

    fn submit_after(&mut self, event: Timer<Peer>, after: Duration) {
        self.timers_set += 1;
        self.timers.insert((self.now + after, self.timers_set), event);
    }
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip").field("me", self.foca.identity()).finish_non_exhaustive()
    }
}

/// Round trips across the world take 300 ms and more.
fn config() -> Config {
    let every = |seconds, members: NonZeroUsize| {
        Some(PeriodicParams { frequency: Duration::from_secs(seconds), num_members: members })
    };
    let three = NonZeroUsize::MIN.saturating_add(2);
    Config {
        probe_period: Duration::from_secs(2),
        probe_rtt: Duration::from_millis(800),
        num_indirect_probes: three,
        max_transmissions: NonZeroU8::MIN.saturating_add(9),
        suspect_to_down_after: SUSPICION,
        remove_down_after: Some(MEMORY),
        max_packet_size: NonZeroUsize::MIN.saturating_add(PACKET_MAX - 1),
        notify_down_members: true,
        periodic_announce: every(30, NonZeroUsize::MIN),
        periodic_announce_to_down_members: every(5, three),
        periodic_gossip: every(1, three),
    }
}

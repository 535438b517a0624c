//! Whether two nodes belong together.
//!
//! A node of another cluster, of another layout, or of a version that means something
//! else by the same bytes would damage data while everybody behaves well; a stranger need
//! not behave well. Both ends therefore say who they are, check what the other said, and
//! prove that they know the secret of the cluster, before any message is believed.
//!
//! ```text
//! dialler   ── hello ──►             listener
//!           ◄── hello ──
//!           ── proof ──►             proof = keyed hash (side of the prover, both hellos)
//!           ◄── proof ──
//! ```
//!
//! The hash is keyed by a key derived from the secret. It covers both nonces, so a proof
//! cannot be replayed, and the prover's side, so it cannot be sent back to its maker. Both
//! ends make the same checks, so that the operator finds the reason at either.
//!
//! Whoever knows the secret can claim to be any node: it keeps strangers out, it does not
//! protect nodes from each other. Nothing that follows is encrypted or authenticated, so
//! someone who can change packets on the way can still take over a connection; on networks
//! where that matters, nodes talk through a tunnel.

use std::collections::BTreeSet;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use causality::Incarnation;
use model::{ClusterId, NodeId};
use thiserror::Error;

use crate::hello::Hello;
use crate::{Frames, VERSION, VERSION_MIN};

/// The most bytes of a hello or a proof, with room for what later versions append.
const BYTES_MAX: usize = 1024;

/// What nodes of one cluster prove themselves with.
#[derive(Clone)]
pub struct HandshakeKey([u8; 32]);

impl HandshakeKey {
    /// Derives the key from the secret of a cluster. The secret itself is never used, and
    /// cannot be found from the key.
    pub fn derive(secret: &[u8; 32]) -> Self {
        Self(blake3::derive_key("merganser 2026 node handshake", secret))
    }
}

impl fmt::Debug for HandshakeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandshakeKey(..)")
    }
}

/// Who this node is, and what it shares with the others.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its name there.
    pub node: NodeId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// The fingerprint of its layout.
    pub layout: u64,
    /// The nodes of its layout.
    pub members: BTreeSet<NodeId>,
    /// What it proves itself with.
    pub key: HandshakeKey,
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    /// The one that asked for the connection, of the node it was told is there.
    Dialler {
        /// Who should answer.
        expected: NodeId,
    },
    /// The one that was asked.
    Listener,
}

impl Side {
    fn byte(self) -> u8 {
        match self {
            Self::Dialler { .. } => 1,
            Self::Listener => 2,
        }
    }

    fn other_byte(self) -> u8 {
        3 - self.byte()
    }
}

/// The other end, after it has proved who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// Its name.
    pub node: NodeId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// The version that both ends speak from here on.
    pub version: u16,
}

/// How far a handshake is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Progress {
    /// More bytes are needed.
    Open,
    /// Messages may follow.
    Done(Peer),
}

/// Why two nodes do not talk. The connection must end.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum HandshakeError {
    /// What answers is no node.
    #[error("the other end is no Merganser node: check that the address is that of a peer port")]
    Stranger,
    /// The peer cannot speak any version that this node can.
    #[error(
        "{node} needs at least version {theirs} of the protocol, this node speaks up to {ours}: upgrade this node"
    )]
    Newer {
        /// Who.
        node: NodeId,
        /// The oldest version it can speak.
        theirs: u16,
        /// The latest version this node can speak.
        ours: u16,
    },
    /// This node cannot speak any version that the peer can.
    #[error(
        "{node} speaks up to version {theirs} of the protocol, this node needs at least {ours}: upgrade {node}"
    )]
    Older {
        /// Who.
        node: NodeId,
        /// The latest version it can speak.
        theirs: u16,
        /// The oldest version this node can speak.
        ours: u16,
    },
    /// The peer belongs to another cluster.
    #[error(
        "{node} belongs to cluster {theirs}, this node to {ours}: compare the cluster ids in both configurations"
    )]
    OtherCluster {
        /// Who.
        node: NodeId,
        /// Its cluster.
        theirs: ClusterId,
        /// The cluster of this node.
        ours: ClusterId,
    },
    /// The peer has this node's own name.
    #[error(
        "the other end is {0} too: two nodes have one id, or this node's address is among its peers"
    )]
    SameNode(NodeId),
    /// The peer is not in the layout of this node.
    #[error("{0} is not in the layout: add it to the configuration of every node")]
    UnknownNode(NodeId),
    /// Another node answers than the one that was dialled.
    #[error(
        "{found} answers at the address of {expected}: correct the addresses in the configuration"
    )]
    OtherNode {
        /// Who should answer.
        expected: NodeId,
        /// Who does.
        found: NodeId,
    },
    /// The peer was started with another layout.
    #[error(
        "{node} was started with another layout ({theirs:016x}, this node has {ours:016x}): make nodes, regions, zones and layout version alike in both configurations"
    )]
    OtherLayout {
        /// Who.
        node: NodeId,
        /// The fingerprint of its layout.
        theirs: u64,
        /// The fingerprint of this node's layout.
        ours: u64,
    },
    /// The peer does not know the secret of the cluster.
    #[error(
        "{0} could not prove that it knows the secret of the cluster: compare the secrets in both configurations"
    )]
    BadProof(NodeId),
}

impl HandshakeError {
    /// Which of the errors it is, without what the other end said: whoever is there can
    /// vary that at will.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Newer { .. } => "newer",
            Self::Older { .. } => "older",
            Self::OtherCluster { .. } => "other cluster",
            Self::SameNode(_) => "same node",
            Self::UnknownNode(_) => "unknown node",
            Self::OtherNode { .. } => "other node",
            Self::OtherLayout { .. } => "other layout",
            Self::BadProof(_) => "bad proof",
        }
    }
}

/// One handshake, at one end.
///
/// Feed it what arrives with [`step`](Self::step) and send what it writes, until it is done
/// or fails.
#[derive(Debug)]
pub struct Handshake {
    identity: Identity,
    side: Side,
    hello: Bytes,
    /// The hello of the other end, once it has passed the checks.
    heard: Option<(Hello, Bytes)>,
}

impl Handshake {
    /// Starts by writing the hello of this end. `nonce` are random bytes that were never
    /// used before.
    pub fn start(identity: &Identity, side: Side, nonce: [u8; 16], out: &mut BytesMut) -> Self {
        let hello = Hello {
            version: VERSION,
            version_min: VERSION_MIN,
            cluster: identity.cluster,
            node: identity.node,
            incarnation: identity.incarnation,
            layout: identity.layout,
            nonce,
        };
        let mut bytes = BytesMut::new();
        hello.encode(&mut bytes);
        put(&bytes, out);
        Self { identity: identity.clone(), side, hello: bytes.freeze(), heard: None }
    }

    /// Takes what has arrived out of `buffer`, and writes what is to be sent. Bytes after
    /// the end of the handshake stay in the buffer: they belong to the first message.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`]; the connection must end, after what was written is sent.
    pub fn step(
        &mut self,
        buffer: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Progress, HandshakeError> {
        loop {
            let taken = Frames::new(BYTES_MAX).take(buffer);
            let Some(body) = taken.map_err(|_| HandshakeError::Stranger)? else {
                return Ok(Progress::Open);
            };
            match &self.heard {
                None => self.hear_hello(body, out)?,
                Some((hello, bytes)) => return self.hear_proof(hello, bytes, &body),
            }
        }
    }

    fn hear_hello(&mut self, body: Bytes, out: &mut BytesMut) -> Result<(), HandshakeError> {
        let hello = Hello::decode(&body).ok_or(HandshakeError::Stranger)?;
        self.check(&hello)?;
        put(self.proof(self.side.byte(), &body).as_bytes(), out);
        self.heard = Some((hello, body));
        Ok(())
    }

    fn hear_proof(
        &self,
        hello: &Hello,
        bytes: &Bytes,
        body: &[u8],
    ) -> Result<Progress, HandshakeError> {
        let refused = HandshakeError::BadProof(hello.node);
        let theirs = blake3::Hash::from_slice(body).map_err(|_| refused)?;
        // Hashes are compared in constant time.
        if self.proof(self.side.other_byte(), bytes) != theirs {
            return Err(refused);
        }
        let version = hello.version.min(VERSION);
        Ok(Progress::Done(Peer { node: hello.node, incarnation: hello.incarnation, version }))
    }

    /// Checks what the other end says of itself, the most basic first.
    fn check(&self, hello: &Hello) -> Result<(), HandshakeError> {
        let (ours, node) = (&self.identity, hello.node);
        if VERSION < hello.version_min {
            return Err(HandshakeError::Newer { node, theirs: hello.version_min, ours: VERSION });
        }
        if hello.version < VERSION_MIN {
            return Err(HandshakeError::Older { node, theirs: hello.version, ours: VERSION_MIN });
        }
        if hello.cluster != ours.cluster {
            let theirs = hello.cluster;
            return Err(HandshakeError::OtherCluster { node, theirs, ours: ours.cluster });
        }
        self.check_name(node)?;
        if hello.layout != ours.layout {
            let theirs = hello.layout;
            return Err(HandshakeError::OtherLayout { node, theirs, ours: ours.layout });
        }
        Ok(())
    }

    fn check_name(&self, node: NodeId) -> Result<(), HandshakeError> {
        if node == self.identity.node {
            return Err(HandshakeError::SameNode(node));
        }
        if !self.identity.members.contains(&node) {
            return Err(HandshakeError::UnknownNode(node));
        }
        match self.side {
            Side::Dialler { expected } if expected != node => {
                Err(HandshakeError::OtherNode { expected, found: node })
            }
            Side::Dialler { .. } | Side::Listener => Ok(()),
        }
    }

    /// The proof that the end `prover` owes the other.
    fn proof(&self, prover: u8, theirs: &[u8]) -> blake3::Hash {
        let hellos = match self.side {
            Side::Dialler { .. } => [&self.hello, theirs],
            Side::Listener => [theirs, &self.hello],
        };
        let mut hasher = blake3::Hasher::new_keyed(&self.identity.key.0);
        hasher.update(&[prover]);
        for hello in hellos {
            hasher.update(&(hello.len() as u64).to_le_bytes());
            hasher.update(hello);
        }
        hasher.finalize()
    }
}

fn put(body: &[u8], out: &mut BytesMut) {
    let framed = Frames::new(BYTES_MAX).put(out, |out| out.put_slice(body));
    framed.expect("a hello or proof is far below the cap");
}

//! What went over the wire, by kind of message.
//!
//! Counted are whole frames, as they leave the socket: length, checksum, header and objects.
//! Nothing is compressed. Of what a frame has, three things are told apart:
//!
//! | | |
//! | --- | --- |
//! | objects | each in its encoding: what the receiver is to store |
//! | keys | of these objects, partition and sort key, without their lengths and their table |
//! | metadata | everything else |

use std::collections::BTreeMap;

use bytes::BytesMut;
use model::{Key, Object};
use node::{Cause, Merge, Message};

/// The messages of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    pub(crate) messages: u64,
    /// Of all of it.
    pub(crate) bytes: u64,
    /// Objects that hold or say anything.
    pub(crate) objects: u64,
    pub(crate) object_bytes: u64,
    /// Of the keys of these objects.
    pub(crate) key_bytes: u64,
}

impl Line {
    /// What is said beside objects and where they live.
    pub(crate) fn metadata(&self) -> u64 {
        self.bytes - self.object_bytes - self.key_bytes
    }

    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.objects += other.objects;
        self.object_bytes += other.object_bytes;
        self.key_bytes += other.key_bytes;
    }

    fn object(&mut self, key: &Key, object: &Object) {
        // That nothing is held, or nothing more, is an answer and no object.
        if object.is_bottom() {
            return;
        }
        let mut out = BytesMut::new();
        codec::object::encode(object, &mut out);
        self.objects += 1;
        self.object_bytes += out.len() as u64;
        self.key_bytes += (key.partition().len() + key.sort().len()) as u64;
    }
}

/// All kinds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, Line>);

impl Tally {
    /// A message has gone, in a frame of so many bytes.
    pub(crate) fn count(&mut self, message: &Message, bytes: usize) {
        let line = self.0.entry(kind(message)).or_default();
        line.messages += 1;
        line.bytes += bytes as u64;
        if let Message::Merge(merge) = message {
            line.object(&merge.address.key, &merge.object);
        } else if let Message::Sent(sent) = message {
            sent.objects.iter().for_each(|(address, object)| line.object(&address.key, object));
        }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = (&'static str, &Line)> {
        self.0.iter().filter(|(kind, _)| **kind != OTHERS).map(|(kind, line)| (*kind, line))
    }

    /// What several kinds come to.
    pub(crate) fn sum(&self, kinds: &[&str]) -> Line {
        let mut sum = Line::default();
        for kind in kinds {
            sum.add(&self.0.get(kind).copied().unwrap_or_default());
        }
        sum
    }
}

/// Membership, requests and catalogs: what is said whatever replicas hold.
const OTHERS: &str = "others";

fn kind(message: &Message) -> &'static str {
    match message {
        Message::Merge(Merge { cause: Cause::Exchange | Cause::Repair, .. }) => "merge",
        Message::Clocks(_) => "clocks",
        Message::Alike(_) => "alike",
        Message::Lack(_) => "lack",
        Message::Sent(_) => "sent",
        Message::Compare(_) => "compare",
        Message::Compared(_) => "compared",
        Message::Bring(_) => "bring",
        Message::Spared(_) => "spared",
        Message::Merge(_)
        | Message::Merged(_)
        | Message::Fetch(_)
        | Message::Fetched(_)
        | Message::Scan(_)
        | Message::Scanned(_)
        | Message::Forward(_)
        | Message::Forwarded(_)
        | Message::Probe { .. }
        | Message::Probed { .. }
        | Message::Prepare { .. }
        | Message::Promised { .. }
        | Message::Accept { .. }
        | Message::Accepted { .. }
        | Message::Rejected { .. }
        | Message::Learn { .. }
        | Message::Holding { .. }
        | Message::Take { .. }
        | Message::Gossip { .. }
        | Message::Follow(_)
        | Message::Followed(_)
        | Message::Vouch(_)
        | Message::Vouched(_)
        | Message::Forgot(_)
        | Message::Doubt(_)
        | Message::Doubted(_)
        | Message::Recognise(_)
        | Message::Recognised(_)
        | Message::Examine(_)
        | Message::Examined(_) => OTHERS,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use causality::{Dot, DotSet, Incarnation};
    use model::{Address, TableId, Value};
    use node::{RequestId, Sent};

    use super::*;

    #[test]
    fn of_a_frame_everything_is_metadata_but_objects_and_their_keys() {
        let key = Key::new(Bytes::from("partition"), Bytes::from("sort")).unwrap();
        let address = Address { table: TableId::new(2), key };
        let value = Value { content_type: Bytes::new(), body: Bytes::from("body") };
        let object = Object::written(Dot::new(Incarnation::new(1), 1), DotSet::new(), value);
        let objects = vec![(address, object)];
        let (request, next, others) = (RequestId(3), None, Vec::new());
        let sent = Sent { request, objects, next, gaps: 0, forgets: false, others };
        let message = Message::Sent(sent);
        let mut frame = BytesMut::new();
        wire::encode(&message, &mut frame).unwrap();
        let mut tally = Tally::default();
        tally.count(&message, frame.len());
        let line = tally.sum(&["sent"]);
        // Context 12 and value 9. Frame 12, header 4, request 9, table and batch 9, two lengths 2.
        assert_eq!((line.objects, line.object_bytes, line.key_bytes), (1, 21, 13));
        assert_eq!((line.bytes, line.metadata()), (frame.len() as u64, 36));
        assert_eq!(tally.sum(&["merge"]).objects, 0);
    }
}

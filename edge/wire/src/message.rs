//! Messages as bodies of frames: a header, and the objects it speaks of.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use codec::{catalog as contracts, object};
use model::{Object, Reply, TableId};
use node::{
    Cause, Digest, Fetch, Fetched, Forward, Forwarded, Found, Known, Merge, Merged, Message,
    Recognised, RequestId, Scan, Scanned, Verdict, Want,
};
use prost::Message as _;
use replica::{PageNeed, Span};

use crate::WireError;
use crate::header::{self, Header, Kind};
use crate::parts::{
    Address, Ballot, Key, Objects, Seen, Unusable, Usable, coded, narrow, numbered, present,
    put_disk, put_node, put_staleness, take_disk, take_node, take_staleness, wrong,
};
use crate::{compare, exchange, feed, reply, request, salvage};

numbered!(put_cause, take_cause, Cause {
    Cause::Write = 1,
    Cause::ReadRepair = 2,
    Cause::Exchange = 3,
    Cause::Handoff = 4,
    Cause::Repair = 5,
});

numbered!(put_want, take_want, Want { Want::Full = 1, Want::Digest = 2 });

numbered!(put_verdict, take_verdict, Verdict {
    Verdict::Durable = 1,
    Verdict::Buffered = 2,
    Verdict::Failed = 3,
    Verdict::Full = 4,
});

/// Appends a message, without a frame around it.
pub fn encode_message(message: &Message, out: &mut BytesMut) {
    let mut header = Header { kind: Some(put(message)) };
    let (mut room, mut is_marked) = (0, false);
    each_object(message, |object| {
        room += object::encoded_len_max(object);
        is_marked |= !object.marks().is_empty();
    });
    if is_marked {
        let marked = header::Marked { header: header.encode_to_vec().into() };
        header = Header { kind: Some(Kind::Marked(marked)) };
    }
    out.reserve(header.encoded_len() + 10 + room);
    header.encode_length_delimited(out).expect("a growing buffer has room");
    each_object(message, |object| match is_marked {
        true => object::encode_marked(object, out),
        false => object::encode(object, out),
    });
}

/// Reads a message that fills `body`. Nothing if a later version sent it and this one
/// cannot understand it.
///
/// # Errors
///
/// [`WireError`] if no version sends this.
pub fn decode_message(mut body: Bytes) -> Result<Option<Message>, WireError> {
    match read(&mut body) {
        Ok(message) => Ok(Some(message)),
        Err(Unusable::Unknown) => Ok(None),
        Err(Unusable::Wrong(error)) => Err(error),
    }
}

fn read(body: &mut Bytes) -> Usable<Message> {
    let header = Header::decode_length_delimited(&mut *body)?;
    let mut kind = header.kind.ok_or(Unusable::Unknown)?;
    let mut is_marked = false;
    if let Kind::Marked(marked) = kind {
        kind = Header::decode(marked.header)?.kind.ok_or(Unusable::Unknown)?;
        is_marked = true;
    }
    let mut objects = Objects::new(body, is_marked);
    let message = take(kind, &mut objects)?;
    objects.finish()?;
    Ok(message)
}

/// Visits the objects of a message in the order in which they are sent.
fn each_object(message: &Message, mut visit: impl FnMut(&Object)) {
    match message {
        Message::Merge(Merge { object, .. })
        | Message::Fetched(Fetched { found: Found::Full(object), .. }) => visit(object),
        Message::Scanned(Scanned { page: Some((objects, _)), .. }) => {
            objects.iter().for_each(|(_, object)| visit(object));
        }
        Message::Forwarded(Forwarded { reply, .. }) => match reply {
            Reply::Read(read) => visit(&read.object),
            Reply::Listed(listed) => {
                listed.listings.iter().for_each(|listing| visit(&listing.object));
            }
            Reply::Watched(watched) => {
                watched.changes.iter().for_each(|changed| visit(&changed.object));
            }
            Reply::Explained(explained) => {
                let told = explained.holdings.iter().filter_map(|holding| holding.told.as_ref());
                told.for_each(|told| visit(&told.object));
                visit(&explained.shown);
                visit(&explained.merged);
            }
            Reply::Written(_)
            | Reply::Recalled(_)
            | Reply::Declared(_)
            | Reply::Status(_)
            | Reply::Repair(_)
            | Reply::Salvaged(_)
            | Reply::Failed(_) => {}
        },
        Message::Followed(followed) => feed::each_object(followed, visit),
        Message::Recognised(Recognised { found: Some(found), .. }) => visit(&found.held),
        Message::Sent(sent) => sent.objects.iter().for_each(|(_, object)| visit(object)),
        Message::Doubted(doubted) => doubted.held.iter().for_each(|(_, object)| visit(object)),
        Message::Merged(_)
        | Message::Fetch(_)
        | Message::Fetched(Fetched { found: Found::Digest(_) | Found::Failed, .. })
        | Message::Scan(_)
        | Message::Scanned(Scanned { page: None, .. })
        | Message::Forward(_)
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
        | Message::Clocks(_)
        | Message::Alike(_)
        | Message::Lack(_)
        | Message::Compare(_)
        | Message::Compared(_)
        | Message::Bring(_)
        | Message::Spared(_)
        | Message::Forgot(_)
        | Message::Follow(_)
        | Message::Vouch(_)
        | Message::Vouched(_)
        | Message::Examine(_)
        | Message::Examined(_)
        | Message::Doubt(_)
        | Message::Recognise(_)
        | Message::Recognised(Recognised { found: None, .. }) => {}
    }
}

fn put(message: &Message) -> Kind {
    match message {
        Message::Merge(merge) => Kind::Merge(header::Merge {
            request: merge.request.0,
            address: Some(Address::put(&merge.address)),
            cause: put_cause(merge.cause),
            sync: merge.sync,
            stands_for: put_node(merge.stands_for),
        }),
        Message::Merged(merged) => Kind::Merged(header::Merged {
            request: merged.request.0,
            verdict: put_verdict(merged.verdict),
        }),
        Message::Fetch(fetch) if fetch.seen.is_some() => Kind::SessionFetch(put_fetch(fetch)),
        Message::Fetch(fetch) => Kind::Fetch(put_fetch(fetch)),
        Message::Fetched(fetched) => Kind::Fetched(header::Fetched {
            request: fetched.request.0,
            durable: fetched.durable,
            found: Some(match &fetched.found {
                Found::Full(_) => header::Found::Full(true),
                Found::Digest(Digest(digest)) => header::Found::Digest(*digest),
                Found::Failed => header::Found::Failed(true),
            }),
            staleness: put_staleness(fetched.staleness),
            known: fetched.known.as_deref().map(put_known),
            forgets: fetched.forgets,
        }),
        Message::Scan(scan) => Kind::Scan(put_scan(scan)),
        Message::Scanned(scanned) => Kind::Scanned(put_scanned(scanned)),
        Message::Forward(forward) => Kind::Forward(header::Forward {
            request: forward.request.0,
            asked: Some(Box::new(request::Request::put(&forward.asked))),
        }),
        Message::Forwarded(forwarded) => Kind::Forwarded(header::Forwarded {
            request: forwarded.request.0,
            reply: Some(Box::new(reply::Reply::put(&forwarded.reply))),
        }),
        Message::Probe { catalog_version, deaf, disk } => {
            let disk = disk.map(put_disk);
            Kind::Probe(header::Probe { catalog_version: *catalog_version, deaf: *deaf, disk })
        }
        Message::Probed { catalog_version } => Kind::Probed(header::Probe {
            catalog_version: *catalog_version,
            ..header::Probe::default()
        }),
        Message::Prepare { ballot } => Kind::Prepare(attempt(*ballot)),
        Message::Promised { ballot, accepted, catalog } => Kind::Promised(header::Promised {
            ballot: Some(Ballot::put(*ballot)),
            accepted: Some(Ballot::put(*accepted)),
            catalog: put_catalog(catalog),
        }),
        Message::Accept { ballot, catalog } => Kind::Accept(header::Accept {
            ballot: Some(Ballot::put(*ballot)),
            catalog: put_catalog(catalog),
        }),
        Message::Accepted { ballot } => Kind::Accepted(attempt(*ballot)),
        Message::Rejected { ballot, promised } => Kind::Rejected(header::Rejected {
            ballot: Some(Ballot::put(*ballot)),
            promised: Some(Ballot::put(*promised)),
        }),
        Message::Holding { count, bytes } => {
            Kind::Holding(header::Holding { count: *count, bytes: *bytes })
        }
        Message::Take { bytes } => Kind::Take(header::Take { bytes: *bytes }),
        Message::Gossip { packet } => Kind::Gossip(header::Gossip { packet: packet.clone() }),
        Message::Clocks(clocks) => Kind::Clocks(exchange::Clocks::put(clocks)),
        Message::Alike(alike) => Kind::Alike(exchange::Alike::put(*alike)),
        Message::Lack(lack) => Kind::Lack(exchange::Lack::put(lack)),
        Message::Sent(sent) => Kind::Sent(exchange::Sent::put(sent)),
        Message::Compare(compare) => Kind::Compare(compare::Compare::put(compare)),
        Message::Compared(compared) => Kind::Compared(compare::Compared::put(compared)),
        Message::Bring(bring) => Kind::Bring(compare::Bring::put(bring)),
        Message::Spared(spared) => Kind::Spared(compare::Spared::put(spared)),
        Message::Forgot(forgot) => Kind::Forgot(exchange::Forgot::put(forgot)),
        Message::Follow(follow) => Kind::Follow(feed::Follow::put(follow)),
        Message::Followed(followed) => Kind::Followed(feed::Followed::put(followed)),
        Message::Vouch(vouch) => Kind::Vouch(exchange::Vouch::put(vouch)),
        Message::Vouched(vouched) => Kind::Vouched(exchange::Vouched::put(vouched)),
        Message::Examine(examine) => Kind::Examine(compare::Examine::put(examine)),
        Message::Examined(examined) => Kind::Examined(compare::Examined::put(examined)),
        Message::Doubt(doubt) => Kind::Doubt(exchange::Doubt::put(doubt)),
        Message::Doubted(doubted) => Kind::Doubted(exchange::Doubted::put(doubted)),
        Message::Recognise(recognise) => Kind::Recognise(salvage::Recognise::put(recognise)),
        Message::Recognised(told) => Kind::Recognised(salvage::Recognised::put(told)),
        Message::Learn { catalog } => Kind::Learn(header::Learn { catalog: put_catalog(catalog) }),
    }
}

fn take(kind: Kind, objects: &mut Objects<'_>) -> Usable<Message> {
    Ok(match kind {
        Kind::Merge(merge) => Message::Merge(Merge {
            request: RequestId(merge.request),
            address: present(merge.address)?.take()?,
            object: objects.next()?,
            cause: take_cause(merge.cause)?,
            sync: merge.sync,
            stands_for: take_node(merge.stands_for)?,
        }),
        Kind::Merged(merged) => Message::Merged(Merged {
            request: RequestId(merged.request),
            verdict: take_verdict(merged.verdict)?,
        }),
        Kind::Fetch(fetch) | Kind::SessionFetch(fetch) => Message::Fetch(Fetch {
            request: RequestId(fetch.request),
            address: present(fetch.address)?.take()?,
            want: take_want(fetch.want)?,
            sync: fetch.sync,
            left: Duration::from_millis(fetch.left_millis),
            seen: fetch.seen.map(Seen::take).transpose()?.map(Box::new),
        }),
        Kind::Fetched(fetched) => Message::Fetched(Fetched {
            request: RequestId(fetched.request),
            durable: fetched.durable,
            found: match fetched.found.ok_or(Unusable::Unknown)? {
                header::Found::Full(_) => Found::Full(objects.next()?),
                header::Found::Digest(digest) => Found::Digest(Digest(digest)),
                header::Found::Failed(_) => Found::Failed,
            },
            staleness: take_staleness(fetched.staleness),
            known: fetched.known.as_ref().map(take_known).transpose()?.map(Box::new),
            forgets: fetched.forgets,
        }),
        Kind::Scan(scan) => Message::Scan(take_scan(scan)?),
        Kind::Scanned(scanned) => Message::Scanned(take_scanned(scanned, objects)?),
        Kind::Forward(forward) => Message::Forward(Forward {
            request: RequestId(forward.request),
            asked: present(forward.asked)?.take()?,
        }),
        Kind::Forwarded(forwarded) => Message::Forwarded(Forwarded {
            request: RequestId(forwarded.request),
            reply: present(forwarded.reply)?.take(objects)?,
        }),
        Kind::Probe(header::Probe { catalog_version, deaf, disk }) => {
            let disk = disk.as_ref().map(take_disk).transpose()?;
            Message::Probe { catalog_version, deaf, disk }
        }
        Kind::Probed(header::Probe { catalog_version, .. }) => Message::Probed { catalog_version },
        Kind::Prepare(prepare) => Message::Prepare { ballot: present(prepare.ballot)?.take()? },
        Kind::Promised(promised) => Message::Promised {
            ballot: present(promised.ballot)?.take()?,
            accepted: present(promised.accepted)?.take()?,
            catalog: contracts::decode(&promised.catalog)?,
        },
        Kind::Accept(accept) => Message::Accept {
            ballot: present(accept.ballot)?.take()?,
            catalog: contracts::decode(&accept.catalog)?,
        },
        Kind::Accepted(accepted) => Message::Accepted { ballot: present(accepted.ballot)?.take()? },
        Kind::Rejected(rejected) => Message::Rejected {
            ballot: present(rejected.ballot)?.take()?,
            promised: present(rejected.promised)?.take()?,
        },
        Kind::Learn(learn) => Message::Learn { catalog: contracts::decode(&learn.catalog)? },
        Kind::Holding(header::Holding { count, bytes }) => Message::Holding { count, bytes },
        Kind::Take(header::Take { bytes }) => Message::Take { bytes },
        Kind::Gossip(header::Gossip { packet }) => Message::Gossip { packet },
        Kind::Clocks(clocks) => Message::Clocks(clocks.take()?),
        Kind::Alike(alike) => Message::Alike(alike.take()?),
        Kind::Lack(lack) => Message::Lack(lack.take()?),
        Kind::Sent(sent) => Message::Sent(sent.take(objects)?),
        Kind::Compare(compare) => Message::Compare(compare.take()?),
        Kind::Compared(compared) => Message::Compared(compared.take()?),
        Kind::Bring(bring) => Message::Bring(bring.take()?),
        Kind::Spared(spared) => Message::Spared(spared.take()),
        Kind::Forgot(forgot) => Message::Forgot(forgot.take()?),
        Kind::Follow(follow) => Message::Follow(follow.take()?),
        Kind::Followed(followed) => Message::Followed(followed.take(objects)?),
        Kind::Vouch(vouch) => Message::Vouch(vouch.take()?),
        Kind::Vouched(vouched) => Message::Vouched(vouched.take()?),
        Kind::Examine(examine) => Message::Examine(examine.take()?),
        Kind::Examined(examined) => Message::Examined(examined.take()?),
        Kind::Doubt(doubt) => Message::Doubt(doubt.take()?),
        Kind::Doubted(doubted) => Message::Doubted(doubted.take(objects)?),
        Kind::Recognise(recognise) => Message::Recognise(recognise.take()?),
        Kind::Recognised(recognised) => Message::Recognised(recognised.take(objects)?),
        Kind::Marked(_) => return Err(wrong("a header in a header in a header")),
    })
}

fn put_fetch(fetch: &Fetch) -> header::Fetch {
    header::Fetch {
        request: fetch.request.0,
        address: Some(Address::put(&fetch.address)),
        want: put_want(fetch.want),
        sync: fetch.sync,
        left_millis: put_left(fetch.left),
        seen: fetch.seen.as_deref().map(Seen::put),
    }
}

fn put_scan(scan: &Scan) -> header::Scan {
    header::Scan {
        request: scan.request.0,
        table: scan.table.number(),
        shard: u32::from(scan.shard),
        partition: scan.span.partition.clone(),
        after: scan.span.after.as_ref().map(Key::put),
        objects_max: scan.need.objects_max as u64,
        bytes_max: scan.need.bytes_max as u64,
        left_millis: put_left(scan.left),
    }
}

fn take_scan(scan: header::Scan) -> Usable<Scan> {
    let after = scan.after.map(Key::take).transpose()?;
    let (objects_max, bytes_max) = (narrow(scan.objects_max)?, narrow(scan.bytes_max)?);
    Ok(Scan {
        request: RequestId(scan.request),
        table: TableId::new(scan.table),
        shard: narrow(scan.shard)?,
        span: Span { partition: scan.partition, after },
        need: PageNeed { objects_max, bytes_max },
        left: Duration::from_millis(scan.left_millis),
    })
}

fn put_known(known: &Known) -> header::Known {
    let coded = |dots| coded(|out| codec::dots::encode(dots, out));
    header::Known { lacking: coded(&known.lacking), settled: coded(&known.settled) }
}

fn take_known(known: &header::Known) -> Usable<Known> {
    let lacking = codec::dots::decode(&known.lacking)?;
    Ok(Known { lacking, settled: codec::dots::decode(&known.settled)? })
}

fn put_left(left: Duration) -> u64 {
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
}

fn put_scanned(scanned: &Scanned) -> header::Scanned {
    let page = scanned.page.as_ref().map(|(objects, more)| header::Page {
        keys: objects.iter().map(|(key, _)| Key::put(key)).collect(),
        more: *more,
    });
    header::Scanned {
        request: scanned.request.0,
        page,
        staleness: put_staleness(scanned.staleness),
        forgets: scanned.forgets,
    }
}

fn take_scanned(scanned: header::Scanned, objects: &mut Objects<'_>) -> Usable<Scanned> {
    let request = RequestId(scanned.request);
    let (staleness, forgets) = (take_staleness(scanned.staleness), scanned.forgets);
    let Some(page) = scanned.page else {
        return Ok(Scanned { request, page: None, staleness, forgets });
    };
    let found = |key: Key| Ok((key.take()?, objects.next()?));
    let found = page.keys.into_iter().map(found).collect::<Usable<_>>()?;
    Ok(Scanned { request, page: Some((found, page.more)), staleness, forgets })
}

fn attempt(ballot: catalog::Ballot) -> header::Attempt {
    header::Attempt { ballot: Some(Ballot::put(ballot)) }
}

fn put_catalog(catalog: &catalog::Catalog) -> Bytes {
    coded(|out| contracts::encode(catalog, out))
}

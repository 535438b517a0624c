//! Asking about what was found, and handing it in.

use std::collections::{BTreeMap, BTreeSet};

use causality::{Dot, DotSet, Incarnation};
use client::{Client, Error, Found, Salvaged};
use codec::object;
use indicatif::{ProgressBar, ProgressStyle};
use model::{Key, Marks, Object, ShardId};
use storage::{Lying, Retired};
use tokio::task::JoinSet;

use super::super::connect::at_once;
use super::super::error::CliError;
use super::report::{Named, Report};
use super::survey::{Place, STEP, Shard, Survey, lying};

/// How many values are handed in at the same time: enough that disks which sync are at work all the
/// time, and few beside the requests that a node serves.
const AT_ONCE: usize = 16;

/// One run of the command.
pub(super) struct Run {
    client: Client,
    node: u16,
    disk: String,
    is_preview: bool,
    /// What no replica has heard of, of the shards of which all were asked.
    unheard: BTreeMap<ShardId, DotSet>,
    /// What was handed in before: it may lie there twice, for two replicas.
    seen: BTreeSet<(ShardId, Dot)>,
    on_its_way: JoinSet<(Named, Result<Salvaged, Error>)>,
    pub(super) report: Report,
}

impl Run {
    pub(super) fn new(client: Client, retired: &Retired, is_preview: bool) -> Self {
        let (_, node) = retired.whose();
        let (node, disk) = (node.number(), retired.disk().to_string());
        let report = Report::new(node, disk.clone(), is_preview);
        let (unheard, seen, on_its_way) = (BTreeMap::new(), BTreeSet::new(), JoinSet::new());
        Self { client, node, disk, is_preview, unheard, seen, on_its_way, report }
    }

    /// Refuses a disk that its node is to serve with, before all of it is read. Whether it is retired
    /// for good each answer says.
    pub(super) async fn check_retired(&self) -> Result<(), CliError> {
        let status = self.client.status().await?;
        let state = status.nodes.iter().find(|state| state.node == self.node);
        let serves = |state: &&client::NodeState| {
            [&state.disk, &state.joining].contains(&&Some(self.disk.clone()))
        };
        match state.filter(serves) {
            None => Ok(()),
            Some(_) => Err(not_retired(self.node, &self.disk)),
        }
    }

    /// Asks about all shards.
    pub(super) async fn ask(&mut self, survey: &Survey) -> Result<(), CliError> {
        let questions: Vec<(ShardId, Found)> =
            survey.shards.iter().map(|(id, shard)| (*id, self.question(*id, shard))).collect();
        let asking = questions.into_iter().map(|(id, found)| {
            let client = self.client.clone();
            async move { (id, client.salvage(&found).await) }
        });
        for (id, answer) in at_once(asking).await {
            match answer {
                Ok(salvaged) => {
                    self.unheard.insert(id, dots(&salvaged.unheard)?);
                }
                Err(error) if error.code() == "disk_not_retired" => {
                    return Err(not_retired(self.node, &self.disk));
                }
                // Nobody is there, or it is not what this is for: so it will be with all.
                Err(error @ (Error::Connect { .. } | Error::Protocol { .. })) => {
                    return Err(error.into());
                }
                Err(error) => {
                    let Some(shard) = survey.shards.get(&id) else { continue };
                    self.report.leave_out(shard.keyspace.as_str(), id.index, &error);
                }
            }
        }
        Ok(())
    }

    fn question(&self, id: ShardId, shard: &Shard) -> Found {
        let asks = Object::from_parts(BTreeMap::new(), shard.heard.clone());
        let place =
            Place { keyspace: shard.keyspace.clone(), table: shard.table.clone(), shard: id };
        self.found(&place, &shard.key, &asks.expect("no value lacks its dot"))
    }

    fn found(&self, place: &Place, key: &Key, found: &Object) -> Found {
        let mut bytes = Vec::with_capacity(object::encoded_len_max(found));
        object::encode_marked(found, &mut bytes);
        Found {
            node: self.node,
            disk: self.disk.clone(),
            keyspace: place.keyspace.to_string(),
            table: place.table.to_string(),
            shard: place.shard.index,
            key: client::Key::with_sort(key.partition().clone(), key.sort().clone()),
            object: bytes.into(),
            has_values: !found.values().is_empty(),
        }
    }

    /// Hands in every value that nobody has heard of, and notes each delete.
    pub(super) async fn hand_in(
        &mut self,
        retired: &Retired,
        survey: &Survey,
    ) -> Result<(), CliError> {
        let bar = ProgressBar::new(survey.objects);
        let style = ProgressStyle::with_template("{bar:32} {percent}% {msg}, {eta} left");
        bar.set_style(style.expect("the template is well formed"));
        for (_, _, found) in lying(retired) {
            bar.inc(1);
            if bar.position().is_multiple_of(STEP) {
                tokio::task::yield_now().await;
            }
            // What cannot be read was told of before.
            let Ok(lying) = found else { continue };
            let Some(place) = survey.place(&lying) else { continue };
            self.look_at(&place, lying).await?;
            bar.set_message(format!("{} brought back", self.report.recovered.len()));
        }
        while let Some(done) = self.on_its_way.join_next().await {
            self.end_one(done)?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    async fn look_at(&mut self, place: &Place, lying: Lying) -> Result<(), CliError> {
        let Some(unheard) = self.unheard.get(&place.shard).filter(|set| !set.is_empty()) else {
            let known = lying.object.values().len() as u64;
            match self.unheard.contains_key(&place.shard) {
                true => self.report.known += known,
                false => self.report.not_asked += known,
            }
            return Ok(());
        };
        let news = unheard.intersection(lying.object.context());
        let Lying { key, object, .. } = lying;
        if object.values().is_empty() && !news.is_empty() {
            self.report.delete(Named::of(place, &key, None));
        }
        let marks = object.marks().clone();
        for (dot, value) in object.into_parts().0 {
            if !news.contains(dot) {
                self.report.known += 1;
            } else if self.seen.insert((place.shard, dot)) {
                let mark = marks.get(&dot).map(|mark| (dot, *mark));
                let object = Object::written(dot, DotSet::new(), value);
                let object = object.marked(mark.into_iter().collect::<Marks>());
                self.hand_in_one(place, &key, dot, object).await?;
            } else {
                self.report.twice += 1;
            }
        }
        Ok(())
    }

    async fn hand_in_one(
        &mut self,
        place: &Place,
        key: &Key,
        dot: Dot,
        mut object: Object,
    ) -> Result<(), CliError> {
        while AT_ONCE <= self.on_its_way.len() {
            let Some(done) = self.on_its_way.join_next().await else { break };
            self.end_one(done)?;
        }
        if self.is_preview {
            let marks = object.marks().clone();
            let (_, context) = object.into_parts();
            let asks = Object::from_parts(BTreeMap::new(), context);
            object = asks.expect("no value lacks its dot").marked(marks);
        }
        let (client, found) = (self.client.clone(), self.found(place, key, &object));
        let named = Named::of(place, key, Some(dot));
        self.on_its_way.spawn(async move {
            let answer = client.salvage(&found).await;
            (named, answer)
        });
        Ok(())
    }

    /// One value was handed in, or was not.
    fn end_one(
        &mut self,
        done: Result<(Named, Result<Salvaged, Error>), tokio::task::JoinError>,
    ) -> Result<(), CliError> {
        let (named, answer) =
            done.map_err(|error| CliError::failed(format!("a request broke off: {error}")))?;
        match answer {
            Ok(Salvaged { unheard, .. }) if unheard.is_empty() => self.report.known += 1,
            Ok(Salvaged { twins, .. }) if !twins.is_empty() => self.report.twins += 1,
            Ok(Salvaged { recovered, .. }) if recovered.is_empty() && !self.is_preview => {
                return Err(CliError::failed("a node has answered something else"));
            }
            Ok(_) => self.report.recovered.push(named),
            Err(error @ Error::Unknown { .. }) => self.report.unclear(named, &error),
            Err(error) => self.report.refuse(named, &error),
        }
        Ok(())
    }
}

fn not_retired(node: u16, disk: &str) -> CliError {
    CliError::failed(format!("n{node} has not given up the disk {disk}, or it is none of this cluster"))
        .code("disk_not_retired")
        .remains("nothing was changed")
        .remedy(format!(
            "if the node can serve with it again, start it: then nothing is lost. If it will not come back, say \
             `merganser evict n{node}`, and run this again"
        ))
}

/// Runs of dots, as a node tells them.
fn dots(runs: &[client::Run]) -> Result<DotSet, CliError> {
    let senseless =
        || CliError::failed("the answer of the server makes no sense: no set of writes");
    let run = |run: &client::Run| {
        let bits = u64::from_str_radix(&run.incarnation, 16).ok()?;
        let incarnation = Incarnation::new(bits);
        Some(causality::Run { incarnation, first: run.first, last: run.last })
    };
    let runs: Option<Vec<_>> = runs.iter().map(run).collect();
    DotSet::from_runs(runs.ok_or_else(senseless)?).map_err(|_| senseless())
}

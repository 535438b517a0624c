//! What is done in a round, one step after the other.

use std::path::Path;

use super::*;
use crate::book::Values;
use crate::http::ask;
use crate::process::run as run_program;
use crate::told::STATUS_PATIENCE;

/// What one node accepts while it is cut off.
#[derive(Clone)]
pub(super) struct Alone {
    /// Keys, and the values that it alone has of them.
    values: BTreeMap<String, String>,
    /// The key of a delete of which nobody else hears.
    deleted: Option<String>,
}

/// What a backup has.
pub(super) struct Kept {
    depot: String,
    shown: BTreeMap<String, Values>,
}

impl Arena<'_> {
    /// Writes all keys, and waits until every replica has all of them.
    pub(super) fn write(&self, round: &Round) -> Result<(), Stop> {
        let names = round.stay.iter().chain(&round.early).chain(&round.late);
        for (name, node) in names.clone().zip(self.cluster.ids().cycle()) {
            self.desk.put(node, Level::Quorum, name, &format!("first of {name}"))?;
        }
        let all: Vec<u16> = self.cluster.ids().collect();
        self.within(FORGOTTEN_MAX, "all replicas have all keys", |arena| {
            Ok(arena.unlike(names.clone(), &all, |_, held| held.values == 1)?.is_empty())
        })?;
        Ok(())
    }

    /// Backs up all nodes, and copies the directory of one that is stopped.
    pub(super) fn keep(&mut self, round: &Round) -> Result<Kept, Stop> {
        let depot = round.dir.join("depot").display().to_string();
        for node in self.cluster.ids() {
            self.desk.command(&["backup", "--to", &depot], &[node])?;
        }
        let shown = self.desk.read_all(round.other, Level::All)?;
        self.cluster.stop(round.copied)?;
        copy(&self.data(round.copied), &round.dir.join("copy"))?;
        self.cluster.start(round.copied)?;
        self.cluster.wait_for_all_alive()?;
        Ok(Kept { depot, shown })
    }

    fn data(&self, node: u16) -> PathBuf {
        self.cluster.disk_dir(node).join("data")
    }

    /// Deletes while all are there.
    pub(super) fn delete_early(&self, round: &Round) -> Result<(), Stop> {
        for (name, node) in round.early.iter().zip(self.cluster.ids().cycle()) {
            self.desk.replace(node, Level::All, name, None)?;
        }
        let all: Vec<u16> = self.cluster.ids().collect();
        self.until_forgotten(&round.early, &all).map(|_| ())
    }

    /// Cuts a node off. Both sides go on, and nothing that is deleted meanwhile is forgotten.
    pub(super) fn cut(&mut self, round: &Round) -> Result<Alone, Stop> {
        let before = self.stopped(round.lost);
        self.desk.book.excuse(round.lost, true);
        if self.scene.is_real() {
            self.set(round.lost, Rule::blocked());
        }
        sleep(NOTICED)?;
        if self.stopped(round.lost) == before {
            return Err(Stop::failed("cut: nothing was stopped"));
        }
        self.figures.faults += 2 * u64::from(NODES - 1);
        let alone = self.write_alone(round)?;
        let [one, other] = round.those_left();
        for (name, node) in round.late.iter().zip([one, other].into_iter().cycle()) {
            self.desk.replace(node, Level::Quorum, name, None)?;
        }
        let [.., last] = round.stay.as_slice() else { return Ok(alone) };
        self.desk.replace(one, Level::Quorum, last, Some(&format!("second of {last}")))?;
        for index in 0..KEYS {
            let name = format!("{}-new-{index}", round.number);
            self.desk.put(other, Level::Quorum, &name, &format!("first of {name}"))?;
        }
        let until = Instant::now() + STAY;
        while Instant::now() < until {
            let gone =
                self.unlike(&round.late, &round.those_left(), |_, held| held.is_tombstone())?;
            if let Some(first) = gone.first() {
                let lost = round.lost;
                return Err(Stop::Failed(format!("forgotten though n{lost} is awaited: {first}")));
            }
            self.readers.check()?;
            sleep(Duration::from_millis(100))?;
        }
        Ok(alone)
    }

    /// Writes at a node that is cut off: new keys, values beside one that stays and beside one that the
    /// others delete, one in the place of another; and a delete.
    fn write_alone(&self, round: &Round) -> Result<Alone, Stop> {
        let [beside, replaced, deleted, ..] = round.stay.as_slice() else {
            unreachable!("there are more keys");
        };
        let mut names = round.alone.clone();
        names.push(beside.clone());
        names.extend(round.late.first().cloned());
        let mut values = BTreeMap::new();
        for name in names {
            let value = format!("of n{} alone, {name}", round.lost);
            self.desk.put(round.lost, Level::One, &name, &value)?;
            values.insert(name, value);
        }
        let value = format!("of n{} alone, {replaced}", round.lost);
        self.desk.replace(round.lost, Level::One, replaced, Some(&value))?;
        values.insert(replaced.clone(), value);
        self.desk.replace(round.lost, Level::One, deleted, None)?;
        Ok(Alone { values, deleted: Some(deleted.clone()) })
    }

    /// Gives the disk up: nobody waits for it any more.
    pub(super) fn evict(&mut self, round: &Round) -> Result<(), Stop> {
        let name = format!("n{}", round.lost);
        self.desk.command(&["evict", &name], &round.those_left())?;
        self.figures.faults += 1;
        self.until_forgotten(&round.late, &round.those_left()).map(|_| ())
    }

    /// The network is back, and then the node is started again, with the same directory.
    pub(super) fn come_back(&mut self, round: &Round) -> Result<(), Stop> {
        if self.scene.plan.sabotage != Some(Sabotage::Heal) {
            self.set(round.lost, Rule::default());
        }
        let what = format!("the disk of n{} is retired", round.lost);
        let address = self.cluster.address(round.lost)?;
        self.within(RETIRED_MAX, &what, |arena| {
            // A read through it that others answer would bring them what it alone has.
            for name in &round.alone {
                let target = format!("/v1/kv/{TABLE}/{TABLE}/{name}?r=QUORUM&timeout=300");
                // It may fail.
                let _ = ask(address, "GET", &target, "", STATUS_PATIENCE);
            }
            Ok(arena.disk(round.lost).is_ok_and(|state| state == "retired"))
        })?;
        self.desk.book.retire(round.lost, true);
        self.desk.book.excuse(round.lost, false);
        self.look_retired(round, "healed")?;
        self.cluster.stop(round.lost)?;
        self.cluster.launch(round.lost, &[])?;
        self.until_disk_is(round.lost, "retired", RETIRED_MAX)?;
        self.look_retired(round, "started")
    }

    fn until_disk_is(&self, node: u16, state: &str, max: Duration) -> Result<Duration, Stop> {
        let what = format!("the disk of n{node} is {state}");
        self.within(max, &what, |arena| Ok(arena.disk(node).is_ok_and(|found| found == state)))
    }

    /// A node whose disk was given up answers with what others hold, or not at all.
    fn look_retired(&self, round: &Round, when: &str) -> Result<(), Stop> {
        let node = round.lost;
        if self.cluster.answer(node, "/health/ready").is_ok() {
            return Err(Stop::Failed(format!("n{node} is retired, and says that it is ready")));
        }
        let name = format!("{}-{when}", round.number);
        if let Ok(acks) = self.desk.put(node, Level::Quorum, &name, &format!("first of {name}"))
            && acks.contains(&node)
        {
            return Err(Stop::Failed(format!("n{node} is retired, and acknowledged {name}")));
        }
        let until = Instant::now() + RETIRED;
        while Instant::now() < until {
            // Of what it alone has and of what was deleted nothing is shown; see `Book::judge`.
            self.readers.check()?;
            let left = self.unlike(&round.late, &round.those_left(), |_, held| held.values == 0)?;
            if let Some(first) = left.first() {
                return Err(Stop::Failed(format!("n{node} is retired, and brought {first}")));
            }
            sleep(Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// Starts the node with an empty disk. Returns where its old one is.
    pub(super) fn replace(&mut self, round: &Round) -> Result<PathBuf, Stop> {
        let (node, old) = (round.lost, round.dir.join("old"));
        self.cluster.stop(node)?;
        self.desk.book.retire(node, false);
        move_away(&self.data(node), &old)?;
        self.cluster.launch(node, &[])?;
        self.until_disk_is(node, "enrolled", WHOLE_MAX)?;
        self.cluster.wait_for_all_alive()?;
        self.look_whole(round, node)?;
        let name = format!("{}-again", round.number);
        let acks = self.desk.put(node, Level::All, &name, &format!("first of {name}"))?;
        if acks.contains(&node) {
            return Ok(old);
        }
        Err(Stop::Failed(format!("n{node} is whole, and does not take part: {acks:?}")))
    }

    /// A node holds by itself what a quorum shows, and nothing else.
    fn look_whole(&self, round: &Round, node: u16) -> Result<(), Stop> {
        let shown = self.desk.read_all(round.other, Level::Quorum)?;
        let unlike = self.unlike(shown.keys(), &[node], |name, held| {
            shown.get(name).is_some_and(|values| values.len() == held.values)
        })?;
        if let Some(first) = unlike.first() {
            return Err(Stop::Failed(format!("n{node} holds what others do not show: {first}")));
        }
        for (name, values) in &shown {
            let (own, acks) = self.desk.read(node, Level::One, name)?;
            if acks == [node] && own != *values {
                let why = format!("n{node} holds {own:?} as {name}, and a quorum {values:?}");
                return Err(Stop::Failed(why));
            }
        }
        Ok(())
    }

    /// What only the old disk has comes back, once.
    pub(super) fn salvage(&self, round: &Round, old: &Path, alone: &Alone) -> Result<(), Stop> {
        self.look_for_leaks(round, alone)?;
        let expected: BTreeSet<String> = alone.values.keys().cloned().collect();
        let told = self.salvaged(old)?;
        let (recovered, deletes) = (keys(&told, "recovered"), keys(&told, "deletes_not_applied"));
        if recovered != expected || deletes != alone.deleted.iter().cloned().collect() {
            let why = format!("salvaged {recovered:?}, not {expected:?}; deletes {deletes:?}");
            return Err(Stop::Failed(why));
        }
        for (name, value) in &alone.values {
            self.desk.book.brought_back(name, value);
        }
        self.look_recovered(round, alone)?;
        let Some((deleted, _)) = alone.values.iter().find(|(name, _)| name.contains("alone"))
        else {
            return Ok(());
        };
        self.desk.replace(round.other, Level::All, deleted, None)?;
        let all: Vec<u16> = self.cluster.ids().collect();
        self.until_forgotten(std::slice::from_ref(deleted), &all)?;
        let before = self.desk.read_all(round.other, Level::All)?;
        let told = self.salvaged(old)?;
        let after = self.desk.read_all(round.copied, Level::All)?;
        if before != after || !keys(&told, "recovered").is_empty() {
            return Err(Stop::Failed(format!("salvaged twice: {told}")));
        }
        Ok(())
    }

    /// What the node alone has accepted it brings to nobody by itself, also before it has heard that
    /// it was given up.
    fn look_for_leaks(&self, round: &Round, alone: &Alone) -> Result<(), Stop> {
        let mut leaked = Vec::new();
        for (name, value) in &alone.values {
            if self.desk.read(round.other, Level::All, name)?.0.contains_key(value) {
                leaked.push(value);
            }
        }
        if let Some(name) = &alone.deleted
            && self.desk.read(round.other, Level::All, name)?.0.is_empty()
        {
            leaked.push(name);
        }
        match leaked.as_slice() {
            [] => Ok(()),
            _ => {
                let why =
                    format!("n{} was given up, and has brought others {leaked:?}", round.lost);
                Err(Stop::Failed(why))
            }
        }
    }

    fn salvaged(&self, old: &Path) -> Result<serde_json::Value, Stop> {
        let old = old.display().to_string();
        let all: Vec<u16> = self.cluster.ids().collect();
        let told = self.desk.command(&["salvage", "--data", &old, "--json"], &all)?;
        serde_json::from_str(&told).map_err(Stop::failed)
    }

    /// What was brought back is marked, and nothing else of the round is.
    fn look_recovered(&self, round: &Round, alone: &Alone) -> Result<(), Stop> {
        let is_of_round = |name: &str| name.starts_with(&format!("{}-", round.number));
        for node in self.cluster.ids() {
            let all = self.desk.read_all(node, Level::All)?;
            for (name, values) in all.into_iter().filter(|(name, _)| is_of_round(name)) {
                for (value, is_recovered) in values {
                    if is_recovered != (alone.values.get(&name) == Some(&value)) {
                        let why =
                            format!("{value} of {name} is recovered at n{node}: {is_recovered}");
                        return Err(Stop::Failed(why));
                    }
                }
            }
        }
        Ok(())
    }

    /// Restores the backups into another cluster, which has what they have, everywhere.
    pub(super) fn restore(&mut self, round: &Round, kept: &Kept) -> Result<(), Stop> {
        let dir = round.dir.join("restored");
        fs::create_dir_all(&dir)?;
        let mut cluster = Cluster::prepare(&self.scene.plan.binary, &dir, NODES)?;
        let number = 8 + round.number;
        for id in cluster.ids() {
            cluster.renumber(id, number)?;
            let (of, into) = (id.to_string(), cluster.disk_dir(id).join("data"));
            let (into, number) = (into.display().to_string(), number.to_string());
            let words = ["restore", "--from", &kept.depot, "--of", &of, "--into", &into];
            self.desk.command(&[&words[..], &["--cluster", &number]].concat(), &[])?;
        }
        cluster.start_all()?;
        let book = Arc::new(Book::default());
        for (name, values) in &kept.shown {
            book.expect(name, values);
        }
        let desk = Desk::new(book, &self.scene.plan.binary, &cluster)?;
        for node in cluster.ids() {
            for level in [Level::One, Level::Quorum, Level::All] {
                let all = desk.read_all(node, level)?;
                let unlike =
                    all.iter().find(|(name, values)| kept.shown.get(*name) != Some(values));
                if let Some((name, values)) = unlike {
                    let kept = kept.shown.get(name);
                    return Err(Stop::Failed(format!(
                        "n{node} was restored, and has {values:?} as {name}, not {kept:?}, at {level}"
                    )));
                }
            }
        }
        self.figures.faults += 1;
        Ok(())
    }

    /// Puts an old copy in the place of a node's disk. Whatever was deleted since is held there again,
    /// until the others have refuted it.
    pub(super) fn put_back(&mut self, round: &Round) -> Result<(), Stop> {
        let node = round.copied;
        let shown = self.desk.read_all(round.other, Level::All)?;
        self.desk.book.excuse(node, true);
        self.cluster.stop(node)?;
        move_away(&self.data(node), &round.dir.join("aside"))?;
        copy(&round.dir.join("copy"), &self.data(node))?;
        self.set(node, Rule::blocked());
        self.cluster.launch(node, &[])?;
        let gone: Vec<&String> = round.early.iter().chain(&round.late).collect();
        let what = format!("n{node}, which is cut off, shows all that was deleted");
        self.within(RETIRED_MAX, &what, |arena| {
            let shows = |name: &&&String| {
                let read = arena.desk.try_read(node, Level::One, name);
                read.is_ok_and(|read| read.is_ok_and(|(values, _)| !values.is_empty()))
            };
            Ok(gone.iter().filter(shows).count() == gone.len())
        })?;
        self.set(node, Rule::default());
        let all: Vec<u16> = self.cluster.ids().collect();
        let what = format!("n{node} has what the others have, and nothing that was deleted");
        self.within(REFUTED_MAX, &what, |arena| {
            for (name, node) in gone.iter().flat_map(|name| all.iter().map(move |id| (name, *id))) {
                // It may fail, and shows nothing then.
                let _ = arena.desk.try_read(node, Level::Quorum, name)?;
            }
            let unlike = arena.unlike(shown.keys(), &all, |name, held| {
                shown.get(name).is_some_and(|values| values.len() == held.values)
            })?;
            Ok(unlike.is_empty())
        })?;
        self.cluster.wait_for_all_alive()?;
        self.desk.book.excuse(node, false);
        self.figures.faults += 1;
        let found = self.desk.doctor(&all)?;
        let metrics = self.cluster.answer(node, "/metrics")?;
        let told = metrics.lines().filter(|line| {
            line.starts_with("merganser_differences")
                || line.starts_with("merganser_lost_writes")
                || line.starts_with("merganser_tombstones")
        });
        eprintln!(
            "put back: the doctor finds {found:?}, n{node} has counted {:?}",
            told.collect::<Vec<_>>()
        );
        self.look_whole(round, node)
    }
}

/// The keys of a list of the report.
fn keys(told: &serde_json::Value, list: &str) -> BTreeSet<String> {
    let all = told.get(list).and_then(|all| all.as_array()).into_iter().flatten();
    all.filter_map(|one| Some(one.get("key")?.as_str()?.to_owned())).collect()
}

fn copy(from: &Path, to: &Path) -> Result<(), Stop> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    run_program(&["cp", "-a", &from, &to]).map(|_| ())
}

fn move_away(from: &Path, to: &Path) -> Result<(), Stop> {
    Ok(fs::rename(from, to)?)
}

//! The figures, and the aims beside them.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::json;

use crate::tally::Tally;

/// The messages that say what clocks come to.
const OF_CLOCKS: [&str; 2] = ["clocks", "alike"];
/// The messages that bring what the log covers.
const OF_LOGS: [&str; 3] = ["lack", "sent", "merge"];
/// The messages that find what differs, and ask for it.
const OF_TREES: [&str; 4] = ["compare", "compared", "bring", "spared"];
/// The messages that have objects.
const WITH_OBJECTS: [&str; 2] = ["merge", "sent"];

/// How the two become equal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Road {
    /// They are.
    InSync,
    /// By logs, after one was cut off.
    CutOff,
    /// By logs, after writes were lost one by one.
    Lossy,
    /// By hash trees.
    Trees,
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InSync => "in sync",
            Self::CutOff => "log, cut off",
            Self::Lossy => "log, lossy",
            Self::Trees => "trees",
        })
    }
}

/// One time that the two became equal, or were.
pub(crate) struct Scene {
    pub(crate) road: Road,
    pub(crate) shards: u16,
    pub(crate) differing: u64,
    /// How often, with other keys each time: the tally is of all.
    pub(crate) times: u64,
    /// In simulated time.
    pub(crate) took: Duration,
    pub(crate) tally: Tally,
}

/// One figure with its aim.
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) measured: f64,
    /// At most so many. Nothing, if it is told for comparison.
    aim: Option<f64>,
}

impl Figure {
    pub(crate) fn is_reached(&self) -> Option<bool> {
        self.aim.map(|aim| self.measured <= aim)
    }
}

/// Everything that was measured.
pub(crate) struct Report {
    keys: u64,
    pub(crate) scenes: Vec<Scene>,
}

impl Scene {
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let all = (self.differing * self.times).max(1);
        let each = |bytes: u64| bytes as f64 / all as f64;
        let sent = self.tally.sum(&WITH_OBJECTS).objects;
        let objects = Figure {
            what: "objects sent for each that was needed",
            measured: each(sent),
            aim: Some(1.01),
        };
        match self.road {
            Road::InSync => self.clocks(),
            Road::Trees => {
                let aim = if self.differing <= 100 { 700.0 } else { 350.0 };
                let measured = each(self.tally.sum(&OF_TREES).bytes);
                let what = "bytes per differing key to find it and ask for it";
                vec![Figure { what, measured, aim: Some(aim) }, objects]
            }
            Road::CutOff | Road::Lossy => {
                let measured = each(self.tally.sum(&OF_LOGS).metadata());
                let what = "bytes per missing key beside its object and its name";
                vec![Figure { what, measured, aim: Some(4.0) }, objects]
            }
        }
    }

    fn clocks(&self) -> Vec<Figure> {
        let clocks = self.tally.sum(&OF_CLOCKS);
        let message = clocks.bytes as f64 / clocks.messages.max(1) as f64;
        let one_way = message / f64::from(self.shards);
        let figure = |what, measured, aim| Figure { what, measured, aim };
        vec![
            figure(
                "bytes of Clocks per shard pair and round, both ways",
                2.0 * one_way,
                Some(64.0),
            ),
            figure("the same, one way", one_way, None),
            figure("bytes of one message", message, None),
        ]
    }
}

impl Report {
    pub(crate) fn new(keys: u64) -> Self {
        Self { keys, scenes: Vec::new() }
    }

    pub(crate) fn add(&mut self, scene: Scene) {
        self.scenes.push(scene);
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let scenes = self.scenes.iter().map(|scene| {
            let figures = scene.figures().into_iter().map(|figure| {
                let is_reached = figure.is_reached();
                json!({ "what": figure.what, "measured": figure.measured,
                        "aim_at_most": figure.aim, "is_reached": is_reached })
            });
            let messages = scene.tally.lines().map(|(kind, line)| {
                let told = json!({ "messages": line.messages, "bytes": line.bytes,
                    "objects": line.objects, "object_bytes": line.object_bytes,
                    "key_bytes": line.key_bytes, "metadata_bytes": line.metadata() });
                (kind.to_owned(), told)
            });
            json!({
                "scene": scene.road.to_string(), "shards": scene.shards, "differing": scene.differing,
                "times": scene.times,
                "simulated_seconds": scene.took.as_secs_f64(),
                "figures": figures.collect::<Vec<_>>(),
                "messages": messages.collect::<serde_json::Map<_, _>>(),
            })
        });
        json!({ "keys": self.keys, "compression": "none", "scenes": scenes.collect::<Vec<_>>() })
    }

    fn aims(&self) -> Table {
        let mut table = table(&["shards", "scene", "differing", "what", "measured", "aim", ""]);
        for scene in &self.scenes {
            for figure in scene.figures() {
                let verdict = match figure.is_reached() {
                    Some(true) => "reached",
                    Some(false) => "missed",
                    None => "",
                };
                let Figure { what, measured, aim } = figure;
                let aim = aim.map_or(String::new(), |aim| format!("at most {aim}"));
                table.add_row([
                    scene.shards.to_string(),
                    scene.road.to_string(),
                    scene.differing.to_string(),
                    what.to_owned(),
                    format!("{measured:.2}"),
                    aim,
                    verdict.to_owned(),
                ]);
            }
        }
        right(&mut table, &[0, 2, 4, 5]);
        table
    }

    fn messages(&self) -> Table {
        let columns = [
            "shards",
            "scene",
            "differing",
            "kind",
            "messages",
            "bytes",
            "objects",
            "of objects",
            "of keys",
            "metadata",
        ];
        let mut table = table(&columns);
        for scene in &self.scenes {
            for (kind, line) in scene.tally.lines() {
                table.add_row([
                    scene.shards.to_string(),
                    scene.road.to_string(),
                    scene.differing.to_string(),
                    kind.to_owned(),
                    line.messages.to_string(),
                    line.bytes.to_string(),
                    line.objects.to_string(),
                    line.object_bytes.to_string(),
                    line.key_bytes.to_string(),
                    line.metadata().to_string(),
                ]);
            }
        }
        right(&mut table, &[0, 2, 4, 5, 6, 7, 8, 9]);
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} keys at two replicas; whole frames, nothing is compressed\n", self.keys)?;
        writeln!(f, "{}\n", self.aims())?;
        write!(f, "{}", self.messages())
    }
}

fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(columns.iter().copied());
    table
}

fn right(table: &mut Table, columns: &[usize]) {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

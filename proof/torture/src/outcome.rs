//! How a scenario ended, and the table of all of them.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table};

/// Letters in a line of the table.
const WIDTH: u16 = 120;

/// Why a scenario did not run to a good end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Stop {
    /// It cannot run here: a tool or a right is missing.
    Skipped(String),
    /// What should hold does not, or the scenario itself broke.
    Failed(String),
}

impl Stop {
    /// A failure with its reason.
    #[expect(clippy::needless_pass_by_value, reason = "it is handed to `map_err`")]
    pub fn failed(why: impl ToString) -> Self {
        Self::Failed(why.to_string())
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error)
    }
}

/// What a scenario did and looked at. Figures of several rounds add up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    /// Rounds: load, mistreatment, check.
    pub rounds: u64,
    /// Faults: kills, power losses, flipped bytes, failed calls.
    pub faults: u64,
    /// Acknowledged writes that were compared with what was read.
    pub acknowledged: u64,
    /// Acknowledged tables that were compared with what each node had.
    pub declared: u64,
    /// Writes of unknown outcome.
    pub unknown: u64,
    /// Keys read and compared.
    pub checked: u64,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// The scenario.
    pub name: String,
    /// What came of it.
    pub outcome: Result<Figures, Stop>,
    /// How long it took.
    pub took: Duration,
}

impl Line {
    /// The outcome in a word, with the reason if it is not a good one.
    pub fn verdict(&self) -> String {
        match &self.outcome {
            Ok(_) => "passed".to_owned(),
            Err(Stop::Skipped(why)) => format!("SKIPPED({why})"),
            Err(Stop::Failed(why)) => format!("FAILED({why})"),
        }
    }

    fn figures(&self) -> Figures {
        self.outcome.clone().unwrap_or_default()
    }

    /// The line as JSON.
    pub fn json(&self) -> serde_json::Value {
        let figures = self.figures();
        serde_json::json!({
            "scenario": self.name, "verdict": self.verdict(), "seconds": self.took.as_secs_f64(),
            "rounds": figures.rounds, "faults": figures.faults, "checked": figures.checked,
            "acknowledged": figures.acknowledged, "unknown": figures.unknown,
            "declared": figures.declared,
        })
    }
}

/// The table that ends a run.
pub fn table(lines: &[Line]) -> String {
    let mut table = Table::new();
    // A reason for a failure would make every line as long as itself.
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header([
        "scenario", "seconds", "rounds", "faults", "acked", "unknown", "tables", "keys", "",
    ]);
    for line in lines {
        let figures = line.figures();
        table.add_row([
            line.name.clone(),
            format!("{:.1}", line.took.as_secs_f64()),
            figures.rounds.to_string(),
            figures.faults.to_string(),
            figures.acknowledged.to_string(),
            figures.unknown.to_string(),
            figures.declared.to_string(),
            figures.checked.to_string(),
            line.verdict(),
        ]);
    }
    let skipped = lines.iter().filter(|line| matches!(line.outcome, Err(Stop::Skipped(_)))).count();
    let failed = lines.iter().filter(|line| matches!(line.outcome, Err(Stop::Failed(_)))).count();
    format!("{table}\n{} scenarios, {skipped} skipped, {failed} failed", lines.len())
}

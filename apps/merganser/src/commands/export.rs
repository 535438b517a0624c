//! `merganser export`: write a whole table as JSON Lines.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use client::{Level, ListOptions, Options, Pages};
use indicatif::{ProgressBar, ProgressStyle};

use super::connect::{Connect, block_on};
use super::error::CliError;
use super::import::jsonl;
use super::print;
use super::replacement::Replacement;

/// Export a table as JSON Lines, one line per key.
///
/// A key with several values (siblings) has a line with {"key", "values": [..]}, any other
/// {"key", "value"}. Deleted keys are left out. `import` reads the lines back, siblings as
/// siblings.
///
/// The file is written beside its place and renamed at the end, so that a failed export
/// leaves an older file as it was. One that is killed leaves a FILE.*.merganser-new.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The keyspace.
    keyspace: String,
    /// The table.
    table: String,
    /// Where to write; `-` or nothing writes to standard output.
    file: Option<PathBuf>,
    /// Replicas of each shard that must answer: ONE, TWO, THREE, QUORUM, ALL or a number.
    #[arg(long, short = 'r', visible_alias = "r", value_name = "LEVEL")]
    level: Option<Level>,
    #[command(flatten)]
    connect: Connect,
}

impl Export {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = self.connect.client(Options::default())?;
        let options =
            ListOptions { page_entries_max: 500, r: self.level, ..ListOptions::default() };
        let mut pages = client.table(&self.keyspace, &self.table).scan(&options);
        match self.file.as_ref().filter(|file| file.as_os_str() != "-") {
            None => {
                let mut to = BufWriter::new(io::stdout().lock());
                block_on(write(&mut pages, &mut to, print::stdout_failed)).map(drop)
            }
            Some(path) => {
                let count = block_on(write_file(&mut pages, path))?;
                print::line(format_args!("{count} values written to {}", path.display()))
            }
        }
    }
}

/// Writes all values into a file, or leaves what is there as it was.
pub(crate) async fn write_file(pages: &mut Pages, path: &Path) -> Result<u64, CliError> {
    let failed =
        |err: &io::Error| CliError::failed(format!("cannot write {}: {err}", path.display()));
    let mut file = Replacement::begin(path).map_err(|err| failed(&err))?;
    let remains = file.remains();
    let count = match write(pages, &mut file.to, failed).await {
        Ok(count) => count,
        Err(err) => return Err(err.remains(remains)),
    };
    file.commit().map_err(|err| failed(&err).remains(remains))?;
    Ok(count)
}

/// Writes all values of all pages, and says how many these were.
pub(crate) async fn write(
    pages: &mut Pages,
    to: &mut impl Write,
    failed: impl Fn(&io::Error) -> CliError,
) -> Result<u64, CliError> {
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("{spinner} {pos} values, {per_sec}")
            .expect("the template is well formed"),
    );
    let mut count = 0;
    while let Some(page) = pages.next().await? {
        for entry in &page.entries {
            if !entry.values.is_empty() {
                let line = jsonl::line(&entry.key, &entry.values);
                writeln!(to, "{line}").map_err(|err| failed(&err))?;
                count += entry.values.len() as u64;
            }
        }
        bar.set_position(count);
    }
    to.flush().map_err(|err| failed(&err))?;
    bar.finish_and_clear();
    Ok(count)
}

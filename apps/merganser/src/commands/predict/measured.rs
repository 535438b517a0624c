//! Measured times, from a file.

use std::path::Path;

use predict::{Impossible, Legs, Sample};

use super::super::error::CliError;

/// What is in a line.
const COLUMNS: &str = "write,ack,read,response";

/// Reads a CSV file with one replica's four legs in a line, in milliseconds. The first line
/// may name the columns.
///
/// # Errors
///
/// The file cannot be read, or a line is something else.
pub(super) fn read(path: &Path) -> Result<Legs, CliError> {
    let failed = |why: String| {
        CliError::failed(format!("{}: {why}", path.display())).remedy(format!(
            "write one replica's {COLUMNS} in each line, in milliseconds, as in 0.8,0.3,0.2,0.4"
        ))
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(|err| failed(err.to_string()))?;
    let (mut samples, mut lines) = (Vec::new(), Vec::new());
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|err| failed(err.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        match sample(&record) {
            Some(sample) => {
                samples.push(sample);
                lines.push(line);
            }
            None if index == 0 && record.iter().eq(COLUMNS.split(',')) => {}
            None => return Err(failed(format!("line {line} is not four numbers"))),
        }
    }
    Legs::measured(samples).map_err(|impossible| match impossible {
        Impossible::Time { index, millis } => {
            let line = lines.get(index).copied().unwrap_or_default();
            failed(format!("line {line}: {millis:?} is no time, from 0 to {}", Legs::MILLIS_MAX))
        }
        other @ (Impossible::NoSamples | Impossible::Quorum { .. }) => failed(other.to_string()),
    })
}

fn sample(record: &csv::StringRecord) -> Option<Sample> {
    let numbers: Vec<f64> = record.iter().map(|cell| cell.parse().ok()).collect::<Option<_>>()?;
    let [write, ack, read, response] = numbers[..] else { return None };
    Some(Sample { write, ack, read, response })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read_text(text: &str) -> Result<Legs, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_is_read_with_and_without_the_names_of_its_columns() {
        let expected =
            Legs::measured(vec![Sample { write: 1.0, ack: 0.5, read: 0.0, response: 2e1 }]);
        for text in ["write,ack,read,response\n1,0.5,0,20\n", "1, 0.5, 0, 2e1"] {
            assert_eq!(read_text(text).as_ref(), Ok(expected.as_ref().unwrap()), "{text}");
        }
    }

    #[test]
    fn complaints_name_the_line() {
        for (text, expected) in [
            ("1,2,3,4\n1,2,3\n", "line 2 is not four numbers"),
            ("1,2,3,4\n1,2,x,4\n", "line 2 is not four numbers"),
            ("w,a,r,s\n1,2,3,4\n", "line 1 is not four numbers"),
            ("1,2,3,4\n1,-2,3,4\n", "line 2: -2.0 is no time"),
            ("1,2,3,1e308\n", "line 1: 1e308 is no time, from 0 to 1000000000"),
            ("1,2,NaN,4\n", "line 1: NaN is no time"),
            ("write,ack,read,response\n", "there are no samples"),
        ] {
            let complaint = read_text(text).unwrap_err();
            assert!(complaint.contains(expected), "{text:?}: {complaint}");
            assert!(complaint.contains("what to do"), "{complaint}");
        }
    }
}

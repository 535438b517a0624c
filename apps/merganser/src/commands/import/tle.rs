//! Two-line elements: the orbits of satellites, as the world exchanges them.
//!
//! ```text
//! VANGUARD 1                (a name may stand before; it is left out)
//! 1 00005U 58002B   00179.78495062  .00000023  00000-0  28098-4 0  4753
//! 2 00005  34.2682 348.7242 1859667 331.7664  19.3264 10.82419157413667
//!   ^^^^^ satellite number   ^^^^^ epoch: year 00, day 179.78495062       ^ checksum
//!
//! key "00005"   sort "2000-179.78495062"   value: the two lines
//! ```
//!
//! With the epoch as sort key, the history of an object lies in the order of time. Years
//! from 57 are in the 1900s, since Sputnik flew in 1957. Each line has 69 columns; the last is
//! the sum of its digits, with a minus counted as one, modulo ten. Whatever stands behind
//! column 69 is left out, as are blank lines and those that begin with `#`. Anything else is a
//! fault: a file that was cut or overwritten would otherwise look like a short one.
//!
//! Source: T. S. Kelso, "NORAD Two-Line Element Set Format".

use std::collections::VecDeque;
use std::io::{self, BufRead};

use client::{Content, Key};

use super::entry::{Entry, Line, Lines, Record, too_long};

/// Columns of a line, its checksum included.
const COLUMNS: usize = 69;

/// The longest name that may stand before an object. What is longer, and begins like a
/// line of elements, is one.
const NAME_COLUMNS: usize = 24;

const NO_LINE: &str = "it is no line of elements, and no name before one";

/// Reads the objects of a TLE file. Every line that is at fault is reported by itself, and
/// an object with such a line is left out.
pub(crate) fn entries<R: BufRead>(from: R) -> impl Iterator<Item = io::Result<Entry>> {
    Reader { lines: Lines::new(from), first: None, name: None, out: VecDeque::new() }
}

/// A line of elements: its number in the file and its first 69 columns.
struct Elements {
    line: u64,
    text: String,
}

struct Reader<R> {
    lines: Lines<R>,
    /// The first line of an object whose second has not come.
    first: Option<Elements>,
    /// The line of what is a name if a line 1 follows.
    name: Option<u64>,
    out: VecDeque<Entry>,
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        loop {
            if let Some(entry) = self.out.pop_front() {
                return Some(Ok(entry));
            }
            match self.lines.next() {
                Some(Ok(line)) => self.take(line),
                Some(Err(err)) => return Some(Err(err)),
                None => {
                    self.drop_open();
                    return self.out.pop_front().map(Ok);
                }
            }
        }
    }
}

impl<R> Reader<R> {
    fn take(&mut self, (line, bytes): Line) {
        let Some(bytes) = bytes else {
            self.drop_open();
            return self.out.push_back(Entry::at(line, Err(too_long())));
        };
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        let columns = text.chars().count();
        let long = NAME_COLUMNS < columns;
        if text.is_empty() || text.starts_with('#') {
            // Says nothing, and may stand anywhere.
        } else if long && text.starts_with("1 ") {
            self.name = None;
            self.drop_open();
            self.first = Some(Elements { line, text: first_columns(&text) });
        } else if long && text.starts_with("2 ") {
            self.drop_name();
            self.finish(Elements { line, text: first_columns(&text) });
        } else {
            // A name stands before an object, so one that is open is not finished.
            self.drop_open();
            if columns < COLUMNS {
                self.name = Some(line);
            } else {
                self.out.push_back(Entry::at(line, Err(NO_LINE.to_owned())));
            }
        }
    }

    /// Gives up what more was to follow: one of the two at the most.
    fn drop_open(&mut self) {
        self.drop_first();
        self.drop_name();
    }

    /// Gives up a name that stands before nothing.
    fn drop_name(&mut self) {
        if let Some(line) = self.name.take() {
            self.out.push_back(Entry::at(line, Err(NO_LINE.to_owned())));
        }
    }

    /// Gives up a first line that no second followed.
    fn drop_first(&mut self) {
        if let Some(first) = self.first.take() {
            let fault = first.check().err();
            let fault = fault.unwrap_or_else(|| "no line 2 follows this line 1".to_owned());
            self.out.push_back(Entry::at(first.line, Err(fault)));
        }
    }

    fn finish(&mut self, second: Elements) {
        let Some(first) = self.first.take() else {
            let fault = "this line 2 has no line 1 before it".to_owned();
            return self.out.push_back(Entry::at(second.line, Err(fault)));
        };
        let faults = [&first, &second].map(|elements| elements.check().err());
        if faults.iter().all(Option::is_none) {
            let parsed = record(&first, &second);
            self.out.push_back(Entry { line: first.line, end: second.line, parsed });
            return;
        }
        for (elements, fault) in [first, second].into_iter().zip(faults) {
            if let Some(fault) = fault {
                self.out.push_back(Entry::at(elements.line, Err(fault)));
            }
        }
    }
}

impl Elements {
    /// Says what is wrong with the line by itself.
    fn check(&self) -> Result<(), String> {
        if !self.text.is_ascii() {
            return Err("it has characters that are no ASCII".to_owned());
        }
        if self.text.len() < COLUMNS {
            return Err(format!("it has {} columns, {COLUMNS} are needed", self.text.len()));
        }
        let (counted, last) = self.text.split_at(COLUMNS - 1);
        let sum = checksum(counted);
        if last != sum.to_string() {
            return Err(format!("its checksum is {last}, but its columns come to {sum}"));
        }
        Ok(())
    }

    fn columns(&self, from: usize, to: usize) -> &str {
        self.text.get(from - 1..to).unwrap_or_default()
    }

    fn number(&self) -> &str {
        self.columns(3, 7).trim()
    }
}

/// Digits count as themselves, a minus as one, modulo ten.
fn checksum(columns: &str) -> u32 {
    let count = |c: char| c.to_digit(10).unwrap_or(u32::from(c == '-'));
    columns.chars().map(count).sum::<u32>() % 10
}

fn first_columns(text: &str) -> String {
    text.chars().take(COLUMNS).collect()
}

fn record(first: &Elements, second: &Elements) -> Result<Record, String> {
    let (number, other) = (first.number(), second.number());
    if number != other {
        return Err(format!(
            "its line 1 is about satellite {number:?}, its line 2 about {other:?}"
        ));
    }
    if number.is_empty() {
        return Err("it has no satellite number".to_owned());
    }
    let key = Key::with_sort(number.to_owned(), epoch(first.columns(19, 32))?);
    Ok(Record::new(key, Content::text(format!("{}\n{}", first.text, second.text))))
}

/// Turns `00179.78495062` into `2000-179.78495062`. Numbers may be padded with blanks.
fn epoch(columns: &str) -> Result<String, String> {
    let refuse = || format!("its epoch {columns:?} is no year and day");
    let padded = columns.replace(' ', "0");
    let (year, day) = padded.split_at_checked(2).ok_or_else(refuse)?;
    let year: u32 = year.parse().map_err(|_| refuse())?;
    let century = if year < 57 { 2000 } else { 1900 };
    let whole = day.split_once('.').and_then(|(whole, fraction)| {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        (whole.len() == 3 && digits(whole) && digits(fraction))
            .then(|| whole.parse::<u32>().ok())?
    });
    match whole {
        Some(1..=366) => Ok(format!("{}-{day}", century + year)),
        Some(_) | None => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verification set that accompanies "Revisiting Spacetrack Report #3".
    const REAL: &[u8] =
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sgp4-ver.tle"));

    fn read(bytes: &[u8]) -> Vec<Entry> {
        entries(bytes).map(Result::unwrap).collect()
    }

    fn faults(text: &str) -> Vec<(u64, String)> {
        let faults = read(text.as_bytes()).into_iter();
        faults.filter_map(|entry| entry.parsed.err().map(|fault| (entry.line, fault))).collect()
    }

    const FIRST: &str = "1 00005U 58002B   00179.78495062  .00000023  00000-0  28098-4 0  4753";
    const SECOND: &str = "2 00005  34.2682 348.7242 1859667 331.7664  19.3264 10.82419157413667";

    #[test]
    fn the_real_file_has_thirty_good_objects_and_five_bad_lines() {
        let (good, bad): (Vec<_>, Vec<_>) =
            read(REAL).into_iter().partition(|entry| entry.parsed.is_ok());
        assert_eq!(good.len(), 30);
        // Made wrong on purpose by the authors, who changed numbers and not the sums.
        let lines: Vec<u64> = bad.iter().map(|entry| entry.line).collect();
        assert_eq!(lines, [100, 101, 103, 106, 107]);
        let first = good[0].parsed.as_ref().unwrap();
        assert_eq!(first.key, Key::with_sort("00005", "2000-179.78495062"));
        assert_eq!(&first.contents[0].body[..], format!("{FIRST}\n{SECOND}").as_bytes());
        assert_eq!((good[0].line, good[0].end), (3, 4));
        // Vallado's set has objects of both centuries, and one object twice.
        let key = |number: &str| {
            let keys = good.iter().map(|entry| &entry.parsed.as_ref().unwrap().key);
            keys.filter(|key| key.partition == number).cloned().collect::<Vec<_>>()
        };
        assert_eq!(key("23333"), [Key::with_sort("23333", "1994-305.49999999")]);
        assert_eq!(key("20413").len(), 2);
        assert_eq!(key("20413")[0], key("20413")[1]);
    }

    #[test]
    fn names_comments_blank_lines_and_further_columns_are_tolerated() {
        let text = format!(
            "# c\r\nVANGUARD 1\r\n{FIRST}\r\n\r\n# d\r\n{SECOND}    0.0  9.0\r\n2 SHORT NAME\n{FIRST}\n{SECOND}\n"
        );
        let entries = read(text.as_bytes());
        assert_eq!(entries.len(), 2);
        assert!(entries.iter().all(|entry| entry.parsed.is_ok()), "{entries:?}");
    }

    #[test]
    fn every_bad_line_is_reported_by_its_number() {
        let other = "2 00006  34.2682 348.7242 1859667 331.7664  19.3264 10.82419157413668";
        let cut = FIRST.get(..60).unwrap();
        for (text, line, says) in [
            (format!("{FIRST}\n{}\n", SECOND.replace("34.26", "34.27")), 2, "checksum"),
            (format!("{FIRST}\n{other}\n"), 1, "00006"),
            (format!("{FIRST}\n{FIRST}\n{SECOND}\n"), 1, "no line 2"),
            (format!("{SECOND}\n"), 1, "no line 1"),
            (format!("{FIRST}\n"), 1, "no line 2"),
            (format!("{cut}\n{SECOND}\n"), 1, "60 columns"),
            (format!("{FIRST}\nNAME\n{SECOND}\n"), 1, "no line 2"),
        ] {
            let faults = faults(&text);
            assert_eq!(faults[0].0, line, "{text}");
            assert!(faults[0].1.contains(says), "{faults:?}");
        }
    }

    #[test]
    fn what_is_neither_elements_nor_a_name_is_a_bad_line() {
        let garbage = "x".repeat(80);
        let lines = |text: &str| faults(text).iter().map(|(line, _)| *line).collect::<Vec<_>>();
        assert_eq!(lines("<html>\n<body>\n"), [1, 2]);
        assert_eq!(lines(&format!("A\nB\n{FIRST}\n{SECOND}\nC\n")), [1, 5]);
        assert_eq!(lines(&format!("{garbage}\n{FIRST}\n{SECOND}\n")), [1]);
        // Cut so short that it could be a name, and is none.
        assert_eq!(lines(&format!("1 00005U\n{SECOND}\n")), [1, 2]);
        assert!(lines(&format!("# c\n\nA\n\n# d\n{FIRST}\n{SECOND}\n")).is_empty());
    }

    #[test]
    fn epochs_sort_by_time_over_the_turn_of_the_century() {
        assert_eq!(epoch("57001.50000000").unwrap(), "1957-001.50000000");
        assert_eq!(epoch("99365.00000000").unwrap(), "1999-365.00000000");
        assert_eq!(epoch("56366.99999999").unwrap(), "2056-366.99999999");
        assert_eq!(epoch(" 6  1.25000000").unwrap(), "2006-001.25000000");
        for bad in ["", "0x179.7", "00000.5", "00367.5", "0017978495062", "00-17.5"] {
            assert!(epoch(bad).is_err(), "{bad:?}");
        }
    }
}

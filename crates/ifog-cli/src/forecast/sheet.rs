//! A CSV file as it stands.

use csv::StringRecord;
use ifog::forecast::LARGEST;

use super::dates::{EXAMPLES, are_dates, moments};
use super::number::number;

/// A file as it stands.
pub(super) struct Sheet {
    pub(super) header: StringRecord,
    pub(super) rows: Vec<StringRecord>,
    /// Whether numbers may have a decimal comma: where commas do not part the fields.
    decimal_comma: bool,
    pub(super) notes: Vec<String>,
}

impl Sheet {
    /// Reads fields parted by semicolons, tabs or commas, whichever of them the first line has, in this order.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut lines = bytes.split(|b| *b == b'\n');
        let first = lines.find(|line| !line.trim_ascii().is_empty());
        let mut quoted = false;
        let outside = first.unwrap_or_default().iter().filter(|b| {
            quoted ^= **b == b'"';
            !quoted
        });
        let found: Vec<u8> = outside.copied().collect();
        let delimiter = [b';', b'\t'].into_iter().find(|d| found.contains(d));
        let delimiter = delimiter.unwrap_or(b',');
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .delimiter(delimiter)
            .trim(csv::Trim::All)
            .from_reader(bytes);
        let rows = reader.into_records().collect::<Result<Vec<_>, _>>();
        let mut rows = rows.map_err(|error| sentence(&error))?;
        let mut sheet = Self {
            header: StringRecord::new(),
            rows: Vec::new(),
            decimal_comma: delimiter != b',',
            notes: Vec::new(),
        };
        if rows.first().is_some_and(|row| !sheet.is_heading(row)) {
            sheet.header = (1..=rows[0].len()).map(|c| c.to_string()).collect();
            let note = "it has no heading: its columns are called 1, 2, …";
            sheet.notes.push(note.to_owned());
        } else if !rows.is_empty() {
            sheet.header = rows.remove(0).iter().map(printable).collect();
        }
        if rows.is_empty() {
            return Err(
                "it has no rows below its heading: give a file with a heading and values"
                    .to_owned(),
            );
        }
        sheet.rows = rows;
        Ok(sheet)
    }

    /// Whether the first row names the columns: it has a text that is no value, or nothing above an index, as pandas writes it.
    fn is_heading(&self, row: &StringRecord) -> bool {
        let is_name =
            |text: &str| self.number(text).is_none() && !is_missing(text) && !are_dates(&[text]);
        row.iter().any(is_name) || (row.len() > 1 && row[0].is_empty())
    }

    /// The column of that name, or the only one that differs from it in upper and lower case alone.
    pub(super) fn column(&self, name: &str) -> Result<usize, String> {
        let name = &printable(name)[..];
        let columns = |same: fn(&str, &str) -> bool| -> Vec<usize> {
            let found = self.header.iter().enumerate();
            let found = found.filter(|(_, title)| same(title, name));
            found.map(|(column, _)| column).collect()
        };
        let mut found = columns(|title, name| title == name);
        if found.is_empty() {
            found = columns(str::eq_ignore_ascii_case);
        }
        match found[..] {
            [column] => Ok(column),
            [] => {
                let known: Vec<String> = self.header.iter().take(LISTED).map(quoted).collect();
                let more = if self.header.len() > LISTED {
                    ", …"
                } else {
                    ""
                };
                Err(format!(
                    "it has no column '{}': name one of {}{more}",
                    quoted(name),
                    known.join(", ")
                ))
            }
            _ => Err(format!(
                "it has {} columns called '{}': give each a name of its own",
                found.len(),
                quoted(name)
            )),
        }
    }

    /// A column that is called as one of dates and begins with one, or those of its parts together, or else the first that holds
    /// nothing but dates and is not to be forecast.
    pub(super) fn default_dates(&mut self, forecast: &[usize]) -> Option<usize> {
        let called = DATE_NAMES.iter().find_map(|name| self.column(name).ok());
        if let Some(called) = called {
            let first = self.texts(called).next();
            let begins = first.is_some_and(|text| moments(&[text]).is_ok());
            let usable = begins && !self.is_part_of_dates(called);
            if !(usable && self.is_called_moment(called))
                && let Some(joined) = self.join_calendar()
            {
                return Some(joined);
            }
            if usable {
                return Some(called);
            }
            let name = quoted(&self.header[called]);
            self.notes.push(if begins {
                format!("its column {name} holds parts of dates in no order and is not used")
            } else {
                format!(
                    "its column {name} does not begin with a date and is not used: write dates as {EXAMPLES}"
                )
            });
        }
        let dated = |c: usize| are_dates(&self.texts(c).collect::<Vec<_>>());
        (0..self.header.len()).find(|&c| !forecast.contains(&c) && dated(c))
    }

    /// What stands in a column where nothing is missing.
    pub(super) fn texts(&self, column: usize) -> impl Iterator<Item = &str> {
        let texts = self.rows.iter().map(move |row| &row[column]);
        texts.filter(|text| !is_missing(text))
    }

    /// The first column of numbers that has a name, and not one of dates: an index or a calendar is no series, nor is one that
    /// counts the rows if there are others.
    pub(super) fn default_column(&mut self, dates: Option<usize>) -> Result<usize, String> {
        let columns = 0..self.header.len();
        let numeric = columns.filter(|&c| Some(c) != dates && self.is_numeric(c));
        let numeric: Vec<usize> = numeric.collect();
        let series = numeric.iter().filter(|&&c| is_series(&self.header[c]));
        let mut series: Vec<usize> = series.copied().collect();
        if series.iter().any(|&c| !self.is_counter(c)) {
            series.retain(|&c| !self.is_counter(c));
        }
        match series[..] {
            [] if numeric.is_empty() => Err(self.without_numbers(dates)),
            [] => Err(
                "its columns of numbers have no name or one of dates: choose one with --column"
                    .to_owned(),
            ),
            [only] => Ok(only),
            [first, ..] => {
                self.notes.push(format!(
                    "column {} is forecast, the first of {} with numbers: choose another with --column",
                    quoted(&self.header[first]),
                    series.len()
                ));
                Ok(first)
            }
        }
    }

    /// That there is no column of numbers, with a value that keeps the nearest to one from being it.
    fn without_numbers(&self, dates: Option<usize>) -> String {
        let with_digits = |c: usize| {
            let texts = self.rows.iter().filter(move |row| has_digits(&row[c]));
            texts.filter(move |row| !are_dates(&[&row[c]]))
        };
        let columns = (0..self.header.len()).filter(|c| Some(*c) != dates);
        // Of the same counts the last is taken: from the last to the first it is the first.
        let nearest = columns.rev().max_by_key(|c| with_digits(*c).count());
        let odd = nearest.and_then(|c| {
            let mut rows = with_digits(c).filter(move |row| self.number(&row[c]).is_none());
            rows.next().map(|row| (row, c))
        });
        match odd {
            None => "it has no column of numbers: give a file with one".to_owned(),
            Some((row, c)) => format!(
                "it has no column of numbers, as '{}' in line {} of column {} is none: write it as 1234.5, without a unit or marks \
                 between thousands",
                quoted(&row[c]),
                line(row),
                quoted(&self.header[c])
            ),
        }
    }

    /// Whether the values rise or fall by 1 from row to row, or by as much as in all other rows, if they are at least [`EVEN`].
    fn is_counter(&self, column: usize) -> bool {
        let values = self.rows.iter().map(|row| self.number(&row[column]));
        let values: Vec<f64> = values.collect::<Option<_>>().unwrap_or_default();
        let (Some(first), Some(last)) = (values.first(), values.last()) else {
            return false;
        };
        let step = (last - first) / (values.len() - 1).max(1) as f64;
        let even = (values.iter().zip(0..)).all(|(value, row)| {
            let rounding = 1e-12 * (first.abs() + last.abs());
            (value - (first + step * f64::from(row))).abs() <= rounding
        });
        even && (step.abs() == 1.0 || step != 0.0 && values.len() >= EVEN)
    }

    /// Whether half of the values are numbers.
    fn is_numeric(&self, column: usize) -> bool {
        let texts = self.rows.iter().map(|row| &row[column]);
        let numbers = texts.filter(|text| self.number(text).is_some()).count();
        numbers > 0 && 2 * numbers >= self.rows.len()
    }

    /// A number, or `None` where there is none.
    pub(super) fn value(&self, row: &StringRecord, column: usize) -> Result<Option<f64>, String> {
        let text = &row[column];
        if is_missing(text) {
            return Ok(None);
        }
        let found = self.number(text).filter(|x| x.abs() <= LARGEST);
        found.map(Some).ok_or_else(|| {
            format!(
                "line {}: '{}' in column {} is not a number up to {LARGEST:e}: write it as 1234.5, or leave it empty if it is missing",
                line(row),
                quoted(text),
                quoted(&self.header[column])
            )
        })
    }

    fn number(&self, text: &str) -> Option<f64> {
        number(text, self.decimal_comma)
    }
}

/// Whether a column of that name may be forecast unasked.
fn is_series(name: &str) -> bool {
    let mut dates = DATE_NAMES.iter().chain(&DATE_PARTS);
    !name.is_empty() && !dates.any(|date| date.eq_ignore_ascii_case(name))
}

fn has_digits(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit())
}

pub(super) fn is_missing(text: &str) -> bool {
    MISSING
        .iter()
        .any(|missing| text.eq_ignore_ascii_case(missing))
}

/// The start of a text of the file, as it may be printed.
pub(super) fn quoted(text: &str) -> String {
    let rest = text.chars().nth(QUOTED).map(|_| '…');
    let start: String = text.chars().take(QUOTED).chain(rest).collect();
    printable(&start)
}

/// A text without what could break a line or a picture, or steer a terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, REPLACEMENT)
}

pub(super) fn line(row: &StringRecord) -> u64 {
    row.position().map_or(0, csv::Position::line)
}

/// What is wrong with the file as a table.
fn sentence(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => format!(
            "line {} has {len} fields where the first line has {expected_len}: correct it",
            pos.as_ref().map_or(0, csv::Position::line)
        ),
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8 text: save it as UTF-8".to_owned(),
        _ => format!("it cannot be read as CSV: {error}"),
    }
}

const DATE_NAMES: [&str; 8] = [
    "date",
    "datetime",
    "time",
    "timestamp",
    "day",
    "month",
    "year",
    "ds",
];
/// Names of columns that hold a part of a date.
const DATE_PARTS: [&str; 6] = ["hour", "minute", "second", "week", "weekday", "quarter"];
const MISSING: [&str; 10] = [
    "", "NA", "N/A", "#N/A", "NaN", "null", "none", "-", ".", "?",
];
/// Stands for a control character.
const REPLACEMENT: &str = "\u{fffd}";
/// Characters of a text that are quoted.
const QUOTED: usize = 40;
/// Columns that are listed.
const LISTED: usize = 12;
/// Rows in which equal differences are no chance.
const EVEN: usize = 4;

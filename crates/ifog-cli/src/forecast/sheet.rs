//! A CSV file as it stands.

use csv::StringRecord;
use ifog::forecast::LARGEST;

use super::dates::moments;

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
        let has_heading = |row: &StringRecord| row.iter().any(|text| sheet.number(text).is_none());
        if rows.first().is_some_and(|row| !has_heading(row)) {
            sheet.header = (1..=rows[0].len()).map(|c| c.to_string()).collect();
            let note = "it has no heading: its columns are called 1, 2, …";
            sheet.notes.push(note.to_owned());
        } else if !rows.is_empty() {
            sheet.header = rows.remove(0);
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

    /// The column of that name, or the only one that differs from it in upper and lower case alone.
    pub(super) fn column(&self, name: &str) -> Result<usize, String> {
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

    /// A column that is called as one of dates and begins with one.
    pub(super) fn default_dates(&mut self) -> Option<usize> {
        let found = DATE_NAMES.iter().find_map(|name| self.column(name).ok())?;
        let mut texts = self.rows.iter().map(|row| &row[found]);
        let first = texts.find(|text| !is_missing(text));
        if first.is_some_and(|text| moments(&[text]).is_ok()) {
            return Some(found);
        }
        self.notes.push(format!(
            "its column {} does not begin with a date and is not used: name the dates with --date",
            quoted(&self.header[found])
        ));
        None
    }

    /// `Close`, or the first column of which half of the values are numbers.
    pub(super) fn default_column(&self, dates: Option<usize>) -> Result<usize, String> {
        if let Ok(close) = self.column("close") {
            return Ok(close);
        }
        let numeric = |c: usize| {
            let numbers = self.rows.iter().filter(|r| self.number(&r[c]).is_some());
            let numbers = numbers.count();
            numbers > 0 && 2 * numbers >= self.rows.len()
        };
        let found = (0..self.header.len()).find(|&c| Some(c) != dates && numeric(c));
        found.ok_or_else(|| "it has no column of numbers: give a file with one".to_owned())
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
        let number = match self.decimal_comma && !text.contains('.') {
            true => text.replace(',', ".").parse::<f64>(),
            false => text.parse(),
        };
        number.ok().filter(|x| !x.is_nan())
    }
}

pub(super) fn is_missing(text: &str) -> bool {
    MISSING
        .iter()
        .any(|missing| text.eq_ignore_ascii_case(missing))
}

/// The start of a text of the file, without what could break the line or steer a terminal.
pub(super) fn quoted(text: &str) -> String {
    let shown = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    let rest = text.chars().nth(QUOTED).map(|_| '…');
    text.chars().take(QUOTED).map(shown).chain(rest).collect()
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
const MISSING: [&str; 10] = [
    "", "NA", "N/A", "#N/A", "NaN", "null", "none", "-", ".", "?",
];
/// Characters of a text that are quoted.
const QUOTED: usize = 40;
/// Columns that are listed.
const LISTED: usize = 12;

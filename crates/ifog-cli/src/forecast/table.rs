//! A series in a CSV file: columns of numbers, and dates if there are any.

use std::path::Path;

use csv::StringRecord;
use ifog::corpus::{CorpusError, read_corpus_file};
use ifog::forecast::LARGEST;

use super::dates::moments;
use crate::failure::Failure;

/// Columns of equal length, at least 1, in the order of time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    /// Names of the columns; the first is to be forecast.
    pub(crate) names: Vec<String>,
    /// Their values.
    pub(crate) columns: Vec<Vec<f64>>,
    /// A label of each row: its date as it stands in the file, or its number.
    pub(crate) labels: Vec<String>,
    /// What the reader should know: rows left out, gaps, the order.
    pub(crate) notes: Vec<String>,
}

/// A file as it stands.
struct Sheet {
    header: StringRecord,
    rows: Vec<StringRecord>,
    /// Whether numbers may have a decimal comma: where commas do not part the fields.
    decimal_comma: bool,
    notes: Vec<String>,
}

impl Table {
    /// Reads the named columns (without names: `Close`, or else the first one that holds numbers) and the dates of `date`
    /// (without a name: of a column called date, time or the like).
    pub(crate) fn read(path: &Path, names: &[String], date: Option<&str>) -> Result<Self, Failure> {
        let bytes = match read_corpus_file(path) {
            // As good as one without rows.
            Err(CorpusError::EmptyFile { .. }) => Vec::new(),
            read => read?,
        };
        Self::parse(&bytes, names, date)
            .map_err(|reason| Failure::work(format!("{}: {reason}", path.display())))
    }

    fn parse(bytes: &[u8], names: &[String], date: Option<&str>) -> Result<Self, String> {
        let mut sheet = Sheet::parse(bytes)?;
        let dates = match date {
            Some(name) => Some(sheet.column(name)?),
            None => sheet.default_dates(),
        };
        let chosen = match names {
            [] => vec![sheet.default_column(dates)?],
            names => names
                .iter()
                .map(|name| sheet.column(name))
                .collect::<Result<_, _>>()?,
        };
        let mut table = Self {
            names: chosen.iter().map(|&c| sheet.header[c].to_owned()).collect(),
            columns: vec![Vec::new(); chosen.len()],
            labels: Vec::new(),
            notes: std::mem::take(&mut sheet.notes),
        };
        let mut kept = Vec::new();
        for row in &sheet.rows {
            let values = chosen.iter().map(|&c| sheet.value(row, c));
            let values: Option<Vec<f64>> = values.collect::<Result<_, _>>()?;
            let dated = dates.is_none_or(|c| !is_missing(&row[c]));
            if let Some(values) = values.filter(|_| dated) {
                for (column, value) in table.columns.iter_mut().zip(values) {
                    column.push(value);
                }
                kept.push(row);
            }
        }
        if kept.is_empty() {
            return Err("no row has a value in every column: name others".to_owned());
        }
        if kept.len() < sheet.rows.len() {
            table.notes.push(format!(
                "{} of {} rows have missing values and are left out",
                sheet.rows.len() - kept.len(),
                sheet.rows.len()
            ));
        }
        table.labels = match dates {
            None => (1..=kept.len()).map(|row| row.to_string()).collect(),
            Some(column) => kept.iter().map(|row| row[column].to_owned()).collect(),
        };
        if let Some(column) = dates {
            table.check_order(&kept, &sheet.header[column])?;
        }
        Ok(table)
    }

    /// Turns rows around that run backwards, and reports gaps. The labels are the dates.
    fn check_order(&mut self, rows: &[&StringRecord], name: &str) -> Result<(), String> {
        let mut moments = moments(&self.labels).map_err(|row| {
            let before = if row == 0 { "" } else { " like those before it" };
            format!(
                "line {}: '{}' in column {name} is not a date{before}: write dates as 2024-12-31, or name another column with --date",
                line(rows[row]),
                self.labels[row]
            )
        })?;
        if moments.len() > 1 && moments.windows(2).all(|pair| pair[0] > pair[1]) {
            moments.reverse();
            self.labels.reverse();
            self.columns.iter_mut().for_each(|c| c.reverse());
            self.notes.push(
                "its rows run backwards in time and are read from the last to the first".to_owned(),
            );
        }
        if let Some(at) = moments.windows(2).position(|pair| pair[0] >= pair[1]) {
            let what = if moments[at] == moments[at + 1] {
                "the same date as"
            } else {
                "an earlier date than"
            };
            return Err(format!(
                "line {} has {what} the row before it, {} after {}: sort the file by {name}, one row a date",
                line(rows[at + 1]),
                self.labels[at + 1],
                self.labels[at]
            ));
        }
        let steps = moments.windows(2).map(|pair| pair[1] - pair[0]);
        let mut steps: Vec<(f64, usize)> = steps.zip(0..).collect();
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let (Some(&(usual, _)), Some(&(largest, at))) =
            (steps.get(steps.len() / 2), steps.last())
            && largest > 5.0 * usual
        {
            self.notes.push(format!(
                "largest gap: {} to {}, {:.0} times the usual step",
                self.labels[at],
                self.labels[at + 1],
                largest / usual
            ));
        }
        Ok(())
    }
}

impl Sheet {
    /// Reads fields parted by semicolons, tabs or commas, whichever of them the first line has, in this order.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
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

    /// The column of that name.
    fn column(&self, name: &str) -> Result<usize, String> {
        let found = self
            .header
            .iter()
            .position(|h| h.eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let known = self.header.iter().collect::<Vec<_>>().join(", ");
            format!("it has no column '{name}': name one of {known}")
        })
    }

    /// A column that is called as one of dates and begins with one.
    fn default_dates(&mut self) -> Option<usize> {
        let found = DATE_NAMES.iter().find_map(|name| self.column(name).ok())?;
        let mut texts = self.rows.iter().map(|row| &row[found]);
        let first = texts.find(|text| !is_missing(text));
        if first.is_some_and(|text| moments(&[text]).is_ok()) {
            return Some(found);
        }
        self.notes.push(format!(
            "its column {} does not begin with a date and is not used: name the dates with --date",
            &self.header[found]
        ));
        None
    }

    /// `Close`, or the first column of which half of the values are numbers.
    fn default_column(&self, dates: Option<usize>) -> Result<usize, String> {
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
    fn value(&self, row: &StringRecord, column: usize) -> Result<Option<f64>, String> {
        let text = &row[column];
        if is_missing(text) {
            return Ok(None);
        }
        let found = self.number(text).filter(|x| x.abs() <= LARGEST);
        found.map(Some).ok_or_else(|| {
            format!(
                "line {}: '{text}' in column {} is not a number up to {LARGEST:e}: write it as 1234.5, or leave it empty if it is missing",
                line(row),
                &self.header[column]
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

fn is_missing(text: &str) -> bool {
    MISSING
        .iter()
        .any(|missing| text.eq_ignore_ascii_case(missing))
}

fn line(row: &StringRecord) -> u64 {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn read(text: &str) -> Result<Table, String> {
        Table::parse(text.as_bytes(), &[], None)
    }

    #[test]
    fn a_mark_at_the_start_quotes_and_line_ends_do_not_matter() {
        let table =
            read("\u{feff}Date,\"Close\"\r\n\"1/4/1999\",\"1.5\"\r\n1/15/1999, 2.5 \r\n\r\n")
                .unwrap();
        assert_eq!(table.names, ["Close"]);
        assert_eq!(table.columns, [[1.5, 2.5]]);
        assert_eq!(table.labels, ["1/4/1999", "1/15/1999"]);
        assert_eq!(table.notes, Vec::<String>::new());
    }

    #[test]
    fn semicolons_tabs_and_decimal_commas_are_read() {
        let table = read("Datum;\"Preis, EUR\"\r\n1;1,5\r\n2;-2\r\n3;1.25\r\n").unwrap();
        assert_eq!(table.columns[0], [1.0, 2.0, 3.0]);
        let names = ["Preis, EUR".to_owned()];
        let text = b"Date;\"Preis, EUR\"\n4.1.1999;1,5\n5.1.1999;-2\n6.1.1999;1.25\n";
        let table = Table::parse(text, &names, None).unwrap();
        assert_eq!(table.columns, [[1.5, -2.0, 1.25]]);
        assert_eq!(read("x\ty\n1\t2\n3\t4\n").unwrap().columns, [[1.0, 3.0]]);
        // Two marks may be anything.
        let error = read("y;z\n1.234,5;1\n2;2\n3;3\n").unwrap_err();
        assert!(
            error.contains("'1.234,5' in column y is not a number"),
            "{error}"
        );
        // A comma in quotes does not part fields, and is no decimal comma where others do.
        assert_eq!(read("\"x;y\",z\n1,2\n").unwrap().columns, [[1.0]]);
        assert!(read("y,z\n\"1,5\",1\n2,2\n").unwrap_err().contains("'1,5'"));
    }

    #[test]
    fn a_file_without_heading_has_numbers_for_names() {
        let table = read("5\n6\n7\n").unwrap();
        assert_eq!(
            (&table.names[0][..], &table.columns[0][..]),
            ("1", &[5.0, 6.0, 7.0][..])
        );
        assert!(table.notes[0].contains("no heading"));
    }

    #[test]
    fn columns_are_found_and_missing_values_reported() {
        let text = "name,x,y\na,1,2\nb,NA,3\nc,4,\nd,5,6\n";
        assert_eq!(read(text).unwrap().columns, [[1.0, 4.0, 5.0]]);
        let names = ["Y".to_owned(), "x".to_owned()];
        let table = Table::parse(text.as_bytes(), &names, None).unwrap();
        assert_eq!(table.columns, [[2.0, 6.0], [1.0, 5.0]]);
        assert!(
            table.notes[0].starts_with("2 of 4 rows"),
            "{:?}",
            table.notes
        );
    }

    #[test]
    fn order_and_gaps_are_seen() {
        let table = read("date,y\n3.1.2020,3\n2.1.2020,2\n1.1.2020,1\n").unwrap();
        assert_eq!(table.columns, [[1.0, 2.0, 3.0]]);
        assert!(table.notes[0].contains("backwards"));
        let gap = read("day,y\n2020-01-01,1\n2020-01-02,2\n2020-01-03,2\n2020-03-01,1\n").unwrap();
        assert!(
            gap.notes[0].contains("2020-01-03 to 2020-03-01, 58 times"),
            "{:?}",
            gap.notes
        );
        // A column that only has the name of dates is a column like others.
        let idle = read("time,y\nnoon,1\nlater,2\n").unwrap();
        assert_eq!(idle.labels, ["1", "2"]);
        assert!(idle.notes[0].contains("column time does not begin with a date"));
        let asked = Table::parse(b"time,y\nnoon,1\n", &[], Some("time")).unwrap_err();
        assert!(
            asked.contains("line 2: 'noon' in column time is not a date:"),
            "{asked}"
        );
    }

    #[test]
    fn every_fault_has_a_sentence() {
        for (text, part) in [
            ("", "no rows"),
            ("date,y\n", "no rows"),
            (
                "date,y\n2020-01-01,1\n2020-01-02,one\n",
                "line 3: 'one' in column y is not a number",
            ),
            (
                "date,y\n2020-01-01,1\n2020-01-02,2,3\n",
                "line 3 has 3 fields",
            ),
            (
                "date,y\n2020-01-02,1\n2020-01-01,2\n2020-01-03,2\n",
                "line 3 has an earlier date",
            ),
            (
                "date,y\n2020-01-02,1\n2020-01-02,2\n",
                "line 3 has the same date",
            ),
            ("date,y\n2020-01-02,1\nyesterday,2\n", "line 3: 'yesterday'"),
            ("a,b\nx,y\n", "no column of numbers"),
            ("date,y\n2020-01-01,inf\n2020-01-02,1\n", "'inf'"),
            ("date,y\n2020-01-01,1e308\n2020-01-02,1\n", "'1e308'"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        let columns = ["a".to_owned(), "b".to_owned()];
        let none = Table::parse(b"a,b\n1,\n,2\n", &columns, None).unwrap_err();
        assert!(none.contains("no row has a value"), "{none}");
        let missing = Table::parse(b"a,b\n1,2\n", &["c".to_owned()], None).unwrap_err();
        assert!(
            missing.contains("no column 'c': name one of a, b"),
            "{missing}"
        );
        assert!(
            Table::parse(b"a\n\xff\n", &[], None)
                .unwrap_err()
                .contains("UTF-8")
        );
    }
}

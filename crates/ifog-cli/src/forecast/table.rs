//! A series in a CSV file: columns of numbers, and dates if there are any.

use std::path::Path;

use chrono::{NaiveDate, NaiveDateTime};
use csv::StringRecord;
use ifog::corpus::read_corpus_file;

use crate::failure::Failure;

/// Columns of equal length in the order of time.
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

impl Table {
    /// Reads the named columns (without names: `Close`, or else the first one that holds numbers) and the dates of `date`
    /// (without a name: of a column called date, time or the like).
    pub(crate) fn read(path: &Path, names: &[String], date: Option<&str>) -> Result<Self, Failure> {
        let bytes = read_corpus_file(path)?;
        Self::parse(&bytes, names, date)
            .map_err(|reason| Failure::work(format!("{}: {reason}", path.display())))
    }

    fn parse(bytes: &[u8], names: &[String], date: Option<&str>) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(bytes);
        let header = reader.headers().map_err(|error| sentence(&error))?.clone();
        let rows: Vec<StringRecord> = reader
            .records()
            .collect::<Result<_, _>>()
            .map_err(|error| sentence(&error))?;
        if rows.is_empty() {
            return Err(
                "it has no rows below its heading: give a file with a heading and values"
                    .to_owned(),
            );
        }
        let find = |name: &str| {
            let found = header.iter().position(|h| h.eq_ignore_ascii_case(name));
            found.ok_or_else(|| {
                let known = header.iter().collect::<Vec<_>>().join(", ");
                format!("it has no column '{name}': name one of {known}")
            })
        };
        let date = match date {
            Some(name) => Some(find(name)?),
            None => DATE_NAMES.iter().find_map(|name| find(name).ok()),
        };
        let chosen = match names {
            [] => vec![default_column(&header, &rows, date)?],
            names => names
                .iter()
                .map(|name| find(name))
                .collect::<Result<_, _>>()?,
        };
        let mut table = Self {
            names: chosen.iter().map(|&c| header[c].to_owned()).collect(),
            columns: vec![Vec::new(); chosen.len()],
            labels: Vec::new(),
            notes: Vec::new(),
        };
        let mut kept = Vec::new();
        for row in &rows {
            let values = chosen.iter().map(|&c| value(row, c, &header[c]));
            let values: Vec<Option<f64>> = values.collect::<Result<_, _>>()?;
            let dated = date.is_none_or(|c| !is_missing(&row[c]));
            if let (Some(values), true) = (values.into_iter().collect::<Option<Vec<f64>>>(), dated)
            {
                for (column, value) in table.columns.iter_mut().zip(values) {
                    column.push(value);
                }
                kept.push(row);
            }
        }
        if kept.is_empty() {
            return Err("no row has a value in every column: name others".to_owned());
        }
        if kept.len() < rows.len() {
            let missing = rows.len() - kept.len();
            table.notes.push(format!(
                "{missing} of {} rows have missing values and are left out",
                rows.len()
            ));
        }
        table.labels = match date {
            None => (1..=kept.len()).map(|row| row.to_string()).collect(),
            Some(column) => kept.iter().map(|row| row[column].to_owned()).collect(),
        };
        if let Some(column) = date {
            table.check_order(&kept, column, &header[column])?;
        }
        Ok(table)
    }

    /// Turns rows around that run backwards, and reports gaps.
    fn check_order(
        &mut self,
        rows: &[&StringRecord],
        column: usize,
        name: &str,
    ) -> Result<(), String> {
        let mut dates = dates(rows, column, name)?;
        if dates.len() > 1 && dates.windows(2).all(|pair| pair[0] > pair[1]) {
            dates.reverse();
            self.labels.reverse();
            self.columns.iter_mut().for_each(|c| c.reverse());
            self.notes.push(
                "its rows run backwards in time and are read from the last to the first".to_owned(),
            );
        }
        if let Some(at) = dates.windows(2).position(|pair| pair[0] >= pair[1]) {
            let what = if dates[at] == dates[at + 1] {
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
        let mut steps: Vec<(i64, usize)> = dates
            .windows(2)
            .enumerate()
            .map(|(at, pair)| ((pair[1] - pair[0]).num_seconds(), at))
            .collect();
        steps.sort_unstable();
        if let (Some(&(usual, _)), Some(&(largest, at))) =
            (steps.get(steps.len() / 2), steps.last())
            && largest > 5 * usual
        {
            self.notes.push(format!(
                "largest gap: {} to {}, {:.0} times the usual step",
                self.labels[at],
                self.labels[at + 1],
                largest as f64 / usual as f64
            ));
        }
        Ok(())
    }
}

/// The dates of all rows, in the first format that fits every one of them.
fn dates(rows: &[&StringRecord], column: usize, name: &str) -> Result<Vec<NaiveDateTime>, String> {
    let mut best = (0, None);
    for format in DATE_FORMATS {
        let parsed: Vec<NaiveDateTime> = rows
            .iter()
            .map_while(|row| date(&row[column], format))
            .collect();
        match rows.get(parsed.len()) {
            None => return Ok(parsed),
            Some(row) if parsed.len() >= best.0 => best = (parsed.len(), Some(*row)),
            Some(_) => {}
        }
    }
    let row = best.1.unwrap_or(rows[0]);
    Err(format!(
        "line {}: '{}' in column {name} is not a date like those before it: write dates as 2024-12-31",
        line(row),
        &row[column]
    ))
}

fn date(text: &str, format: &str) -> Option<NaiveDateTime> {
    if format.contains("%H") {
        return NaiveDateTime::parse_from_str(text, format).ok();
    }
    NaiveDate::parse_from_str(text, format)
        .ok()?
        .and_hms_opt(0, 0, 0)
}

/// `Close`, or the first column of which half of the values are numbers.
fn default_column(
    header: &StringRecord,
    rows: &[StringRecord],
    date: Option<usize>,
) -> Result<usize, String> {
    if let Some(close) = header.iter().position(|h| h.eq_ignore_ascii_case("close")) {
        return Ok(close);
    }
    let numeric = |c: usize| {
        let numbers = rows
            .iter()
            .filter(|row| matches!(value(row, c, ""), Ok(Some(_))));
        let numbers = numbers.count();
        numbers > 0 && 2 * numbers >= rows.len()
    };
    let found = (0..header.len()).find(|&c| Some(c) != date && numeric(c));
    found.ok_or_else(|| "it has no column of numbers: give a file with one".to_owned())
}

/// A number, or `None` where there is none.
fn value(row: &StringRecord, column: usize, name: &str) -> Result<Option<f64>, String> {
    let text = &row[column];
    if is_missing(text) {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(Some(x)),
        _ => Err(format!(
            "line {}: '{text}' in column {name} is not a number: correct it, or leave it empty if it is missing",
            line(row)
        )),
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
            "line {} has {len} fields where the heading has {expected_len}: correct it",
            pos.as_ref().map_or(0, csv::Position::line)
        ),
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8 text: save it as UTF-8".to_owned(),
        _ => format!("it cannot be read as CSV: {error}"),
    }
}

const DATE_NAMES: [&str; 7] = [
    "date",
    "datetime",
    "time",
    "timestamp",
    "day",
    "month",
    "ds",
];
/// In the order they are tried: 1/2/2020 is the second of January unless a later row says otherwise.
const DATE_FORMATS: [&str; 13] = [
    "%Y-%m-%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%Y/%m/%d",
    "%Y%m%d",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M",
    "%m/%d/%Y %H:%M",
];
const MISSING: [&str; 7] = ["", "NA", "N/A", "NaN", "null", "-", "."];

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
            read("\u{feff}Date,\"Close\"\r\n\"1/4/1999\",\"1.5\"\r\n1/15/1999, 2.5 \r\n").unwrap();
        assert_eq!(table.names, ["Close"]);
        assert_eq!(table.columns, [[1.5, 2.5]]);
        assert_eq!(table.labels, ["1/4/1999", "1/15/1999"]);
        assert_eq!(table.notes, Vec::<String>::new());
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
        // The day comes first if only that fits.
        assert!(read("date,y\n12/1/2020,1\n13/1/2020,2\n").is_ok());
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

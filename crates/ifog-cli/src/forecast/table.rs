//! A series in a CSV file: columns of numbers, and dates if there are any.

use csv::StringRecord;

use super::dates::moments;
use super::sheet::{Sheet, is_missing, line, quoted};

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

impl Table {
    /// Reads the named columns (without names: `Close`, or else the first one that holds numbers) and the dates of `date`
    /// (without a name: of a column called date, time or the like).
    ///
    /// # Errors
    /// A sentence of one line: what is wrong in which line, and what to do.
    pub(crate) fn parse(
        bytes: &[u8],
        names: &[String],
        date: Option<&str>,
    ) -> Result<Self, String> {
        let mut sheet = Sheet::parse(bytes)?;
        let dates = match date {
            Some(name) => match sheet.column(name) {
                Err(_) if name == NO_DATES => None,
                column => Some(column?),
            },
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
                "line {}: '{}' in column {} is not a date{before}: write dates as 2024-12-31, or name another column with --date",
                line(rows[row]),
                quoted(&self.labels[row]),
                quoted(name)
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
                "line {} has {what} the row before it, {} after {}: sort the file by {}, one row a date, or give --date {NO_DATES} if its rows are in order",
                line(rows[at + 1]),
                quoted(&self.labels[at + 1]),
                quoted(&self.labels[at]),
                quoted(name)
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
                quoted(&self.labels[at]),
                quoted(&self.labels[at + 1]),
                largest / usual
            ));
        }
        Ok(())
    }
}

/// The name for no column of dates, unless one is called so.
const NO_DATES: &str = "none";

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
    fn a_name_stands_for_one_column() {
        let column = |text: &str, name: &str| {
            Table::parse(text.as_bytes(), &[name.to_owned()], None).map(|t| t.columns[0].clone())
        };
        let cases = "y,Y,Z\n1,2,3\n";
        assert_eq!(column(cases, "y"), Ok(vec![1.0]));
        assert_eq!(column(cases, "Y"), Ok(vec![2.0]));
        assert_eq!(column(cases, "z"), Ok(vec![3.0]));
        let twice = column("x,x\n1,2\n", "x").unwrap_err();
        assert!(twice.contains("2 columns called 'x'"), "{twice}");
        assert!(column("Xx,xX\n1,2\n", "xx").is_err());
    }

    #[test]
    fn a_sentence_is_one_short_line() {
        let long = "y".repeat(500);
        for text in [
            "y\n1\n\"a\nb\u{1b}[2J\"\n".to_owned(),
            format!("y\n1\n{long}\n"),
            format!("date,y\n2020-01-01,1\n\"1\n{long}\",2\n"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(
                error.len() < 300 && !error.contains(char::is_control),
                "{error:?}"
            );
        }
        let header: Vec<String> = (0..1000).map(|k| format!("column {k}")).collect();
        let wide = format!("{}\n{}\n", header.join(","), vec!["1"; 1000].join(","));
        let error = Table::parse(wide.as_bytes(), &[long], None).unwrap_err();
        assert!(
            error.len() < 400 && error.ends_with("column 11, …"),
            "{error}"
        );
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
        // Months that begin anew are no order, but the rows may be in one.
        let months = "year,month,y\n2019,12,1\n2020,1,2\n2020,2,3\n";
        let error = read(months).unwrap_err();
        assert!(
            error.contains("1 after 12") && error.contains("--date none"),
            "{error}"
        );
        let names = ["y".to_owned()];
        let unordered = Table::parse(months.as_bytes(), &names, Some("none")).unwrap();
        assert_eq!(
            (unordered.labels[2].as_str(), &unordered.columns[0][..]),
            ("3", &[1.0, 2.0, 3.0][..])
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

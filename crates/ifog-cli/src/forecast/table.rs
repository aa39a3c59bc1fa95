//! A series in a CSV file: columns of numbers, and dates if there are any.

use csv::StringRecord;

use super::dates::{EXAMPLES, moments};
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
    /// Reads the named columns (without names: `Close`, or else the first series of numbers) and the dates of `date` (without a
    /// name: of a column called date, time or the like, or else of the first that holds dates).
    ///
    /// # Errors
    /// A sentence of one line: what is wrong in which line, and what to do.
    pub(crate) fn parse(
        bytes: &[u8],
        names: &[String],
        date: Option<&str>,
    ) -> Result<Self, String> {
        let mut sheet = Sheet::parse(bytes)?;
        let mut chosen = match names {
            [] => sheet.column("close").into_iter().collect(),
            names => names
                .iter()
                .map(|name| sheet.column(name))
                .collect::<Result<Vec<_>, _>>()?,
        };
        if let Some((at, _)) = (1..).zip(&chosen).find(|(at, c)| chosen[*at..].contains(c)) {
            let name = quoted(&sheet.header[chosen[at - 1]]);
            return Err(format!(
                "column {name} is asked for twice: give --column once for each"
            ));
        }
        let dates = match date {
            Some(name) => match sheet.column(name) {
                Err(_) if name == NO_DATES => None,
                column => Some(column?),
            },
            None => sheet.default_dates(&chosen),
        };
        if chosen.is_empty() {
            chosen.push(sheet.default_column(dates)?);
        }
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
        } else if date.is_none() {
            table.notes.push(format!(
                "it has no column of dates as {EXAMPLES}: its rows are taken in the order of the file"
            ));
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
        assert_eq!(table.columns[0], [1.5, -2.0, 1.25]);
        let names = ["Preis, EUR".to_owned()];
        let text = b"Date;\"Preis, EUR\"\n4.1.1999;1,5\n5.1.1999;-2\n6.1.1999;1.25\n";
        let table = Table::parse(text, &names, None).unwrap();
        assert_eq!(table.columns, [[1.5, -2.0, 1.25]]);
        assert_eq!(read("x\ty\n1\t2\n3\t4\n").unwrap().columns, [[1.0, 3.0]]);
        // Two marks are thousands and decimals where they can be nothing else.
        let thousands = read("y;z\n1.234,5;1\n2;2\n3;3\n").unwrap();
        assert_eq!(thousands.columns, [[1234.5, 2.0, 3.0]]);
        let error = read("y;z\n1.23,5;1\n2;2\n4;3\n").unwrap_err();
        assert!(
            error.contains("'1.23,5' in column y is not a number"),
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
    fn a_first_row_of_values_and_dates_is_no_heading() {
        for text in [
            "2020-01-01,100.000\n2020-01-02,101\n",
            "31.12.2019;100,000\n1.1.2020;101\n",
            "2020-01-01,100,NA\n2020-01-02,101,\n",
            "2020-01-02 10:00,101\n2020-01-01 10:00,100\n",
        ] {
            let table = read(text).unwrap();
            assert_eq!(
                (&table.names[0][..], &table.columns[0][..]),
                ("2", &[100.0, 101.0][..]),
                "{text:?}"
            );
        }
        // A name makes a heading, and so does nothing above an index.
        assert_eq!(read("2020-01-01,y\n2020-01-02,1\n").unwrap().names, ["y"]);
        assert_eq!(read(",2020\n0,5\n1,6\n").unwrap().names, ["2020"]);
    }

    #[test]
    fn dates_are_found_whatever_their_column_is_called() {
        for name in ["Zeit", "Datum", "Period End", ""] {
            let table = read(&format!(
                "y,{name}\n3,2020-01-03\n,\n2,2020-01-02\n1,2020-01-01\n"
            ))
            .unwrap();
            assert_eq!(table.columns, [[1.0, 2.0, 3.0]], "{name}");
            assert_eq!(table.labels[0], "2020-01-01");
            assert!(table.notes[1].contains("backwards"), "{:?}", table.notes);
        }
        // The first of two; one that is not to be forecast; one that is called so before others.
        let two = "a,b,date\n20200101,2.1.2020,5\n20200102,1.1.2020,6\n";
        let labels = |text: &str, name: &str| {
            Table::parse(text.as_bytes(), &[name.to_owned()], None).map(|t| t.labels)
        };
        let unlisted = two.replace("date", "c");
        assert_eq!(labels(&unlisted, "c").unwrap(), ["20200101", "20200102"]);
        assert_eq!(labels(&unlisted, "a").unwrap(), ["1.1.2020", "2.1.2020"]);
        assert_eq!(labels(two, "a").unwrap(), ["5", "6"]);
        let close = unlisted.replace('a', "Close");
        assert_eq!(
            read(&close).unwrap().columns,
            [[20_200_102.0, 20_200_101.0]]
        );
        // Numbers and what is a date in part are none, and no dates are asked for with none.
        let order = "no column of dates as 2024-12-31";
        for text in ["Jahr,y\n2001,2\n2000,1\n", "t,y\n2020-01-02,2\nnoon,1\n"] {
            let table = Table::parse(text.as_bytes(), &["y".to_owned()], None).unwrap();
            assert_eq!(table.columns, [[2.0, 1.0]]);
            assert_eq!(table.notes.len(), 1);
            assert!(table.notes[0].contains(order), "{:?}", table.notes);
        }
        let none = Table::parse(b"Zeit,y\n2020-01-02,2\n2020-01-01,1\n", &[], Some("none"));
        assert_eq!(
            none.map(|t| (t.columns, t.notes)),
            Ok((vec![vec![2.0, 1.0]], vec![]))
        );
    }

    #[test]
    fn parts_of_dates_are_read_together() {
        let of = |text: &str| {
            let table = Table::parse(text.as_bytes(), &["y".to_owned()], None).unwrap();
            (table.labels, table.notes)
        };
        let (months, notes) = of("Year,Month,y\n2019,12,1\n2020,1,2\n2020,2,3\n");
        assert_eq!((&months[1][..], notes.len()), ("2020-01", 0));
        // Also where the months alone would do, and backwards.
        let (months, _) = of("month,y,year\n2,1,2020\n1,1,2020\n");
        assert_eq!(months, ["2020-01", "2020-02"]);
        let hours = "No,year,month,day,hour,y\n1,2010,1,2,23,5\n2,2010,1,3,0,7\n3,2010,1,3,1,6\n";
        let (labels, notes) = of(hours);
        assert_eq!((&labels[1][..], notes.len()), ("2010-01-03 00:00", 0));
        // A day that is a date needs no others, and rows in no order are an error as elsewhere.
        let (days, _) = of("year,month,day,y\n2020,1,2020-01-02,1\n2020,1,2020-01-03,1\n");
        assert_eq!(days[0], "2020-01-02");
        let error = read("year,month,y\n2020,2,1\n2020,1,1\n2020,3,1\n").unwrap_err();
        assert!(
            error.contains("2020-01 after 2020-02: sort the file by year-month"),
            "{error}"
        );
        // What does not say when a row was is no date: the rows stand in the order of the file.
        for text in [
            "month,y\n11,1\n12,2\n1,3\n",
            "year,quarter,y\n2019,4,1\n2020,1,2\n2020,2,3\n",
            "year,month,minute,y\n2020,1,0,1\n2020,1,1,2\n2020,2,0,2\n",
            "time,y\n22,1\n23,2\n0,3\n",
        ] {
            let (labels, notes) = of(text);
            assert_eq!(labels, ["1", "2", "3"]);
            assert!(
                notes[0].contains("holds parts of dates in no order"),
                "{notes:?}"
            );
            assert!(notes[1].contains("in the order of the file"), "{notes:?}");
        }
    }

    #[test]
    fn a_value_that_keeps_a_column_from_being_numbers_is_named() {
        for (text, value) in [
            (
                "name,Price\na,\"1,234\"\nb,\"2,345\"\n",
                "'1,234' in line 2 of column Price",
            ),
            (
                "name,Price\na,NA\nb,$5.00\n",
                "'$5.00' in line 3 of column Price",
            ),
            (
                "Date,Price\n2020-01-01,5%\n2020-01-02,6%\n",
                "'5%' in line 2 of column Price",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(
                error.contains(value) && error.contains("write it as"),
                "{error}"
            );
        }
        let none = read("Date,name\n2020-01-01,a\n2020-01-02,b\n").unwrap_err();
        assert!(none.ends_with("give a file with one"), "{none}");
        let thousands = read("Price,name\n\"1,234.50\",a\n\"987.00\",b\n").unwrap();
        assert_eq!(thousands.columns, [[1234.5, 987.0]]);
    }

    #[test]
    fn what_counts_the_rows_is_forecast_only_alone() {
        for text in ["No,y\n1,5\n2,6\n3,8\n", "i,hour,y\n9,1,5\n8,2,6\n7,4,8\n"] {
            let table = read(text).unwrap();
            assert_eq!(
                (&table.names[0][..], table.notes.len()),
                ("y", 1),
                "{:?}",
                table.notes
            );
        }
        assert_eq!(read("n,name\n1,a\n2,b\n").unwrap().names, ["n"]);
        // The clock of a machine, and an axis.
        for text in [
            "id,v\n1577836800,5\n1577840400,4\n1577844000,8\n1577847600,7\n",
            "x,y\n0,1\n0.1,4\n0.2,9\n0.30000000000000004,16\n",
        ] {
            assert_ne!(
                read(text).unwrap().names,
                [&text[..text.find(',').unwrap()]]
            );
        }
        // Two differences that are the same are chance.
        assert_eq!(read("x,y\n5,1\n7,4\n9,9\n").unwrap().names, ["x"]);
    }

    #[test]
    fn neither_an_index_nor_a_calendar_is_forecast_unasked() {
        let calendar = "Year,month,y\n2019,12,5\n2020,1,6\n";
        let undated = |text: &str| Table::parse(text.as_bytes(), &[], Some("none"));
        let table = undated(calendar).unwrap();
        assert_eq!((&table.names[0][..], table.notes.len()), ("y", 0));
        assert_eq!(read(",y\n0,5\n1,6\n").unwrap().names, ["y"]);
        let several = undated("year,name,y,z\n2019,a,5,1\n2020,b,7,3\n").unwrap();
        assert_eq!(several.names, ["y"]);
        assert_eq!(
            several.notes,
            ["column y is forecast, the first of 2 with numbers: choose another with --column"]
        );
        // Asked for they are, and alone they are no choice.
        let year = ["year".to_owned()];
        let asked = Table::parse(calendar.as_bytes(), &year, Some("none")).unwrap();
        assert_eq!(asked.columns, [[2019.0, 2020.0]]);
        let index = Table::parse(b",name\n7,a\n8,b\n", &[String::new()], None).unwrap();
        assert_eq!(index.columns, [[7.0, 8.0]]);
        let alone = read(",name\n7,a\n8,b\n").unwrap_err();
        assert!(alone.contains("choose one with --column"), "{alone}");
    }

    #[test]
    fn names_neither_steer_a_terminal_nor_break_a_picture() {
        let text = b"\"day\n\",\"y\x1b[2J\"\n2020-01-01,1\n2020-01-02,2\n";
        let table = Table::parse(text, &[], None).unwrap();
        assert_eq!(table.names, ["y\u{fffd}[2J"]);
        // Each is found as it stands in the file and as it is printed.
        for name in ["y\u{1b}[2J", "Y\u{fffd}[2j"] {
            let found = Table::parse(text, &[name.to_owned()], None);
            assert_eq!(found.as_ref(), Ok(&table), "{name:?}");
        }
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
        let asked_twice = Table::parse(b"y,z\n1,2\n", &["y".into(), "z".into(), "Y".into()], None);
        assert!(
            asked_twice
                .unwrap_err()
                .contains("column y is asked for twice")
        );
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
        // The days of one form are out of order, those of the other in it: the 1st, the 5th, the 1st of February.
        let either = read("date,y\n01/01/2000,1\n05/01/2000,2\n01/02/2000,3\n").unwrap();
        assert_eq!((either.labels.len(), either.notes.len()), (3, 0));
        let months = "year,month,y\n2019,12,1\n2020,1,2\n2020,2,3\n";
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
        assert!(idle.notes[0].contains("write dates as 2024-12-31, 12/31/2024"));
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

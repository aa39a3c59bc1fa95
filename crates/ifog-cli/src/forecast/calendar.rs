//! Columns that hold parts of dates: year, month, day, hour.

use std::ops::RangeInclusive;

use super::dates::moments;
use super::sheet::{Sheet, is_missing};

impl Sheet {
    /// Adds a column of dates that those of year and month, and of day and hour where there are such, make up together, if they
    /// do and name each moment once.
    pub(super) fn join_calendar(&mut self) -> Option<usize> {
        let columns = PARTS.iter().map_while(|part| self.column(part.name).ok());
        let columns: Vec<usize> = columns.collect();
        if columns.len() < 2 {
            return None;
        }
        let joined = self.rows.iter().map(|row| {
            let texts = columns.iter().map(|&c| &row[c]);
            joined(&texts.collect::<Vec<_>>())
        });
        let joined: Vec<String> = joined.collect::<Option<_>>()?;
        let mut pairs = joined.windows(2);
        if pairs.any(|pair| pair[0] == pair[1] && !pair[0].is_empty()) {
            return None;
        }
        for (row, date) in self.rows.iter_mut().zip(&joined) {
            row.push_field(date);
        }
        let names: Vec<&str> = columns.iter().map(|&c| &self.header[c]).collect();
        let name = names.join("-");
        self.header.push_field(&name);
        Some(self.header.len() - 1)
    }

    /// Whether a column is not called as a part of a date.
    pub(super) fn is_called_moment(&self, column: usize) -> bool {
        let mut parts = PARTS.iter();
        !parts.any(|part| self.header[column].eq_ignore_ascii_case(part.name))
    }

    /// Whether a column holds small whole numbers in no order: a part of a date, which does not say when a row was.
    pub(super) fn is_part_of_dates(&self, column: usize) -> bool {
        let is_year = self.header[column].eq_ignore_ascii_case(YEAR);
        let most = if is_year { LAST_YEAR } else { DAYS };
        let texts: Vec<&str> = self.texts(column).collect();
        let small = |text: &&str| text.parse::<u32>().is_ok_and(|x| x <= most);
        texts.iter().all(small)
            && moments(&texts).is_ok_and(|moments| {
                let steps = moments.windows(2).map(|pair| pair[1] - pair[0]);
                let (mut up, mut down) = (steps.clone(), steps);
                !up.all(|step| step > 0.0) && !down.all(|step| step < 0.0)
            })
    }
}

/// The date of these parts, nothing if one is missing; `None` if one cannot be such a part.
fn joined(texts: &[&str]) -> Option<String> {
    if texts.iter().any(|text| is_missing(text)) {
        return Some(String::new());
    }
    let mut date = String::new();
    for (text, part) in texts.iter().zip(PARTS) {
        let value: u32 = text.parse().ok()?;
        if !part.range.contains(&value) {
            return None;
        }
        let written = match part.name {
            YEAR => format!("{value:04}"),
            "hour" => format!(" {value:02}:00"),
            _ => format!("-{value:02}"),
        };
        date.push_str(&written);
    }
    Some(date)
}

/// A part of a date.
struct Part {
    name: &'static str,
    range: RangeInclusive<u32>,
}

const fn part(name: &'static str, range: RangeInclusive<u32>) -> Part {
    Part { name, range }
}

const PARTS: [Part; 4] = [
    part(YEAR, 1..=LAST_YEAR),
    part("month", 1..=12),
    part("day", 1..=31),
    part("hour", 0..=23),
];
const YEAR: &str = "year";
const LAST_YEAR: u32 = 9999;
/// The largest part of a date but a year: the day of a leap year.
const DAYS: u32 = 366;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_a_date() {
        assert_eq!(joined(&["2020", "1"]).as_deref(), Some("2020-01"));
        assert_eq!(joined(&["2020", "1", "31"]).as_deref(), Some("2020-01-31"));
        let hour = joined(&["2020", "12", "3", "0"]);
        assert_eq!(hour.as_deref(), Some("2020-12-03 00:00"));
        assert_eq!(joined(&["2020", "NA"]).as_deref(), Some(""));
        for none in [["2020", "13"], ["2020", "May"], ["0", "1"]] {
            assert_eq!(joined(&none), None, "{none:?}");
        }
    }
}

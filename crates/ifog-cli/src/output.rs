//! Standard output, which carries data and nothing else, and standard error, which carries the rest.
//!
//! `println!` and `eprintln!` panic when the other end is closed: nothing here uses them.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::failure::Failure;

/// Prints a line to standard output.
pub(crate) fn print_line(line: impl Display) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{line}").map_err(|error| Failure::output(&error))
}

/// Prints a table: the first column to the left, the others, which are numbers, to the right.
pub(crate) fn print_table(heading: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let heading = heading.iter().map(|name| (*name).to_owned()).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&heading).chain(rows).collect();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        print_line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// A path as a shell takes it for one word, in what a user is told to type.
pub(crate) fn shell_word(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "_-./+=:,@%".contains(c);
    match !path.is_empty() && path.chars().all(plain) {
        true => path,
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

/// How many there are of what a word names: 1 row, 2 rows.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A number with so many decimals, or a dash where there is none.
pub(crate) fn decimals(x: f64, digits: usize) -> String {
    match x.is_nan() {
        true => "–".to_owned(),
        false => format!("{x:.digits$}"),
    }
}

/// Prints a value to standard output as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print_line(serde_json::to_string(value)?)
}

/// Prints bytes to standard output at once: with a byte vocabulary a sample need not be UTF-8.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::output(&error))
}

/// Prints a line to standard error. That nobody reads it is no reason to end the work.
pub(crate) fn log(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A text for standard error: bytes that are no UTF-8, and control characters that could steer a
/// terminal, are replaced.
pub(crate) fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text)
        .chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_cannot_steer_the_terminal() {
        assert_eq!(
            printable(b"a\n\tb\x1b[2J\xff\r"),
            "a\n\tb\u{fffd}[2J\u{fffd}\u{fffd}"
        );
    }
}

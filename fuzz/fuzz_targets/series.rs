//! Whatever the bytes, a file of series is a table of finite columns or one line that says why not.
#![no_main]

use ifog::forecast::LARGEST;
use libfuzzer_sys::fuzz_target;
use table::Table;

// The command line is a program and no library: its reader is compiled in here.
#[path = "../../crates/ifog-cli/src/forecast/calendar.rs"]
mod calendar;
#[path = "../../crates/ifog-cli/src/forecast/dates.rs"]
mod dates;
#[path = "../../crates/ifog-cli/src/forecast/number.rs"]
mod number;
#[path = "../../crates/ifog-cli/src/forecast/sheet.rs"]
mod sheet;
#[path = "../../crates/ifog-cli/src/forecast/table.rs"]
mod table;

fuzz_target!(|data: &[u8]| {
    let Some(mut found) = read(data, &[], None) else {
        return;
    };
    // Its columns are found by their names, too, unless others have the same; then none was chosen among others.
    found.notes.retain(|note| !note.contains(" is forecast, the first of "));
    if let Some(named) = read(data, &found.names, None) {
        assert_eq!(found, named);
    }
    // Any column may hold the dates.
    read(data, &found.names, Some(&found.names[0]));
});

fn read(bytes: &[u8], names: &[String], date: Option<&str>) -> Option<Table> {
    let table = match Table::parse(bytes, names, date) {
        Ok(table) => table,
        Err(sentence) => {
            assert!(!sentence.contains(char::is_control), "{sentence:?}");
            assert!(sentence.len() < 1000, "{sentence:?}");
            return None;
        }
    };
    assert_eq!(table.names.len(), table.columns.len());
    assert!(!table.labels.is_empty());
    for column in &table.columns {
        assert_eq!(column.len(), table.labels.len());
        assert!(column.iter().all(|value| value.abs() <= LARGEST));
    }
    for note in &table.notes {
        assert!(!note.contains(char::is_control), "{note:?}");
    }
    Some(table)
}

//! A row of the old database as it is: SQLite lets a column hold anything, whatever its declared type, so every cell is asked what it is.

use std::collections::BTreeMap;

use serde_json::Value;

/// The longest text that is read from a cell, in bytes. The JSON of a pipeline over thousands of apps is well below it.
pub const CELL_BYTES_MAX: i64 = 8 * 1024 * 1024;

/// What a cell holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Cell {
    /// Nothing; also a column that the table does not have.
    #[default]
    Null,
    /// A whole number.
    Int(i64),
    /// Another number.
    Real(f64),
    /// A text; what was not UTF-8 is replaced.
    Text(String),
    /// More than [`CELL_BYTES_MAX`], and not read; or bytes that are no text.
    Unreadable,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row {
    /// Its table.
    pub table: &'static str,
    /// Its rowid, which is also the column `id` of the old tables.
    pub id: i64,
    /// Its cells by column.
    pub cells: BTreeMap<&'static str, Cell>,
}

impl Row {
    /// A cell; [`Cell::Null`] when there is no such column.
    #[must_use]
    pub fn cell(&self, column: &str) -> &Cell {
        const NULL: &Cell = &Cell::Null;
        self.cells.get(column).unwrap_or(NULL)
    }

    /// A text that is not empty, without the blanks around it.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.cell(column) {
            Cell::Text(text) => Some(text.trim()).filter(|text| !text.is_empty()),
            Cell::Null | Cell::Int(_) | Cell::Real(_) | Cell::Unreadable => None,
        }
    }

    /// A whole number, also one that was written as text or as `3.0`.
    #[must_use]
    pub fn int(&self, column: &str) -> Option<i64> {
        match self.cell(column) {
            Cell::Int(number) => Some(*number),
            Cell::Real(number) => whole(*number),
            Cell::Text(text) => text.trim().parse().ok(),
            Cell::Null | Cell::Unreadable => None,
        }
    }

    /// A finite number.
    #[must_use]
    pub fn real(&self, column: &str) -> Option<f64> {
        match self.cell(column) {
            Cell::Int(number) => Some(*number as f64),
            Cell::Real(number) => Some(*number),
            Cell::Text(text) => text.trim().parse().ok(),
            Cell::Null | Cell::Unreadable => None,
        }
        .filter(|number: &f64| number.is_finite())
    }

    /// A boolean, which the old system stored as 0 or 1.
    #[must_use]
    pub fn is_true(&self, column: &str) -> bool {
        self.int(column).is_some_and(|number| number != 0)
    }

    /// The JSON of a text column: nothing for NULL and the empty text.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn json(&self, column: &str) -> Result<Option<Value>, String> {
        match self.cell(column) {
            Cell::Null => Ok(None),
            Cell::Text(text) if text.trim().is_empty() => Ok(None),
            Cell::Text(text) => serde_json::from_str(text).map(Some).map_err(|error| error.to_string()),
            Cell::Unreadable => Err(format!("it is no text, or has more than {CELL_BYTES_MAX} bytes")),
            Cell::Int(_) | Cell::Real(_) => Err("it is a number and no text".into()),
        }
    }
}

/// A number without a fraction, if it is one and fits.
#[must_use]
pub fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= LIMIT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_what_it_holds_and_not_what_its_column_says() {
        let cells = [
            ("a", Cell::Text(" 3 ".into())),
            ("b", Cell::Real(3.0)),
            ("c", Cell::Real(f64::NAN)),
            ("d", Cell::Text("{".into())),
            ("e", Cell::Unreadable),
        ];
        let row = Row { table: "t", id: 1, cells: cells.into_iter().collect() };
        assert_eq!((row.int("a"), row.int("b"), row.int("c"), row.int("z")), (Some(3), Some(3), None, None));
        assert_eq!((row.real("c"), row.text("a"), row.text("b")), (None, Some("3"), None));
        assert!(row.json("d").is_err() && row.json("e").is_err() && row.json("z") == Ok(None));
        assert!(!row.is_true("z") && row.is_true("a"));
    }
}

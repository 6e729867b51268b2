// SPDX-License-Identifier: MIT

//! Output: text to stdout whose failure is an error and no panic, tables, and a progress bar.

use crate::failure::{Failure, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::Write as _;

/// Writes `text` to stdout, at once.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(Failure::io("stdout"))
}

/// A bar on stderr for work of `steps` steps; invisible unless stderr is a terminal. It draws only
/// when told to and so starts no thread, which would forbid fork(2).
pub fn progress(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    ProgressBar::new(steps).with_style(style.expect("the template is a constant"))
}

/// How a column of a [`Table`] is set.
#[derive(Clone, Copy)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows of text in columns as wide as they need to be, indented by two spaces.
pub struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this head.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let head = columns
            .iter()
            .map(|(title, _)| (*title).to_owned())
            .collect();
        Self {
            aligns: columns.iter().map(|column| column.1).collect(),
            rows: vec![head],
        }
    }

    /// Adds a row; one cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table's lines.
    pub fn render(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.aligns.len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), &width) in row.iter().zip(&self.aligns).zip(&widths) {
                // Writing to a String cannot fail.
                let _ = match align {
                    Align::Left => write!(line, "  {cell:<width$}"),
                    Align::Right => write!(line, "  {cell:>width$}"),
                };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[
            ("name", Align::Left),
            ("n", Align::Right),
            ("", Align::Left),
        ]);
        table.row(["a".into(), "1000".into(), "ok".into()]);
        table.row(["longer".into(), "7".into(), String::new()]);
        assert_eq!(
            table.render(),
            "  name       n\n  a       1000  ok\n  longer     7\n"
        );
    }
}

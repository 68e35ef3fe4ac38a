//! `Table`: rows under headings, aligned, two spaces between columns.
//!
//! Promise: no line ends in spaces; control characters in cells (names come from devices) are written out, so that a
//! cell cannot move the cursor or change a colour.
//! Absent: no colours in cells, no wrapping and no borders; output goes through `grep` and `awk` as often as to eyes.

use std::fmt;

use super::visible;

/// On which side a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table that prints itself with `Display`, each row ending in a line break.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    #[must_use]
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let columns = columns.iter().map(|(name, align)| ((*name).to_owned(), *align)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty, surplus ones are dropped.
    pub fn row<I, C>(&mut self, cells: I)
    where
        I: IntoIterator<Item = C>,
        C: Into<String>,
    {
        let mut row: Vec<String> =
            cells.into_iter().take(self.columns.len()).map(|c| visible(&c.into()).into_owned()).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let heads = self.columns.iter().map(|(name, _)| width(name));
        self.rows.iter().fold(heads.collect(), |widths: Vec<usize>, row| {
            widths.into_iter().zip(row).map(|(widest, cell)| widest.max(width(cell))).collect()
        })
    }

    fn line<'a>(
        &self,
        f: &mut fmt::Formatter<'_>,
        widths: &[usize],
        cells: impl Iterator<Item = &'a str>,
    ) -> fmt::Result {
        let mut line = String::new();
        for ((cell, widest), (_, align)) in cells.zip(widths).zip(&self.columns) {
            let padding = " ".repeat(widest - width(cell).min(*widest));
            match align {
                Align::Left => line.extend([cell, &padding, "  "]),
                Align::Right => line.extend([&padding, cell, "  "]),
            }
        }
        writeln!(f, "{}", line.trim_end())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        self.line(f, &widths, self.columns.iter().map(|(name, _)| name.as_str()))?;
        for row in &self.rows {
            self.line(f, &widths, row.iter().map(String::as_str))?;
        }
        Ok(())
    }
}

/// Characters that are seen. Wide glyphs count one; ids, topics and figures have none.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let mut table =
            Table::new(&[("device", Align::Left), ("backlog", Align::Right), ("link", Align::Left)]);
        table.row(["press-7", "12.3k", "up"]);
        table.row(["robot-12", "0", ""]);
        assert_eq!(table.to_string(), "device    backlog  link\npress-7     12.3k  up\nrobot-12        0\n");
        assert_eq!((table.len(), table.is_empty()), (2, false));
    }

    #[test]
    fn a_cell_can_neither_move_the_cursor_nor_change_a_colour() {
        let mut table = Table::new(&[("name", Align::Left)]);
        table.row(["a\nb\u{1b}[2Jc\tµ\u{1b}[31m"]);
        assert_eq!(table.to_string(), "name\na\\nb\\u{1b}[2Jc\\tµ\\u{1b}[31m\n");
    }

    #[test]
    fn rows_of_another_length_are_fitted() {
        let mut table = Table::new(&[("a", Align::Left), ("b", Align::Left)]);
        table.row(["1"]);
        table.row(["1", "2", "3"]);
        assert_eq!(table.to_string(), "a  b\n1\n1  2\n");
    }
}

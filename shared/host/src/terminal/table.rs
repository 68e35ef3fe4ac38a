//! `Table`: rows under headings, aligned, two spaces between columns.
//!
//! Promise: no line ends in spaces; escape codes of colours take no width; control characters in
//! cells (names come from devices) are shown as `·`, so that a cell cannot move the cursor.
//! Absent: no wrapping and no borders; output goes through `grep` and `awk` as often as to eyes.

use std::fmt;

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
            cells.into_iter().take(self.columns.len()).map(|c| safe(&c.into())).collect();
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

/// Characters that are seen: colour codes (`ESC [ … m`) count nothing. Wide glyphs count one; ids,
/// topics and figures have none.
fn width(text: &str) -> usize {
    let mut seen = 0;
    let mut inside = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            _ if inside => {}
            _ => seen += 1,
        }
    }
    seen
}

/// The cell without control characters, except for the colour codes that [`super::toned`] writes.
fn safe(cell: &str) -> String {
    let mut out = String::with_capacity(cell.len());
    let mut rest = cell;
    while let Some(c) = rest.chars().next() {
        let code = colour_code(rest);
        if code > 0 {
            let (head, tail) = rest.split_at(code);
            out.push_str(head);
            rest = tail;
            continue;
        }
        out.push(if c.is_control() { '·' } else { c });
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    out
}

/// The length of the colour code at the start of `text`, 0 when there is none.
fn colour_code(text: &str) -> usize {
    let Some(body) = text.strip_prefix("\u{1b}[") else { return 0 };
    match body.find(|c: char| !c.is_ascii_digit() && c != ';') {
        Some(end) if body.get(end..).is_some_and(|rest| rest.starts_with('m')) => end + 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Tone, toned};
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
    fn colours_take_no_width() {
        let mut table = Table::new(&[("a", Align::Right), ("b", Align::Left)]);
        table.row([toned("1", Tone::Good, true), "x".to_owned()]);
        table.row(["100", "y"]);
        assert_eq!(table.to_string(), "  a  b\n  \u{1b}[32m1\u{1b}[0m  x\n100  y\n");
    }

    #[test]
    fn a_cell_cannot_move_the_cursor() {
        let mut table = Table::new(&[("name", Align::Left)]);
        table.row(["a\nb\u{1b}[2Jc\tµ"]);
        assert_eq!(table.to_string(), "name\na·b·[2Jc·µ\n");
    }

    #[test]
    fn rows_of_another_length_are_fitted() {
        let mut table = Table::new(&[("a", Align::Left), ("b", Align::Left)]);
        table.row(["1"]);
        table.row(["1", "2", "3"]);
        assert_eq!(table.to_string(), "a  b\n1\n1  2\n");
    }
}

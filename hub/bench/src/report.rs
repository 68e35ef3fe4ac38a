//! The table for people and the JSON for machines.

use std::path::{Path, PathBuf};

use anyhow::Context;
use millrace_host::Clock;
use millrace_host::terminal::{Align, Table};
use serde_json::{Value, json};

use crate::row::Row;
use crate::scale::Scale;

/// Everything that was measured.
pub(crate) struct Report {
    scale: Scale,
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(scale: &Scale) -> Self {
        Self { scale: scale.clone(), rows: Vec::new(), failures: Vec::new() }
    }

    /// Takes the rows of a part, or notes why there are none: the other parts are still worth their figures.
    pub(crate) fn add(&mut self, part: &str, rows: anyhow::Result<Vec<Row>>) {
        match rows {
            Ok(rows) => {
                for row in &rows {
                    eprintln!("    {}: {}", row.what, row.unit.show(row.result));
                }
                self.rows.extend(rows);
            }
            Err(error) => {
                eprintln!("    failed: {error:#}");
                self.failures.push(format!("{part}: {error:#}"));
            }
        }
    }

    /// The parts that could not be measured.
    pub(crate) fn failure(&self) -> Option<String> {
        (!self.failures.is_empty())
            .then(|| format!("not everything was measured:\n{}", self.failures.join("\n")))
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new(&[
            ("what", Align::Left),
            ("result", Align::Right),
            ("baseline", Align::Right),
            ("ratio", Align::Right),
            ("aim", Align::Left),
            ("", Align::Left),
            ("against", Align::Left),
        ]);
        for row in &self.rows {
            table.row([
                row.what.clone(),
                row.unit.show(row.result),
                row.baseline.map_or_else(String::new, |baseline| row.unit.show(baseline)),
                row.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2} ×")),
                row.aim_text(),
                row.met().map_or("", |met| if met { "met" } else { "missed" }).to_owned(),
                row.against.clone(),
            ]);
        }
        let size = if self.scale.full { "full size" } else { "quick: sizes too small to be quoted" };
        let rounds = self.scale.rounds;
        format!("{table}{size}; rates and the backlog: medians of {rounds}; the JSON has each measurement\n")
    }

    /// Writes the figures into `directory`.
    pub(crate) fn save(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(directory).with_context(|| format!("{}", directory.display()))?;
        let wall = Clock::system().wall();
        let file = directory.join(format!("bench-{}.json", wall.unix_seconds()));
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let mut value = json!(row);
                if let Value::Object(fields) = &mut value {
                    fields.insert("ratio".into(), json!(row.ratio()));
                    fields.insert("met".into(), json!(row.met()));
                }
                value
            })
            .collect();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let page = json!({
            "bench": "millrace",
            "unix_s": wall.unix_seconds(),
            "cores": cores,
            "scale": self.scale,
            "rows": rows,
            "failures": self.failures,
        });
        std::fs::write(&file, format!("{page:#}\n")).with_context(|| format!("{}", file.display()))?;
        Ok(file)
    }
}

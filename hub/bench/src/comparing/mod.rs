//! What it costs to find out what differs: our comparison beside the `negentropy` crate, rsync, and the bound that no method can go below.
//!
//! ```text
//! records 1 … n in segments of 1,024    one holder has all, the other lacks some, or has other bytes for some
//!   ours        questions and answers as frames, until both are equal; what is found is put right in between
//!   negentropy  the same records as items (number, 32 bytes of hash)
//!   rsync       the same records as a file of 32 bytes each; what it sends of the data itself is taken off
//!   bound       log₂ of the number of ways to choose d of n
//! ```
//!
//! Hashes are made up: what is measured is the comparison, not the hashing. Asking for what is lacking is in our figure; the data that comes
//! then, and the comparison that shows afterwards that both are equal, are not (the JSON has that one's bytes and round trips).
//! Round trips of rsync are not counted: its 0 means nothing.

mod holder;
mod negentropy;
mod ours;
mod rsync;

use serde_json::json;

use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;
use holder::{Fault, Holder};

/// Bytes of a whole exchange when nothing differs.
const EQUAL_BYTES_MAX: f64 = 300.0;

/// Bytes for each gap, and for each journal that has some.
const GAP_BYTES: f64 = 3.5;
const JOURNAL_BYTES: f64 = 100.0;

/// Of negentropy's bytes, for damage.
const DAMAGE_RATIO: f64 = 0.5;

/// Holes that a store keeps of one journal: with more of them, the records stand in more journals.
const GAPS_PER_JOURNAL: u64 = 4_000;

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Records of each holder, as many as there are.
    pub(crate) records: u64,
    /// How many differ.
    pub(crate) different: u64,
    /// How.
    pub(crate) fault: Fault,
}

/// What a method needed.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Cost {
    /// Bytes of both directions.
    pub(crate) bytes: u64,
    /// Of these, what was asked after the repair, to see that both are equal.
    pub(crate) recheck_bytes: u64,
    /// Round trips.
    pub(crate) trips: u64,
    /// Of these, the ones of that question.
    pub(crate) recheck_trips: u64,
    /// Seconds of both sides together.
    pub(crate) seconds: f64,
}

impl Case {
    fn name(&self) -> String {
        let records = match self.records {
            n if n >= 1_000_000 => format!("{} M", n / 1_000_000),
            n => format!("{} k", n / 1_000),
        };
        match (self.different, self.fault) {
            (0, _) => format!("compare {records} records, equal"),
            (d, Fault::Contiguous) => format!("compare {records} records, {d} missing in one piece"),
            (d, Fault::Scattered) => format!("compare {records} records, {d} missing here and there"),
            (d, Fault::Damaged) => format!("compare {records} records, {d} damaged here and there"),
        }
    }

    /// Gaps in the copy that lacks some.
    fn gaps(&self) -> u64 {
        match self.fault {
            Fault::Contiguous => self.different.min(1),
            Fault::Scattered => self.different,
            Fault::Damaged => 0,
        }
    }

    fn journals(&self) -> u64 {
        self.gaps().div_ceil(GAPS_PER_JOURNAL).max(1)
    }

    fn aim(&self, negentropy: bool) -> Aim {
        #[expect(clippy::cast_precision_loss, reason = "at most a hundred thousand gaps")]
        match self.fault {
            _ if self.different == 0 => Aim::AtMost(EQUAL_BYTES_MAX),
            Fault::Damaged if negentropy => Aim::RatioAtMost(DAMAGE_RATIO),
            Fault::Damaged => Aim::Report,
            _ => Aim::AtMost(GAP_BYTES * self.gaps() as f64 + JOURNAL_BYTES * self.journals() as f64),
        }
    }

    /// Bytes below which no method can go: log₂ of the ways to choose those that differ.
    fn bound(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a bound, not a count")]
        let (n, d) = (self.records as f64, self.different as f64);
        if self.different == 0 {
            return 0.0;
        }
        if self.fault == Fault::Contiguous {
            return 2.0 * n.log2() / 8.0;
        }
        // ln C(n, d) by Stirling's series, exact to a small part of a bit here.
        let ln_factorial = |x: f64| {
            if x < 2.0 {
                0.0
            } else {
                x * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI * x).ln() + 1.0 / (12.0 * x)
            }
        };
        (ln_factorial(n) - ln_factorial(d) - ln_factorial(n - d)) / std::f64::consts::LN_2 / 8.0
    }
}

/// The rows.
pub(crate) fn rows(scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for records in scale.compared {
        for (different, fault) in cases() {
            let case = Case { records: *records, different, fault };
            eprintln!("    {}", case.name());
            rows.push(row(case, scale)?);
        }
    }
    Ok(rows)
}

fn cases() -> Vec<(u64, Fault)> {
    let mut cases = vec![(0, Fault::Damaged)];
    for different in [1, 10, 1_000, 100_000] {
        cases.extend([Fault::Contiguous, Fault::Scattered, Fault::Damaged].map(|fault| (different, fault)));
    }
    cases
}

fn row(case: Case, scale: &Scale) -> anyhow::Result<Row> {
    let (whole, other) = Holder::pair(case, case.journals());
    let ours = ours::measure(&whole, other, case.different == 0)?;
    let beside = case.records <= scale.beside_max;
    let negentropy = if beside { Some(negentropy::measure(case)?) } else { None };
    let rsync = if beside { rsync::measure(case)? } else { None };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let bytes = |cost: Cost| (cost.bytes - cost.recheck_bytes) as f64;
    let aim = case.aim(negentropy.is_some());
    let mut row = Row::alone(case.name(), bytes(ours), Unit::Bytes, aim).with(json!({
        "ours": ours, "negentropy": negentropy, "rsync": rsync, "bound_bytes": case.bound(),
        "gaps": case.gaps(), "journals": case.journals(),
    }));
    if let Some(negentropy) = negentropy {
        row = row.against("negentropy", bytes(negentropy));
    }
    Ok(row)
}

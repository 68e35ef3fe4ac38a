//! How far a hub that fills its store has come: a bar for a terminal, and words for the rest.
//!
//! Promise: pure; the caller says how much time has passed.

use std::time::Duration;

use millrace_host::terminal::{count, duration};
use serde_json::Value;

use super::look::number;

/// How wide the bar is.
const CELLS: u64 = 30;

/// What lacked when somebody began to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Filling {
    /// Records that lacked at most; more may become known meanwhile.
    most: u64,
}

impl Filling {
    /// A line about `replication` of a hub's status, `passed` after the first one.
    pub(super) fn line(&mut self, replication: &Value, passed: Duration) -> String {
        let lacking = number(replication, "lacking");
        self.most = self.most.max(lacking);
        let came = self.most.saturating_sub(lacking);
        let permille = permille(replication);
        let full = usize::try_from(permille * CELLS / 1_000).unwrap_or(0);
        let rest = usize::try_from(CELLS).unwrap_or(0).saturating_sub(full);
        let left = self
            .left(lacking, came, passed)
            .map_or_else(String::new, |left| format!(", about {} left", duration(left)));
        format!(
            "[{}{}] {:>3} %  {} of {} partitions, {} records lacking{left}",
            "#".repeat(full),
            "-".repeat(rest),
            permille / 10,
            number(replication, "synced"),
            number(replication, "partitions"),
            count(lacking),
        )
    }

    /// How long it takes if it goes on as it went; nothing when nothing came yet.
    fn left(self, lacking: u64, came: u64, passed: Duration) -> Option<Duration> {
        let millis =
            passed.as_millis() * u128::from(lacking) / Some(u128::from(came)).filter(|came| *came > 0)?;
        Some(Duration::from_secs(u64::try_from(millis / 1_000).unwrap_or(u64::MAX)))
            .filter(|left| !left.is_zero())
    }
}

/// How many of the partitions are synced, in thousandths.
pub(super) fn permille(replication: &Value) -> u64 {
    let (synced, partitions) = (number(replication, "synced"), number(replication, "partitions"));
    synced.saturating_mul(1_000) / partitions.max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_line_says_how_much_is_there_and_how_long_it_takes_at_this_pace() {
        let at =
            |synced: u64, lacking: u64| json!({ "partitions": 256, "synced": synced, "lacking": lacking });
        let mut filling = Filling::default();
        let first = filling.line(&at(0, 90_000), Duration::ZERO);
        let nothing = "-".repeat(30);
        assert_eq!(first, format!("[{nothing}]   0 %  0 of 256 partitions, 90.0k records lacking"));
        let later = filling.line(&at(128, 30_000), Duration::from_secs(60));
        assert!(
            later.contains(" 50 %  128 of 256") && later.ends_with("30.0k records lacking, about 30.0s left"),
            "{later}"
        );
        assert!(filling.line(&at(256, 0), Duration::from_secs(90)).contains("] 100 %"));
        assert!(filling.line(&json!({}), Duration::ZERO).contains("]   0 %"));
    }
}

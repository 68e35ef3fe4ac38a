//! Episodes: one trouble that comes and goes many times in a short while.
//!
//! Promise: said once when it begins, however often it flickers; said again when it comes back after a calm.
//! Absent: which troubles these are.

use std::time::Duration;

use millrace_model::Moment;

/// How long it has to be calm before the same trouble is a new one. An agent at its budget frees a little and fills it again
/// within milliseconds, and an operator who reads the log needs minutes.
const CALM: Duration = Duration::from_secs(60);

/// The state of one trouble.
#[derive(Debug, Default)]
pub(super) struct Episode {
    seen: Option<Moment>,
}

impl Episode {
    /// The trouble is there. `true` when that is news.
    pub(super) fn begins(&mut self, now: Moment) -> bool {
        let before = self.seen.replace(now);
        before.is_none_or(|before| now.since(before) >= CALM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_that_flickers_is_said_once_until_it_was_calm() {
        let mut full = Episode::default();
        let begin = Moment(1_000_000);
        assert!(full.begins(begin));
        let flicker = (1..=200).map(|step| begin + Duration::from_secs(step));
        assert_eq!(flicker.filter(|now| full.begins(*now)).count(), 0);
        assert!(full.begins(begin + Duration::from_secs(200) + CALM));
    }
}

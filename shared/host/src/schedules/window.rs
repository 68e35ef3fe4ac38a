//! `Window`: a span of time that recurs, such as the hours in which the link is cheap.
//!
//! Promise: its state follows from the time alone, never from which callbacks ran before; so it is right
//! at start-up, after a jump of the clock and after a suspend.
//! Absent: no clock and no callbacks; both are handed in by [`super::Schedules`].

use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta};

use super::expression::Expression;

/// Opens at every match of its expression and stays open for its length. Matches while it is open
/// extend it.
#[derive(Debug, Clone)]
pub struct Window {
    opens: Expression,
    length: TimeDelta,
    /// What [`Window::advance`] last found; closed before it was first asked.
    open: bool,
    /// The span of times over which `open` is known to hold: from, until.
    known: Option<(DateTime<FixedOffset>, DateTime<FixedOffset>)>,
}

/// A change of a window's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It has opened.
    Opened,
    /// It has closed.
    Closed,
}

impl Window {
    /// A window that opens by `opens` for `length`. It counts as closed until it is first asked.
    #[must_use]
    pub fn new(opens: Expression, length: Duration) -> Self {
        let length = TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX);
        Self { opens, length, open: false, known: None }
    }

    /// Whether the window was open when it was last asked.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// The state at `now`, as a change from what was last found. Asking often is cheap: the calendar is
    /// searched only at a change, or when time has gone back.
    pub(crate) fn advance(&mut self, now: DateTime<FixedOffset>) -> Option<Transition> {
        if let Some((from, until)) = self.known
            && from.offset() == now.offset()
            && from <= now
            && now < until
        {
            return None;
        }
        let opened = self.opens.last_at(now);
        let closes = opened.and_then(|opened| opened.checked_add_signed(self.length));
        let open = closes.is_some_and(|closes| now < closes);
        let until = if open { closes } else { self.opens.next_after(now) };
        self.known = until.map(|until| (now, until));
        match (std::mem::replace(&mut self.open, open), open) {
            (false, true) => Some(Transition::Opened),
            (true, false) => Some(Transition::Closed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(text).unwrap()
    }

    fn nights() -> Window {
        Window::new(Expression::new("0 22 * * *").unwrap(), Duration::from_secs(6 * 3_600))
    }

    #[test]
    fn a_window_opens_and_closes_across_midnight() {
        let mut window = nights();
        assert_eq!(window.advance(at("2026-05-01T21:59:59Z")), None);
        assert_eq!(window.advance(at("2026-05-01T22:00:00Z")), Some(Transition::Opened));
        assert_eq!(window.advance(at("2026-05-02T03:59:59Z")), None);
        assert_eq!(window.advance(at("2026-05-02T04:00:00Z")), Some(Transition::Closed));
        assert!(!window.is_open());
    }

    #[test]
    fn starting_inside_a_window_finds_it_open() {
        let mut window = nights();
        assert_eq!(window.advance(at("2026-05-02T01:00:00Z")), Some(Transition::Opened));
        assert!(window.is_open());
    }

    #[test]
    fn a_jump_of_the_clock_is_followed_both_ways() {
        let mut window = nights();
        assert_eq!(window.advance(at("1970-01-01T00:00:10Z")), Some(Transition::Opened));
        assert_eq!(window.advance(at("2026-05-02T12:00:00Z")), Some(Transition::Closed));
        assert_eq!(window.advance(at("2026-05-01T23:00:00Z")), Some(Transition::Opened));
        assert_eq!(window.advance(at("2026-05-09T23:00:00Z")), None);
    }

    #[test]
    fn a_change_of_the_offset_is_seen() {
        let mut window = Window::new(Expression::new("0 2 * * *").unwrap(), Duration::from_secs(3_600));
        assert_eq!(window.advance(at("2026-05-02T02:30:00+01:00")), Some(Transition::Opened));
        assert_eq!(window.advance(at("2026-05-02T03:31:00+02:00")), Some(Transition::Closed));
    }

    #[test]
    fn a_window_longer_than_its_period_stays_open() {
        let mut window = Window::new(Expression::new("0 * * * *").unwrap(), Duration::from_secs(2 * 3_600));
        assert_eq!(window.advance(at("2026-05-02T02:30:00Z")), Some(Transition::Opened));
        assert_eq!(window.advance(at("2026-05-02T08:30:00Z")), None);
        assert!(window.is_open());
    }
}

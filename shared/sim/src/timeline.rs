//! The virtual clock and the queue of what will happen.
//!
//! Promise: events come out by time, and those of one moment in the order in which they were put in.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_model::Moment;

/// What will happen, and when.
#[derive(Clone, Debug)]
pub struct Timeline<E> {
    now: Moment,
    count: u64,
    queue: BTreeMap<(Moment, u64), E>,
}

impl<E> Default for Timeline<E> {
    fn default() -> Self {
        Self { now: Moment(0), count: 0, queue: BTreeMap::new() }
    }
}

impl<E> Timeline<E> {
    /// The time of the last event that came out.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.now
    }

    /// How many events wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Puts an event in; one in the past happens now.
    pub fn at(&mut self, at: Moment, event: E) {
        self.count += 1;
        self.queue.insert((at.max(self.now), self.count), event);
    }

    /// Puts an event in that happens `span` from now.
    pub fn after(&mut self, span: Duration, event: E) {
        self.at(self.now + span, event);
    }

    /// When the next event happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Moment> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next event that happens at `until` or before; the clock moves to it.
    pub fn poll(&mut self, until: Moment) -> Option<(Moment, E)> {
        if self.next_at()? > until {
            return None;
        }
        let ((at, _), event) = self.queue.pop_first()?;
        self.now = at;
        Some((at, event))
    }

    /// Moves the clock on without an event. It never goes back.
    pub fn advance(&mut self, to: Moment) {
        self.now = self.now.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_order() {
        let mut timeline = Timeline::default();
        timeline.at(Moment(5), 'b');
        timeline.at(Moment(5), 'c');
        timeline.at(Moment(1), 'a');
        timeline.at(Moment(9), 'd');
        let mut seen = String::new();
        while let Some((_, event)) = timeline.poll(Moment(5)) {
            seen.push(event);
        }
        assert_eq!((seen.as_str(), timeline.now(), timeline.waiting()), ("abc", Moment(5), 1));
        timeline.at(Moment(2), 'e');
        assert_eq!(timeline.poll(Moment(5)), Some((Moment(5), 'e')), "the past is now");
    }
}

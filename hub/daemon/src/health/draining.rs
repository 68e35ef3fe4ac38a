//! Draining: whether agents are sent elsewhere, because an operator says so or because the hub finds itself unfit.
//!
//! Promise: the engine drains while either of the two holds, and hears of changes in the order in which they were decided.
//! Absent: what agents and gossip are told.

use std::sync::atomic::{AtomicBool, Ordering};

use millrace_hub_engine::Event;
use tokio::sync::Mutex;

use crate::driver::DriverHandle;
use crate::driver::input::Input;

/// The two reasons.
#[derive(Debug, Default)]
pub struct Draining {
    asked: AtomicBool,
    judged: AtomicBool,
    /// Held until the driver has heard of a change.
    telling: Mutex<()>,
}

impl Draining {
    /// Whether an operator wants it.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether agents are sent elsewhere.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_asked() || self.judged.load(Ordering::SeqCst)
    }

    /// An operator says so, or no more. `false` when the driver has ended.
    pub async fn ask(&self, on: bool, driver: &DriverHandle) -> bool {
        self.change(&self.asked, on, driver).await
    }

    /// The hub finds that it must not have agents, or may again. `false` when the driver has ended.
    pub async fn judge(&self, leave: bool, driver: &DriverHandle) -> bool {
        self.change(&self.judged, leave, driver).await
    }

    async fn change(&self, reason: &AtomicBool, holds: bool, driver: &DriverHandle) -> bool {
        let _telling = self.telling.lock().await;
        let before = self.is_on();
        reason.store(holds, Ordering::SeqCst);
        let on = self.is_on();
        on == before || driver.tell(Input::Event(Event::Drain { on })).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_operator_does_not_end_what_the_hub_itself_wants_nor_the_other_way_round() {
        let (driver, mut inputs) = DriverHandle::fake();
        let draining = Draining::default();
        let mut told = || match inputs.try_recv() {
            Ok(Input::Event(Event::Drain { on })) => Some(on),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        };
        draining.judge(true, &driver).await;
        assert_eq!((told(), draining.is_on(), draining.is_asked()), (Some(true), true, false));
        draining.ask(true, &driver).await;
        draining.ask(false, &driver).await;
        assert_eq!((told(), draining.is_on()), (None, true), "it still cannot flush");
        draining.judge(false, &driver).await;
        assert_eq!((told(), draining.is_on()), (Some(false), false));
        draining.ask(true, &driver).await;
        draining.judge(true, &driver).await;
        draining.judge(false, &driver).await;
        assert_eq!((told(), told(), draining.is_on()), (Some(true), None, true));
    }
}

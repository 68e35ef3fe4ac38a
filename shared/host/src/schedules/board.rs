//! `Schedules`: the named jobs of a daemon, run by `tokio-cron-scheduler`.
//!
//! Promise: a run that was missed because the machine slept or the clock jumped ahead happens once on
//! waking; a clock that is set back and an offset that changes (summer time) are followed in seconds.
//! Absent: no storage: schedules come from the config at each start.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Offset, Utc};
use millrace_model::Wall;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use uuid::Uuid;

use super::error::{SCHEDULES_MAX, ScheduleError};
use super::expression::Expression;
use super::window::{Transition, Window};
use super::zone::Zone;
use crate::clock::Clock;
use crate::lifecycle::Shutdown;

/// How often windows and the clock are looked at: as often as the finest cron field can change.
const ROUND: Duration = Duration::from_secs(1);

type Callback = Arc<dyn Fn() + Send + Sync>;

/// One line of [`Schedules::list`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The schedule's name.
    pub name: String,
    /// Its expression in six fields.
    pub expression: String,
    /// When it next runs, or opens.
    pub next: Option<Wall>,
    /// For windows: whether it is open now.
    pub open: Option<bool>,
}

/// The schedules of a daemon. Cheap to clone. Stop them with [`Schedules::shutdown`].
#[derive(Clone)]
pub struct Schedules(Arc<Inner>);

struct Inner {
    scheduler: JobScheduler,
    clock: Clock,
    zone: Zone,
    stop: Shutdown,
    board: Mutex<BTreeMap<String, Entry>>,
    /// Held while jobs move between board and scheduler, so that two of these moves do not cross.
    turn: tokio::sync::Mutex<Footing>,
    /// Held while window callbacks run, so that an opening and a closing cannot overtake each other.
    settling: Mutex<()>,
}

/// What the scheduler's own calendar stands on. When it changes, every job is entered anew.
#[derive(Debug, Clone, Copy)]
struct Footing {
    wall: Wall,
    offset: FixedOffset,
}

struct Entry {
    expression: Expression,
    action: Action,
    job: Option<Uuid>,
}

enum Action {
    Run(Callback),
    Window { window: Box<Window>, on_open: Callback, on_close: Callback },
}

impl Schedules {
    /// Starts an empty scheduler. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ScheduleError::Scheduler`]
    pub async fn new(clock: Clock, zone: Zone) -> Result<Self, ScheduleError> {
        let scheduler = JobScheduler::new().await?;
        scheduler.start().await?;
        let footing = footing(&clock, zone);
        let inner = Inner {
            scheduler,
            clock,
            zone,
            stop: Shutdown::manual(),
            board: Mutex::default(),
            turn: tokio::sync::Mutex::new(footing),
            settling: Mutex::default(),
        };
        let schedules = Self(Arc::new(inner));
        tokio::spawn(rounds(Arc::downgrade(&schedules.0), schedules.0.stop.clone()));
        Ok(schedules)
    }

    /// Runs `callback` whenever `cron` comes true. The callback must be quick: it hands work on, for
    /// example with `try_send`.
    ///
    /// # Errors
    /// [`ScheduleError`] when the expression is wrong or the name is taken.
    pub async fn add(
        &self,
        name: &str,
        cron: &str,
        callback: impl Fn() + Send + Sync + 'static,
    ) -> Result<(), ScheduleError> {
        self.enter(name, cron, |_| Action::Run(Arc::new(callback))).await
    }

    /// Calls `on_open` when `cron` comes true and `on_close` when `length` has passed since. When the
    /// window is open already, `on_open` is called before this returns; when it is closed, nothing is.
    ///
    /// # Errors
    /// [`ScheduleError`] when the expression is wrong, the length is zero or the name is taken.
    pub async fn window(
        &self,
        name: &str,
        cron: &str,
        length: Duration,
        on_open: impl Fn() + Send + Sync + 'static,
        on_close: impl Fn() + Send + Sync + 'static,
    ) -> Result<(), ScheduleError> {
        if length.is_zero() {
            return Err(ScheduleError::NoLength { name: name.to_owned() });
        }
        let action = |expression: &Expression| Action::Window {
            window: Box::new(Window::new(expression.clone(), length)),
            on_open: Arc::new(on_open),
            on_close: Arc::new(on_close),
        };
        self.enter(name, cron, action).await?;
        self.0.settle();
        Ok(())
    }

    /// Removes a schedule; false when there is none of that name. A window that is open stays as it is:
    /// its `on_close` is not called.
    pub async fn remove(&self, name: &str) -> bool {
        let _turn = self.0.turn.lock().await;
        let Some(entry) = self.0.board().remove(name) else { return false };
        if let Some(job) = entry.job
            && let Err(error) = self.0.scheduler.remove(&job).await
        {
            tracing::warn!(schedule = name, %error, "the scheduler did not forget a job");
        }
        true
    }

    /// All schedules by name, with their next run.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let now = self.0.now();
        let board = self.0.board();
        let line = |(name, entry): (&String, &Entry)| Listed {
            name: name.clone(),
            expression: entry.expression.as_str().to_owned(),
            next: now
                .and_then(|now| entry.expression.next_after(now))
                .map(|next| Wall(next.timestamp_micros())),
            open: match &entry.action {
                Action::Run(_) => None,
                Action::Window { window, .. } => Some(window.is_open()),
            },
        };
        board.iter().map(line).collect()
    }

    /// Stops everything. Callbacks that run already come to their end.
    pub async fn shutdown(self) {
        self.0.stop.trigger();
        self.0.board().clear();
        if let Err(error) = self.0.scheduler.clone().shutdown().await {
            tracing::warn!(%error, "the scheduler did not stop cleanly");
        }
    }

    async fn enter(
        &self,
        name: &str,
        cron: &str,
        action: impl FnOnce(&Expression) -> Action,
    ) -> Result<(), ScheduleError> {
        let expression = Expression::new(cron)
            .map_err(|source| ScheduleError::Expression { name: name.to_owned(), source })?;
        let turn = self.0.turn.lock().await;
        {
            let board = self.0.board();
            if board.contains_key(name) {
                return Err(ScheduleError::NameTaken { name: name.to_owned() });
            }
            if board.len() >= SCHEDULES_MAX {
                return Err(ScheduleError::Full);
            }
        }
        let mut entry = Entry { action: action(&expression), expression, job: None };
        entry.job = Some(self.0.scheduler.add(self.job(&entry, turn.offset)?).await?);
        self.0.board().insert(name.to_owned(), entry);
        Ok(())
    }

    fn job(&self, entry: &Entry, offset: FixedOffset) -> Result<Job, JobSchedulerError> {
        let run: Callback = match &entry.action {
            Action::Run(callback) => Arc::clone(callback),
            Action::Window { .. } => {
                let inner = Arc::downgrade(&self.0);
                Arc::new(move || {
                    if let Some(inner) = inner.upgrade() {
                        inner.settle();
                    }
                })
            }
        };
        Job::new_async_tz(entry.expression.as_str(), offset, move |_, _| {
            let run = Arc::clone(&run);
            Box::pin(async move { run() })
        })
    }

    /// Enters all jobs anew when the scheduler's calendar has lost its footing: it keeps each job's next
    /// time as an instant and its zone as a fixed offset, so a clock set back or the begin of summer
    /// time would leave jobs waiting for the wrong moment.
    async fn find_footing(&self) {
        let mut turn = self.0.turn.lock().await;
        let now = footing(&self.0.clock, self.0.zone);
        let lost = now.offset != turn.offset || now.wall < turn.wall;
        *turn = now;
        if !lost {
            return;
        }
        tracing::info!(offset = %now.offset, "the clock or its zone has changed: schedules are entered anew");
        let jobs: Vec<_> = {
            let board = self.0.board();
            let jobs = board.iter().map(|(name, e)| (name.clone(), e.job, self.job(e, now.offset)));
            jobs.collect()
        };
        for (name, old, new) in jobs {
            if let Err(error) = self.exchange(&name, old, new).await {
                tracing::error!(schedule = name, %error, "a schedule is lost; restart the daemon");
            }
        }
    }

    async fn exchange(
        &self,
        name: &str,
        old: Option<Uuid>,
        new: Result<Job, JobSchedulerError>,
    ) -> Result<(), JobSchedulerError> {
        if let Some(old) = old {
            self.0.scheduler.remove(&old).await?;
        }
        let job = self.0.scheduler.add(new?).await?;
        if let Some(entry) = self.0.board().get_mut(name) {
            entry.job = Some(job);
        }
        Ok(())
    }
}

impl Inner {
    fn board(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Option<DateTime<FixedOffset>> {
        self.zone.at(self.clock.wall())
    }

    /// Brings every window to the state of this moment and calls what follows from it.
    fn settle(&self) {
        let _settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(now) = self.now() else { return };
        let mut calls: Vec<Callback> = Vec::new();
        for (name, entry) in self.board().iter_mut() {
            let Action::Window { window, on_open, on_close } = &mut entry.action else { continue };
            match window.advance(now) {
                Some(Transition::Opened) => {
                    tracing::info!(window = name, "a window has opened");
                    calls.push(Arc::clone(on_open));
                }
                Some(Transition::Closed) => {
                    tracing::info!(window = name, "a window has closed");
                    calls.push(Arc::clone(on_close));
                }
                None => {}
            }
        }
        for call in calls {
            call();
        }
    }
}

fn footing(clock: &Clock, zone: Zone) -> Footing {
    let wall = clock.wall();
    Footing { wall, offset: zone.at(wall).map_or_else(|| Utc.fix(), |time| *time.offset()) }
}

/// Looks at windows and at the calendar's footing once a round, on the monotonic clock.
async fn rounds(inner: Weak<Inner>, stop: Shutdown) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            () = stop.triggered() => return,
        }
        let Some(inner) = inner.upgrade() else { return };
        inner.settle();
        Schedules(inner).find_footing().await;
    }
}

#[cfg(test)]
mod tests;

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

use super::expression::{Expression, ExpressionError};
use super::window::{Transition, Window};
use super::zone::Zone;
use crate::clock::Clock;
use crate::lifecycle::Shutdown;

/// How many schedules a daemon may have. Beyond that the config lists what a table should hold.
pub const SCHEDULES_MAX: usize = 256;

/// How often windows and the clock are looked at: as often as the finest cron field can change.
const ROUND: Duration = Duration::from_secs(1);

type Callback = Arc<dyn Fn() + Send + Sync>;

/// Why a schedule was not added.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The expression is wrong.
    #[error("schedule `{name}`: {source}")]
    Expression {
        /// The schedule.
        name: String,
        /// What is wrong.
        source: ExpressionError,
    },
    /// A window must have a length.
    #[error("schedule `{name}`: a window of no length never opens; write for example \"6h\"")]
    NoLength {
        /// The schedule.
        name: String,
    },
    /// Two schedules of one name.
    #[error("schedule `{name}` is there already; give one of the two another name")]
    NameTaken {
        /// The schedule.
        name: String,
    },
    /// Too many.
    #[error("there are {SCHEDULES_MAX} schedules already; remove some from the config")]
    Full,
    /// The scheduler itself failed.
    #[error("the scheduler failed: {0}; restart the daemon")]
    Scheduler(#[from] JobSchedulerError),
}

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
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// 2026-05-01T00:00:00Z.
    const MIDNIGHT: i64 = 1_777_593_600;

    fn at_hour(hour: i64) -> Wall {
        Wall((MIDNIGHT + hour * 3_600) * 1_000_000)
    }

    type Ring = Box<dyn Fn() + Send + Sync>;

    fn bell() -> (impl Fn(&'static str) -> Ring, mpsc::Receiver<&'static str>) {
        let (sender, receiver) = mpsc::channel(16);
        let ring = move |word| -> Ring {
            let sender = sender.clone();
            Box::new(move || {
                let _ = sender.try_send(word);
            })
        };
        (ring, receiver)
    }

    #[tokio::test]
    async fn a_schedule_rings_at_its_second() {
        let schedules = Schedules::new(Clock::system(), Zone::Local).await.unwrap();
        let (ring, mut rung) = bell();
        schedules.add("each-second", "* * * * * *", ring("now")).await.unwrap();
        assert_eq!(rung.recv().await, Some("now"));
        let listed = schedules.list();
        assert_eq!((listed.len(), listed[0].expression.as_str(), listed[0].open), (1, "* * * * * *", None));
        assert!(schedules.remove("each-second").await);
        assert!(!schedules.remove("each-second").await);
        schedules.shutdown().await;
    }

    #[tokio::test]
    async fn a_window_is_open_at_once_when_the_process_starts_inside_it() {
        let (clock, hand) = Clock::manual(at_hour(1));
        let schedules = Schedules::new(clock, Zone::Utc).await.unwrap();
        let (ring, mut rung) = bell();
        let six_hours = Duration::from_secs(6 * 3_600);
        schedules.window("nights", "0 22 * * *", six_hours, ring("open"), ring("close")).await.unwrap();
        schedules.window("noon", "0 12 * * *", six_hours, ring("noon"), ring("evening")).await.unwrap();
        assert_eq!(rung.try_recv(), Ok("open"));
        assert!(rung.try_recv().is_err());
        let listed = schedules.list();
        assert_eq!(
            (listed[0].name.as_str(), listed[0].open, listed[0].next),
            ("nights", Some(true), Some(at_hour(22)))
        );
        assert_eq!(
            (listed[1].name.as_str(), listed[1].open, listed[1].next),
            ("noon", Some(false), Some(at_hour(12)))
        );

        hand.set_wall(at_hour(4));
        assert_eq!(rung.recv().await, Some("close"));
        hand.set_wall(at_hour(13));
        assert_eq!(rung.recv().await, Some("noon"));
        schedules.shutdown().await;
    }

    #[tokio::test]
    async fn schedules_survive_a_clock_that_is_set_back() {
        let (clock, hand) = Clock::manual(at_hour(10));
        let schedules = Schedules::new(clock, Zone::Utc).await.unwrap();
        let (ring, mut rung) = bell();
        schedules.add("each-second", "* * * * * *", ring("now")).await.unwrap();
        let before = schedules.0.board().get("each-second").unwrap().job;
        hand.set_wall(at_hour(2));
        schedules.find_footing().await;
        let after = schedules.0.board().get("each-second").unwrap().job;
        assert_ne!(before, after);
        while rung.try_recv().is_ok() {}
        assert_eq!(rung.recv().await, Some("now"));
        schedules.shutdown().await;
    }

    #[tokio::test]
    async fn mistakes_name_the_schedule() {
        let schedules = Schedules::new(Clock::manual(at_hour(0)).0, Zone::Utc).await.unwrap();
        let wrong = schedules.add("repair", "nightly", || {}).await.unwrap_err().to_string();
        assert!(
            wrong.contains("`repair`") && wrong.contains("`nightly`") && wrong.contains("\"0 2 * * *\""),
            "{wrong}"
        );
        let empty = schedules.window("cheap", "0 2 * * *", Duration::ZERO, || {}, || {}).await;
        assert!(matches!(empty, Err(ScheduleError::NoLength { .. })));
        schedules.add("repair", "0 2 * * *", || {}).await.unwrap();
        let twice = schedules.add("repair", "0 3 * * *", || {}).await;
        assert!(matches!(twice, Err(ScheduleError::NameTaken { .. })));
        schedules.shutdown().await;
    }

    #[tokio::test]
    async fn there_is_room_for_so_many_schedules_and_no_more() {
        let schedules = Schedules::new(Clock::manual(at_hour(0)).0, Zone::Utc).await.unwrap();
        for n in 0..SCHEDULES_MAX {
            schedules.add(&format!("job-{n}"), "0 2 * * *", || {}).await.unwrap();
        }
        assert!(matches!(schedules.add("one-more", "0 2 * * *", || {}).await, Err(ScheduleError::Full)));
        schedules.shutdown().await;
    }
}

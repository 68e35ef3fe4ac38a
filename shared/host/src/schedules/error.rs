//! `ScheduleError`: why a schedule was not added.
//!
//! Promise: each error names the schedule and says what to write instead.
//! Absent: what goes wrong inside callbacks; that is theirs.

use tokio_cron_scheduler::JobSchedulerError;

use super::expression::ExpressionError;

/// How many schedules a daemon may have. Beyond that the config lists what a table should hold.
pub const SCHEDULES_MAX: usize = 256;

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

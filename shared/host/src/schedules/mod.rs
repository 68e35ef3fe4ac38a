//! Schedules: what happens at times of day, by cron expressions, on `tokio-cron-scheduler`.
//!
//! Promise: a wrong expression is refused with an example; a window is in its right state from the first
//! moment, also when the process starts in the middle of it or the clock jumps.
//! Absent: timeouts and intervals, which belong to the monotonic clock; work itself: callbacks hand it on.
//!
//! | module | what it gives |
//! |---|---|
//! | `expression` | [`Expression`]: a checked cron expression |
//! | `zone` | [`Zone`]: in which time zone expressions are read |
//! | `window` | [`Window`]: the pure state of a recurring span of time |
//! | `board` | [`Schedules`]: names, jobs, callbacks |

mod board;
mod error;
mod expression;
mod window;
mod zone;

pub use board::{Listed, Schedules};
pub use error::{SCHEDULES_MAX, ScheduleError};
pub use expression::{Expression, ExpressionError};
pub use window::{Transition, Window};
pub use zone::Zone;

//! A full disk: how the store finds room for what makes room, and does not lock itself in.
//!
//! The database grows when the log is carried over, long after the commit that asked for it. On a full disk that would leave
//! a log that cannot be emptied and a database that cannot take it. So the reserve is always at least as large as the
//! growth that may wait in the log, and the first full disk makes the store tight: with the reserve's room the log is carried
//! over and cut off, which gives back at least as much as the database grew; the reserve is put back; and from then on the
//! database may not grow, it uses its own free pages again. In this state the reserve serves as room for the log and
//! nothing else, so it always comes back. Every so often the store looks whether the disk has room again.
//!
//! Absent: what goes when the disk is full (the engine's retention).

use millrace_model::store::{Change, Refusal};

use crate::disk::Files;
use crate::error::{CommitError, is_full};
use crate::store::Store;
use crate::{connection, meter};

/// Pages by which a tight database may grow for a commit that makes room: what a few gap records and longer sets need.
const MARGIN_PAGES: u64 = 64;

/// Commits between two looks whether a tight store may loosen: each look writes as much as the reserve.
const LOOK_EVERY: u32 = 64;

/// How far a commit that found the disk full has gone to find room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Relief {
    None,
    /// The log was carried over, so that its room can be used again.
    Log,
    /// The reserve was given back, for this one attempt.
    Reserve,
}

/// Whether the database may grow.
#[derive(Debug, Default)]
pub(crate) struct Tightness {
    pub(crate) tight: bool,
    commits: u32,
}

impl Store {
    /// Carries the log over when it has grown long. Its commits are flushed either way.
    pub(crate) fn carry_over(&mut self) {
        if let Some(files) = &mut self.files {
            files.restore_reserve();
        }
        let reserve = self.options.reserve_bytes;
        let limit = self.options.wal_limit_bytes.min(if reserve > 0 { reserve / 2 } else { u64::MAX });
        let frames_max = if self.tightness.tight { 0 } else { limit / self.meter.page_bytes.max(512) };
        let mut found = meter::checkpoint(&self.conn, "NOOP");
        if let Ok(Some(seen)) = &found
            && seen.frames > frames_max
        {
            self.meter.note(Some(seen));
            found = meter::checkpoint(&self.conn, "PASSIVE");
        }
        match found {
            Ok(seen) => self.meter.note(seen.as_ref()),
            Err(error) if is_full(&error) => self.tighten(),
            // What was committed is flushed in the log, but the database cannot be trusted to take more.
            Err(error) => {
                self.poison(format!("carrying the log over: {error}"));
            }
        }
        self.look_for_room();
    }

    /// Carries over what the log held at the start and begins it anew, so that nothing of one run is left behind the end of
    /// the log of the next, where [`crate::wal`] would take it for lost commits.
    pub(crate) fn begin_log(&mut self) {
        match meter::checkpoint(&self.conn, "TRUNCATE") {
            Ok(seen) => self.meter.note(seen.as_ref()),
            Err(error) if is_full(&error) => self.tighten(),
            Err(error) => {
                self.poison(format!("carrying the log over: {error}"));
            }
        }
    }

    /// The next step towards room, or the refusal.
    pub(crate) fn relieve(&mut self, reached: Relief, changes: &[Change]) -> Result<Relief, CommitError> {
        let refused = Err(CommitError::Refused(Refusal::Full));
        if self.files.is_none() {
            return refused;
        }
        match reached {
            Relief::None if self.tightness.tight => self.checkpoint_leniently("PASSIVE"),
            Relief::None => self.tighten(),
            Relief::Log => {
                let makes_room = changes.iter().all(makes_room);
                // What does not make room may use the reserve for its log only while the database has pages for it.
                if !(makes_room || meter::free_pages(&self.conn) >= MARGIN_PAGES) || !self.release_reserve() {
                    return refused;
                }
                self.pin(if makes_room { MARGIN_PAGES } else { 0 });
                return Ok(Relief::Reserve);
            }
            Relief::Reserve => return refused,
        }
        match &self.poisoned {
            Some(why) => Err(CommitError::Poisoned(why.clone())),
            None => Ok(Relief::Log),
        }
    }

    /// After an attempt with the reserve's room: the log gives that room back, and the reserve takes it.
    pub(crate) fn reclaim_reserve(&mut self) {
        self.checkpoint_leniently("TRUNCATE");
        if let Some(files) = &mut self.files
            && !files.restore_now()
        {
            tracing::warn!("the disk reserve could not be put back: something else uses the disk");
        }
        self.pin(0);
    }

    fn tighten(&mut self) {
        if !self.tightness.tight {
            tracing::warn!("the disk is full: the journal does not grow until there is room again");
        }
        self.tightness = Tightness { tight: true, commits: 0 };
        self.release_reserve();
        self.reclaim_reserve();
    }

    fn look_for_room(&mut self) {
        if !self.tightness.tight {
            return;
        }
        self.tightness.commits += 1;
        if self.tightness.commits < LOOK_EVERY {
            return;
        }
        self.tightness.commits = 0;
        if self.files.as_ref().is_some_and(|files| files.is_reserved() && files.has_room()) {
            tracing::info!("the disk has room again");
            self.tightness.tight = false;
            if connection::limit_size(&self.conn, &self.options).is_err() {
                self.tightness.tight = true;
            }
        }
    }

    /// Lets the database grow by `pages` pages and no more.
    fn pin(&self, pages: u64) {
        let most = meter::pages(&self.conn).saturating_add(pages);
        // When this does not work, a later commit meets the full disk itself.
        let _ = connection::limit_pages(&self.conn, crate::schema::signed(most));
    }

    fn checkpoint_leniently(&mut self, kind: &str) {
        match meter::checkpoint(&self.conn, kind) {
            Ok(seen) => self.meter.note(seen.as_ref()),
            Err(error) if is_full(&error) => {}
            Err(error) => {
                self.poison(format!("carrying the log over: {error}"));
            }
        }
    }

    /// Gives the reserve back to the disk; `false` when there is none. Commits that only make room do this by themselves.
    pub fn release_reserve(&mut self) -> bool {
        self.files.as_mut().is_some_and(Files::release_reserve)
    }

    /// Whether the reserve is in place, after trying to put it there.
    pub fn restore_reserve(&mut self) -> bool {
        self.files.as_mut().is_none_or(Files::restore_now)
    }

    /// Whether the database may not grow because the disk was found full.
    #[must_use]
    pub const fn is_tight(&self) -> bool {
        self.tightness.tight
    }
}

const fn makes_room(change: &Change) -> bool {
    matches!(
        change,
        Change::Drop { .. }
            | Change::DeclareGaps { .. }
            | Change::Acknowledge { .. }
            | Change::Reject { .. }
            | Change::Remember { .. }
    )
}

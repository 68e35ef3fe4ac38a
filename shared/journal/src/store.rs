//! A store: one SQLite file, one writer connection, and what is known of every journal in it.
//!
//! Promise: after an error that leaves the disk's state unknown, nothing is written or read any more.
//! Absent: threads ([`crate::Writer`]), time, and what should be stored (the engines).

use std::path::{Path, PathBuf};

use millrace_merkle::{About, Told};
use millrace_model::store::{JournalState, Quarantined, SegmentInfo, Usage};
use millrace_model::{Incarnation, JournalId, RecordCheck, Run, Seq, SeqRange};
use rusqlite::Connection;

use crate::codec::Encoder;
use crate::disk::Files;
use crate::error::{Fault, OpenError, ReadError};
use crate::opening::{self, OpenReport};
use crate::options::Options;
use crate::query::{Page, Query};
use crate::reader::Reader;
use crate::row::JournalRow;
use crate::verify::{Progress, Report};
use crate::work::{Journals, Writing};
use crate::{connection, load, memory, migrations, query, survey, told, verify};

/// Checks that one call returns at most.
pub const CHECKS_MAX: usize = 4_096;

/// Journals in one SQLite file. One value writes; see [`Reader`] for reading beside it.
pub struct Store {
    pub(crate) conn: Connection,
    pub(crate) options: Options,
    /// `None` in memory.
    pub(crate) files: Option<Files>,
    pub(crate) journals: Journals,
    pub(crate) writing: Option<Writing>,
    pub(crate) encoder: Encoder,
    pub(crate) poisoned: Option<String>,
    /// What commits put aside, for the outcomes of the next one that is made.
    pub(crate) untold: Vec<Quarantined>,
    pub(crate) meter: crate::meter::Meter,
    pub(crate) tightness: crate::relief::Tightness,
    pub(crate) report: OpenReport,
}

impl Store {
    /// Opens the store at `path`, or makes it: locks it, looks for lost commits in its write-ahead log, migrates it, and
    /// compares what is there with what was noted.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what to do.
    pub fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let mut files = Files::lock(path, options.reserve_bytes)?;
        let (lost_commits, conn) = match opening::connect(path, options) {
            // On a full disk even opening needs a little room.
            Err(OpenError::Full) if files.release_reserve() => opening::connect(path, options)?,
            other => other?,
        };
        let reserved = files.restore_reserve();
        let mut store = Self::build(conn, options, Some(files), lost_commits)?;
        store.report.reserved = reserved;
        store.begin_log();
        if let Some(what) = store.poisoned {
            return Err(OpenError::Damaged { what });
        }
        if let Some(files) = &store.files {
            files.flush_directory()?;
        }
        Ok(store)
    }

    /// A new store in memory, for simulations: it loses everything when dropped.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory(options: &Options) -> Result<Self, OpenError> {
        Self::build(connection::memory(options)?, options, None, 0)
    }

    /// The store in memory that [`Store::image`] made a copy of.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn from_image(image: &[u8], options: &Options) -> Result<Self, OpenError> {
        let mut conn = connection::memory(options)?;
        conn.deserialize_read_exact("main", image, image.len(), false)?;
        connection::limit_size(&conn, options)?;
        Self::build(conn, options, None, 0)
    }

    fn build(
        mut conn: Connection,
        options: &Options,
        files: Option<Files>,
        lost_commits: u64,
    ) -> Result<Self, OpenError> {
        let migrated_from = migrations::migrate(&mut conn).map_err(opening::explain_open)?;
        let writing = opening::settle_role(&conn, options).map_err(opening::explain_open)?;
        let rows = JournalRow::load_all(&conn, None).map_err(opening::explain_fault)?;
        let journals: Journals = rows.into_iter().map(|row| (row.journal, row)).collect();
        let report =
            OpenReport { created: migrated_from == 0, migrated_from, lost_commits, ..OpenReport::default() };
        let mut store = Self {
            conn,
            options: options.clone(),
            files,
            journals,
            writing,
            encoder: Encoder::new(options.compression_level),
            poisoned: None,
            untold: Vec::new(),
            meter: crate::meter::Meter::default(),
            tightness: crate::relief::Tightness::default(),
            report,
        };
        opening::prepare(&mut store)?;
        Ok(store)
    }

    /// All of it as bytes, as a power cut right after the last commit would leave it.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn image(&mut self) -> Result<Vec<u8>, ReadError> {
        self.healthy()?;
        let mut image = self.conn.serialize("main").map_err(Fault::from)?.to_vec();
        // In the header of a file stands that it has a write-ahead log (file format, 1.3.3); an image has none.
        if let Some(versions) = image.get_mut(18..20) {
            versions.fill(1);
        }
        Ok(image)
    }

    /// What was found when it was opened.
    #[must_use]
    pub const fn opened(&self) -> &OpenReport {
        &self.report
    }

    /// Where it is; `None` in memory.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        self.files.as_ref().map(|files| files.database.clone())
    }

    /// What is known of every journal, in the order of their ids.
    #[must_use]
    pub fn journals(&self) -> Vec<JournalState> {
        self.journals.values().map(JournalRow::state).collect()
    }

    /// What is known of one journal.
    #[must_use]
    pub fn journal(&self, journal: &JournalId) -> Option<JournalState> {
        self.journals.get(journal).map(JournalRow::state)
    }

    /// The life of this data directory; `None` at a hub.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.writing.map(|writing| writing.incarnation)
    }

    /// Why the store does nothing any more, if so.
    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// How much room it takes.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let log_bytes = self.files.as_ref().map_or(0, Files::log_bytes);
        let used = crate::meter::used_pages(&self.conn).saturating_mul(self.meter.page_bytes);
        Usage { used_bytes: used.saturating_add(log_bytes), written_bytes: self.meter.written_bytes }
    }

    pub(crate) fn healthy(&self) -> Result<(), ReadError> {
        self.poisoned.as_ref().map_or(Ok(()), |why| Err(ReadError::Poisoned(why.clone())))
    }

    fn row(&self, journal: &JournalId) -> Result<Option<&JournalRow>, ReadError> {
        self.healthy()?;
        Ok(self.journals.get(journal))
    }

    /// What is here of `range`, oldest first: whole segments byte for byte as stored when the range covers them, everything
    /// else encoded anew. At least one run if anything is here, otherwise at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when something does not verify; [`Store::quarantine`] takes it out of the way.
    pub fn load(
        &self,
        journal: &JournalId,
        range: SeqRange,
        bytes_max: usize,
    ) -> Result<Vec<Run>, ReadError> {
        let Some(row) = self.row(journal)? else { return Ok(Vec::new()) };
        Ok(load::load(&self.conn, row, range, bytes_max, self.options.compression_level)?)
    }

    /// The checks of the records here in `range`, oldest first, at most [`CHECKS_MAX`].
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn checks(&self, journal: &JournalId, range: SeqRange) -> Result<Vec<(Seq, RecordCheck)>, ReadError> {
        let Some(row) = self.row(journal)? else { return Ok(Vec::new()) };
        Ok(load::checks(&self.conn, row, range, CHECKS_MAX)?)
    }

    /// What a peer is told about a journal.
    ///
    /// # Errors
    /// As [`Store::load`], and [`ReadError::Question`].
    pub fn tell(&self, journal: &JournalId, about: &About) -> Result<Told, ReadError> {
        told::check(about)?;
        let Some(row) = self.row(journal)? else { return Ok(Told::Unknown) };
        Ok(told::tell(&self.conn, row, about)?)
    }

    /// The `per_journal` oldest segments of every journal, for deciding what goes first.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn survey(&self, per_journal: usize) -> Result<Vec<SegmentInfo>, ReadError> {
        self.healthy()?;
        let mut found = Vec::new();
        for row in self.journals.values() {
            survey::oldest(&self.conn, row, per_journal, &mut found)?;
        }
        Ok(found)
    }

    /// Whether losses wait to be declared with `Change::DeclareGaps`.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn has_open_gaps(&self) -> Result<bool, ReadError> {
        self.healthy()?;
        Ok(crate::gaps::any(&self.conn).map_err(Fault::from)?)
    }

    /// What was remembered under `name`.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn recall(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        self.healthy()?;
        memory::recall(&self.conn, name)
    }

    /// One page of records by device, lane, topic and time. Damaged records are left out and named in it.
    ///
    /// # Errors
    /// When SQLite fails in a way that is not damage of records, or the store is poisoned.
    pub fn query(&self, query: &Query) -> Result<Page, ReadError> {
        self.healthy()?;
        query::run(&self.conn, query, self.journals.values().cloned())
    }

    /// Reads everything against its checks and hashes. Never writes.
    ///
    /// # Errors
    /// When SQLite fails in a way that is not damage.
    pub fn verify(&self, progress: impl FnMut(Progress)) -> Result<Report, ReadError> {
        self.healthy()?;
        verify::run(&self.conn, progress)
    }

    /// A second connection that only reads, so that reading never waits for writing. It may move to another thread.
    ///
    /// # Errors
    /// [`ReadError::InMemory`] for a store in memory.
    pub fn reader(&self) -> Result<Reader, ReadError> {
        let path = self.path().ok_or(ReadError::InMemory)?;
        Reader::open(&path, &self.options).map_err(|error| ReadError::Failed(error.to_string()))
    }
}

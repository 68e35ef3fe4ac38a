//! Repairs: what was mended lately, and which comparisons found something, kept for people.
//!
//! ```text
//! repairs.json      one JSON object: {"version": 1, "reports": [oldest … newest]}
//! ```
//!
//! Promise: at most [`KEPT_MAX`] reports are kept, here and on disk; the file is replaced whole. One that is missing or damaged costs
//! nothing but the memory of what was mended.
//! Absent: deciding what is mended (the engine).

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use millrace_host::times::rfc3339;
use millrace_hub_engine::{Mend, Partner, RoundReport};
use millrace_model::JournalId;
use serde::{Deserialize, Serialize};

/// Reports that are kept; older ones are in the log.
pub const KEPT_MAX: usize = 1_000;

/// Largest file that is read: a thousand reports take about 400 KB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Something that was mended, or a comparison that found something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Report {
    /// A journal had lost records and has them again, or never will.
    Mended(Mended),
    /// This hub and another holder compared what they have.
    Compared(Compared),
}

/// One journal that had lost records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mended {
    /// When the loss was noticed.
    pub at: String,
    /// Which journal.
    pub journal: JournalId,
    /// Records that were lost.
    pub lost: u64,
    /// Records that came again.
    pub fetched: u64,
    /// Records that nobody has any more: they are declared as lost.
    #[serde(default)]
    pub declared: u64,
    /// Bytes of the runs that brought them.
    pub bytes: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Who brought them: hubs by their numbers, or `the device`.
    pub sources: Vec<String>,
}

/// One round of comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// When it began.
    pub at: String,
    /// With whom: a hub by its number, or the device.
    pub partner: String,
    /// Why: `demand`, `recheck`, `reconnect` or `interval`.
    pub trigger: String,
    /// Whether nothing was to be done.
    pub dry_run: bool,
    /// Journals that were compared one by one; those under equal roots were not.
    pub journals: u64,
    /// Of these, journals that differed for longer than a moment.
    pub differing: u64,
    /// Records that the other one has, and this hub fetches.
    pub pulled: u64,
    /// Records that this hub has, and the other one gets.
    pub pushed: u64,
    /// Segments that were sealed from records that were here.
    pub sealed: u64,
    /// Segments and rows that were different at both.
    pub contested: u64,
    /// Hashes of what was let go here that were taken over.
    pub adopted: u64,
    /// Questions: each went to the other one and back.
    pub questions: u64,
    /// Bytes of questions and answers, about.
    pub bytes: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Whether everything is equal.
    pub equal: bool,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<String>,
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl From<&Mend> for Mended {
    fn from(mend: &Mend) -> Self {
        Self {
            at: rfc3339(mend.at),
            journal: mend.journal,
            lost: mend.lost,
            fetched: mend.fetched,
            declared: mend.declared,
            bytes: mend.bytes,
            took_ms: millis(mend.took),
            sources: mend.sources.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&RoundReport> for Compared {
    fn from(round: &RoundReport) -> Self {
        let partner = match (round.partner, round.device) {
            (Partner::Hub(node), _) => format!("hub {node}"),
            (Partner::Agent(_), Some(device)) => format!("device {device}"),
            (Partner::Agent(link), None) => format!("connection {link}"),
        };
        let found = &round.findings;
        Self {
            at: rfc3339(round.at),
            partner,
            trigger: round.trigger.name().to_owned(),
            dry_run: round.dry_run,
            journals: found.journals,
            differing: found.differing,
            pulled: found.pulled,
            pushed: found.pushed,
            sealed: found.sealed,
            contested: found.contested,
            adopted: found.adopted,
            questions: found.questions,
            bytes: found.bytes,
            took_ms: millis(round.took),
            equal: found.differing == 0 && round.ended.is_none(),
            ended: round.ended.clone(),
        }
    }
}

impl Report {
    /// When it began.
    #[must_use]
    pub fn at(&self) -> &str {
        match self {
            Self::Mended(mended) => &mended.at,
            Self::Compared(compared) => &compared.at,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    reports: VecDeque<Report>,
}

/// The reports. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repairs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    reports: Mutex<VecDeque<Report>>,
    /// One writes at a time, the newest state.
    writing: Mutex<()>,
}

impl Repairs {
    /// What an earlier process kept at `path`.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let reports = read(path).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "what was mended before is not known any more");
            }
            VecDeque::new()
        });
        Self(Arc::new(Shared {
            path: path.to_owned(),
            reports: Mutex::new(reports),
            writing: Mutex::new(()),
        }))
    }

    /// Keeps one more.
    pub fn add(&self, report: Report) {
        let mut reports = self.lock();
        while reports.len() >= KEPT_MAX {
            reports.pop_front();
        }
        reports.push_back(report);
    }

    /// Writes them; call it where the disk may be waited for.
    ///
    /// # Errors
    /// When the disk refuses; the old file then stays.
    pub fn save(&self) -> io::Result<()> {
        let _one_at_a_time = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let written = Written { version: 1, reports: self.lock().clone() };
        millrace_host::files::replace(&self.0.path, &serde_json::to_vec(&written)?)
    }

    /// The newest `limit`, newest first.
    #[must_use]
    pub fn latest(&self, limit: usize) -> Vec<Report> {
        self.lock().iter().rev().take(limit).cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Report>> {
        self.0.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> io::Result<VecDeque<Report>> {
    if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too long"));
    }
    let mut written: Written = serde_json::from_slice(&std::fs::read(path)?)?;
    if written.version != 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "another version wrote it"));
    }
    let surplus = written.reports.len().saturating_sub(KEPT_MAX);
    written.reports.drain(..surplus);
    Ok(written.reports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_model::{DeviceId, Incarnation, Lane};

    fn report(lost: u64) -> Report {
        let device = DeviceId::from_bytes([7; 16]);
        let journal = JournalId { device, incarnation: Incarnation::new(9), lane: Lane::Bulk };
        let sources = vec!["hub n2".to_owned()];
        let at = "2026-01-01T00:00:00Z".into();
        Report::Mended(Mended {
            at,
            journal,
            lost,
            fetched: lost,
            declared: 0,
            bytes: 9,
            took_ms: 5,
            sources,
        })
    }

    #[test]
    fn the_latest_reports_outlive_the_process_and_damage_only_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("repairs.json");
        let repairs = Repairs::open(&path);
        (0..KEPT_MAX as u64 + 5).for_each(|lost| repairs.add(report(lost)));
        repairs.save().unwrap();
        let again = Repairs::open(&path);
        assert_eq!(again.latest(KEPT_MAX + 9).len(), KEPT_MAX);
        assert_eq!(again.latest(1), [report(KEPT_MAX as u64 + 4)]);
        std::fs::write(&path, b"{").unwrap();
        assert_eq!(Repairs::open(&path).latest(9), []);
    }
}

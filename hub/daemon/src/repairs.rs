//! Repairs: what was mended lately, and which comparisons found something, kept for people; at this hub, and what the others told of theirs.
//!
//! ```text
//! repairs.json   one JSON object: {"version": 2, "reports": [oldest … newest], "others": {HUB: {"name", "reports": […]}}}
//!                version 1 had neither others nor numbers
//! ```
//!
//! Promise: at most [`KEPT_MAX`] reports of this hub are kept and [`COPIES_MAX`] of each of [`HUBS_MAX`] others, here and on disk; the
//! file is replaced whole, by one at a time, and at most one more waits to do it. One that is missing or damaged costs nothing but the memory of what was mended. A report of another hub stands
//! under the identity that it came with.
//! Absent: deciding what is mended (the engine), asking other hubs.
//!
//! | room | what stands there |
//! |---|---|
//! | [`report`] | one report, and what of it another hub may say |
//! | [`telling`] | telling the other hubs |

pub mod report;
pub mod telling;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_model::{HubId, Wall};
use millrace_wire::limits::HUBS_MAX;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use report::{Compared, Mended, Numbered, Report};
use report::{NUMBER_MAX, REPORT_BYTES_MAX};

/// Reports of this hub that are kept; older ones are in the log.
pub const KEPT_MAX: usize = 1_000;

/// Reports of each other hub that are kept here, and that one message brings. The older ones are with that hub.
pub const COPIES_MAX: usize = 200;

/// The greatest number that another hub can make this one go on from: room for 2⁴⁰ reports is left above it.
const FLOOR_MAX: u64 = NUMBER_MAX - (1 << 40);

/// Largest file that is read: all that may be kept, each report of the greatest length.
const FILE_BYTES_MAX: u64 = ((KEPT_MAX + HUBS_MAX * COPIES_MAX) * (REPORT_BYTES_MAX + 64)) as u64;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    version: u32,
    reports: VecDeque<Numbered>,
    #[serde(default)]
    others: BTreeMap<HubId, Copies>,
    /// Other hubs have reports of this one up to this number: the next is greater.
    #[serde(skip)]
    floor: u64,
    /// A save is due that will write whatever stands here when its turn comes.
    #[serde(skip)]
    due: bool,
}

/// What another hub has told of its repairs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Copies {
    /// What it was called when it told.
    pub name: String,
    /// Oldest first.
    pub reports: VecDeque<Numbered>,
}

/// The reports. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repairs(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    kept: Mutex<Kept>,
    /// The number of this hub's newest report, for those who wait for another.
    newest: watch::Sender<u64>,
    /// One writes at a time, the newest state.
    writing: Mutex<()>,
}

impl Repairs {
    /// What an earlier process kept at `path`.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let kept = read(path).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "what was mended before is not known any more");
            }
            Kept::default()
        });
        Self(Arc::new(Shared {
            path: path.to_owned(),
            newest: watch::Sender::new(newest(&kept.reports)),
            kept: Mutex::new(kept),
            writing: Mutex::new(()),
        }))
    }

    /// Keeps one more of this hub. Its number is the time, in microseconds, or follows the one before when that is greater: so it is new
    /// to whoever has copies, also after the file was lost.
    pub fn add(&self, report: Report, now: Wall) {
        let mut kept = self.lock();
        let time = u64::try_from(now.0).unwrap_or_default();
        let before = newest(&kept.reports).max(kept.floor);
        let number = time.max(before.saturating_add(1)).min(NUMBER_MAX);
        while kept.reports.len() >= KEPT_MAX {
            kept.reports.pop_front();
        }
        kept.reports.push_back(Numbered { number, report });
        drop(kept);
        self.0.newest.send_replace(number);
    }

    /// Another hub has reports of this one up to `number`. When that is greater than all that this one knows of (its file was lost, and
    /// its clock set back), the next report gets a greater one still, or the other hub would take it for known. Whether that was so.
    pub fn go_on_after(&self, number: u64) -> bool {
        let mut kept = self.lock();
        let raised = number > newest(&kept.reports).max(kept.floor) && number <= FLOOR_MAX;
        if raised {
            kept.floor = number;
        }
        raised
    }

    /// Has them written soon, in a thread that may wait for the disk; `None` when that is due already. However many reports come while
    /// one save is under way, one more writes all of them. A save that fails is logged.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn save_soon(&self) -> Option<JoinHandle<()>> {
        if std::mem::replace(&mut self.lock().due, true) {
            return None;
        }
        let repairs = self.clone();
        Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = repairs.save() {
                tracing::warn!(%error, "reports of repairs could not be written");
            }
        }))
    }

    /// Writes them; call it where the disk may be waited for.
    ///
    /// # Errors
    /// When the disk refuses; the old file then stays.
    pub fn save(&self) -> io::Result<()> {
        let _one_at_a_time = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let written = {
            let mut kept = self.lock();
            kept.due = false;
            kept.version = 2;
            serde_json::to_vec(&*kept)?
        };
        millrace_host::files::replace(&self.0.path, &written)
    }

    /// The newest `limit` of this hub, newest first.
    #[must_use]
    pub fn latest(&self, limit: usize) -> Vec<Numbered> {
        self.lock().reports.iter().rev().take(limit).cloned().collect()
    }

    /// Those of this hub behind `number`, oldest first; of more than [`COPIES_MAX`] the newest.
    #[must_use]
    pub fn behind(&self, number: u64) -> Vec<Numbered> {
        let kept = self.lock();
        let news = kept.reports.iter().rev().take_while(|report| report.number > number).take(COPIES_MAX);
        let mut news: Vec<Numbered> = news.cloned().collect();
        news.reverse();
        news
    }

    /// The number of this hub's newest report, now and whenever it changes; 0: it has none.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }

    /// Keeps what another hub, called `name` now, has told of its repairs. The number of the newest that is kept of it, and whether
    /// anything is new.
    ///
    /// # Errors
    /// When it tells too much, or what is no report; then nothing of it is kept.
    pub fn take_copies(&self, hub: HubId, name: &str, told: Vec<Numbered>) -> Result<(u64, bool), String> {
        if told.len() > COPIES_MAX {
            return Err(format!("{} reports at once: at most {COPIES_MAX} are taken", told.len()));
        }
        told.iter().try_for_each(Numbered::check)?;
        let mut kept = self.lock();
        if told.is_empty() {
            return Ok((kept.others.get(&hub).map_or(0, |copies| newest(&copies.reports)), false));
        }
        let before = kept.others.get(&hub).cloned().unwrap_or_default();
        let after = merged(Copies { name: name.to_owned(), ..before.clone() }, told);
        let changed = after != before;
        kept.others.insert(hub, after);
        forget_surplus(&mut kept.others);
        Ok((kept.others.get(&hub).map_or(0, |copies| newest(&copies.reports)), changed))
    }

    /// What is kept of the other hubs.
    #[must_use]
    pub fn copies(&self) -> BTreeMap<HubId, Copies> {
        self.lock().others.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn newest(reports: &VecDeque<Numbered>) -> u64 {
    reports.back().map_or(0, |report| report.number)
}

/// The copies with those among `told` that are new; of too many the newest.
fn merged(mut copies: Copies, told: Vec<Numbered>) -> Copies {
    let known: BTreeSet<u64> = copies.reports.iter().map(|report| report.number).collect();
    copies.reports.extend(told.into_iter().filter(|report| !known.contains(&report.number)));
    in_order(&mut copies.reports, COPIES_MAX);
    copies
}

/// Sorted and each number once; of more than `limit` the newest.
fn in_order(reports: &mut VecDeque<Numbered>, limit: usize) {
    let mut all: Vec<Numbered> = std::mem::take(reports).into();
    all.sort_by_key(|report| report.number);
    all.dedup_by_key(|report| report.number);
    let surplus = all.len().saturating_sub(limit);
    reports.extend(all.drain(surplus..));
}

/// Of too many hubs those go that have told nothing for longest: removed ones, as a rule.
fn forget_surplus(others: &mut BTreeMap<HubId, Copies>) {
    while others.len() > HUBS_MAX {
        let oldest = others.iter().min_by_key(|(_, copies)| newest(&copies.reports)).map(|(hub, _)| *hub);
        match oldest {
            Some(hub) => drop(others.remove(&hub)),
            None => return,
        }
    }
}

fn read(path: &Path) -> io::Result<Kept> {
    if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too long"));
    }
    let mut kept: Kept = serde_json::from_slice(&std::fs::read(path)?)?;
    match kept.version {
        1 => kept.reports.iter_mut().zip(1..).for_each(|(report, number)| report.number = number),
        2 => {}
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "another version wrote it")),
    }
    in_order(&mut kept.reports, KEPT_MAX);
    kept.others.values_mut().for_each(|copies| in_order(&mut copies.reports, COPIES_MAX));
    forget_surplus(&mut kept.others);
    Ok(kept)
}

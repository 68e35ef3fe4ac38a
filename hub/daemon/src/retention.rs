//! Retention's calendar and memory: when to look, and what must be known after a restart.
//!
//! ```text
//! retention.json      check: 16 hexadecimal digits of BLAKE3 over the rest ⏎ one JSON object
//! ```
//!
//! Promise: the file is replaced whole. When it is missing or damaged, records only stay longer than they were to.
//! Absent: which records go (the engine), dropping them (the journal).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_host::schedules::{ScheduleError, Schedules};
use millrace_hub_engine::{Arrival, Memory};
use millrace_model::{JournalId, Seq, Wall};
use serde::{Deserialize, Serialize};

/// The schedule's name.
pub const NAME: &str = "retention";

/// Digits of the check.
const CHECK_DIGITS: usize = 16;

/// Largest file that is read: 100,000 journals with all their arrivals take about 150 MiB.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Whether it is time to look. Cheap to clone; the driver asks at each of its ticks.
#[derive(Debug, Clone, Default)]
pub struct Looking(Arc<AtomicBool>);

impl Looking {
    /// It is time.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked since the last call.
    #[must_use]
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Looks whenever `cron` comes true; an earlier calendar is replaced.
///
/// # Errors
/// When the expression is wrong; then the earlier one is gone too.
pub async fn schedule(
    schedules: &Schedules,
    (name, cron): (&str, &str),
    looking: &Looking,
) -> Result<(), ScheduleError> {
    schedules.remove(name).await;
    let looking = looking.clone();
    schedules.add(name, cron, move || looking.ask()).await
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    aged: u64,
    evicted: u64,
    journals: Vec<(JournalId, Vec<(Wall, Seq)>)>,
}

fn check_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().chars().take(CHECK_DIGITS).collect()
}

/// Writes what the next process should know.
///
/// # Errors
/// When the disk refuses; the old file then stays.
pub fn save(path: &Path, memory: &Memory) -> io::Result<()> {
    let pairs = |arrivals: &Vec<Arrival>| arrivals.iter().map(|a| (a.at, a.through)).collect();
    let written = Written {
        version: 1,
        aged: memory.aged,
        evicted: memory.evicted,
        journals: memory.arrivals.iter().map(|(journal, noted)| (*journal, pairs(noted))).collect(),
    };
    let text = serde_json::to_string(&written)?;
    millrace_host::files::replace(path, format!("{}\n{text}\n", check_of(&text)).as_bytes())
}

/// What an earlier process wrote. What cannot be read is said in the log, and counting begins anew.
#[must_use]
pub fn load(path: &Path) -> Memory {
    match read(path) {
        Ok(memory) => memory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Memory::default(),
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, "how long records have been here is not known any more: their time begins now");
            Memory::default()
        }
    }
}

fn read(path: &Path) -> io::Result<Memory> {
    let damaged = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(damaged("the file is too long"));
    }
    let text = std::fs::read_to_string(path)?;
    let (check, rest) = text.split_once('\n').ok_or_else(|| damaged("there is no check"))?;
    let rest = rest.trim_end();
    if check != check_of(rest) {
        return Err(damaged("the check does not fit"));
    }
    let written: Written = serde_json::from_str(rest)?;
    if written.version != 1 {
        return Err(damaged("another version wrote it"));
    }
    let noted =
        |pairs: Vec<(Wall, Seq)>| pairs.into_iter().map(|(at, through)| Arrival { at, through }).collect();
    Ok(Memory {
        arrivals: written.journals.into_iter().map(|(journal, pairs)| (journal, noted(pairs))).collect(),
        aged: written.aged,
        evicted: written.evicted,
    })
}

#[cfg(test)]
mod tests {
    use millrace_model::{DeviceId, Incarnation, Lane};

    use super::*;

    #[test]
    fn what_is_remembered_reads_back_and_damage_only_forgets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("retention.json");
        assert_eq!(load(&path), Memory::default(), "there is none yet");
        let journal = JournalId {
            device: DeviceId::from_bytes([7; 16]),
            incarnation: Incarnation::new(9),
            lane: Lane::Bulk,
        };
        let noted = vec![Arrival { at: Wall(5), through: 7 }, Arrival { at: Wall(6), through: 9 }];
        let memory = Memory { arrivals: [(journal, noted)].into(), aged: 3, evicted: 4 };
        save(&path, &memory).unwrap();
        assert_eq!(load(&path), memory);
        let mut bytes = std::fs::read(&path).unwrap();
        let place = bytes.len() - 6;
        bytes[place] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(load(&path), Memory::default());
    }
}

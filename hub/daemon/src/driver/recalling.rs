//! What the driver reads for devices that get their history back.
//!
//! Promise: one such read runs at a time, over the connections that load for other hubs: replication always has another one, and neither
//! sessions nor queries wait. Damage that it meets is moved aside.
//! Absent: who may ask for what (the engine).

use millrace_hub_engine::{Event, History, LinkId};
use millrace_journal::{Kept, Portion, ReadError, Reader};
use millrace_model::{DeviceId, JournalId, RangeSet, Run, SeqRange};
use millrace_wire::limits::FETCH_RUNS_MAX;

use super::input::Answer;
use super::{Driver, RECALLS_RUNNING_MAX};
use crate::reading::Reading;

/// Pieces of damage that one read goes around; when there are more, the rest is asked for again.
const DAMAGE_AROUND_MAX: usize = 64;

/// Something to be read for a device.
#[derive(Debug)]
pub(super) struct Recall {
    pub(super) link: LinkId,
    pub(super) what: Recalled,
}

#[derive(Debug)]
pub(super) enum Recalled {
    /// What there is of it.
    Of(DeviceId),
    /// The newest of these records.
    Newest { journal: JournalId, ranges: RangeSet, bytes_max: usize },
}

impl Driver {
    /// The engine has at most one for each connection.
    pub(super) fn recall(&mut self, link: LinkId, what: Recalled) {
        self.recalls.push_back(Recall { link, what });
    }

    pub(super) fn start_recalls(&mut self) {
        while self.recalling < RECALLS_RUNNING_MAX
            && let Some(Recall { link, what }) = self.recalls.pop_front()
        {
            if !self.lines.contains_key(&link) {
                continue;
            }
            self.recalling += 1;
            let (reading, answer) = (self.parts.loading.clone(), self.answer.clone());
            tokio::spawn(async move {
                let event = match what {
                    Recalled::Of(device) => Event::Recalled { link, kept: kept(&reading, device).await },
                    Recalled::Newest { journal, ranges, bytes_max } => {
                        let (runs, damaged) = newest(&reading, journal, ranges, bytes_max).await;
                        Event::Fetched { link, runs, damaged }
                    }
                };
                // Fails only when the driver has ended.
                let _ = answer.send(Answer::Recalled(event)).await;
            });
        }
    }
}

async fn kept(reading: &Reading, device: DeviceId) -> Option<Vec<History>> {
    let history = |Kept { journal, present, bytes, newest }| History { journal, present, bytes, newest };
    match reading.run(move |reader| reader.kept(&device)).await {
        Ok(kept) => Some(kept.into_iter().map(history).collect()),
        Err(error) => {
            tracing::warn!(%device, %error, "what is kept of a device cannot be read now");
            None
        }
    }
}

/// The newest of `wanted`, and what of it is damaged.
async fn newest(
    reading: &Reading,
    journal: JournalId,
    wanted: RangeSet,
    bytes_max: usize,
) -> (Vec<Run>, RangeSet) {
    match reading.run(move |reader| newest_around(reader, &journal, wanted, bytes_max)).await {
        Ok((runs, damages)) => {
            for (range, what) in &damages {
                reading.move_aside(journal, *range, what);
            }
            (runs, damages.into_iter().map(|(range, _)| range).collect())
        }
        Err(error) => {
            tracing::warn!(%journal, %error, "a device's history cannot be read now");
            (Vec::new(), RangeSet::new())
        }
    }
}

type Around = (Vec<Run>, Vec<(SeqRange, String)>);

fn newest_around(
    reader: &Reader,
    journal: &JournalId,
    mut wanted: RangeSet,
    bytes_max: usize,
) -> Result<Around, ReadError> {
    let portion = Portion { bytes_max, runs_max: FETCH_RUNS_MAX };
    let mut damages = Vec::new();
    loop {
        match reader.newest(journal, &wanted, portion) {
            Err(ReadError::Damaged { range, what, .. }) if damages.len() < DAMAGE_AROUND_MAX => {
                wanted.remove(range);
                damages.push((range, what));
            }
            found => return Ok((found?, damages)),
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_journal::{Options, Writer};

    use super::*;
    use crate::driver::input::Answers;
    use crate::driver::replicating::tests::{journal, store};

    #[tokio::test]
    async fn damage_is_moved_aside_and_named_and_the_rest_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let store = store(&path, &[4]);
        let reader = store.reader().unwrap();
        let writer = Writer::start(store, 4).unwrap();
        let reading = Reading::new(vec![reader], writer.handle(), Answers::new().damages());
        let (runs, damaged) = newest(&reading, journal(), SeqRange::new(1, 9).unwrap().into(), 1 << 20).await;
        let ranges: Vec<_> = runs.iter().filter_map(Run::range).collect();
        assert_eq!(ranges, [SeqRange::only(5), SeqRange::new(1, 3).unwrap()], "newest first");
        assert_eq!(damaged, SeqRange::only(4).into());
        let store = writer.stop().unwrap();
        assert_eq!(store.quarantined().unwrap(), 1);
        let kept = Reader::open(&path, &Options::hub()).unwrap().kept(&journal().device).unwrap();
        assert_eq!(kept.len(), 1);
    }
}

//! What the disk holds of the log, and who waits for it.
//!
//! Promise: nobody waits for what will not come: after a failure everybody who waits is told why.
//! Absent: writing. [`super::log`] and the log's thread tell what they did.

use tokio::sync::watch;

use crate::raft::consensus::LogId;

/// Tells what is flushed.
#[derive(Debug)]
pub(crate) struct Flushes(watch::Sender<Known>);

#[derive(Clone, Debug, Default)]
struct Known {
    /// Appends that were queued, and that were flushed.
    queued: u64,
    done: u64,
    /// The last entry that is flushed.
    last: Option<LogId>,
    /// Up to where state and snapshot, both flushed, stand for the entries.
    covered: Option<u64>,
    /// Why nothing more is flushed.
    failed: Option<String>,
}

impl Flushes {
    pub(crate) fn new(last: Option<LogId>) -> Self {
        Self(watch::Sender::new(Known { last, ..Known::default() }))
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        self.0.borrow().last
    }

    pub(crate) fn failed(&self) -> Option<String> {
        self.0.borrow().failed.clone()
    }

    /// An append was queued.
    pub(crate) fn queued(&self) {
        self.0.send_modify(|known| known.queued += 1);
    }

    /// An append that ends with `last` came to its end; the first failure stays.
    pub(crate) fn done(&self, last: Option<LogId>, failed: Option<String>) {
        self.0.send_modify(|known| {
            known.done += 1;
            match failed {
                None => known.last = known.last.max(last),
                Some(why) => drop(known.failed.get_or_insert(why)),
            }
        });
    }

    /// Nothing more comes.
    pub(crate) fn fail(&self, why: &str) {
        self.0.send_modify(|known| {
            known.failed.get_or_insert_with(|| why.to_owned());
        });
    }

    /// The log was cut off behind `last`.
    pub(crate) fn cut_off(&self, last: Option<LogId>) {
        self.0.send_modify(|known| known.last = last);
    }

    /// The log was purged up to `last`.
    pub(crate) fn purged(&self, last: LogId) {
        self.0.send_modify(|known| known.last = known.last.max(Some(last)));
    }

    pub(crate) fn covered(&self, index: u64) {
        self.0.send_modify(|known| known.covered = known.covered.max(Some(index)));
    }

    /// Waits until the disk holds the entry at `index`.
    pub(crate) async fn through(&self, index: u64) -> Result<(), String> {
        self.wait_for(|known| known.last.is_some_and(|last| last.index >= index)).await
    }

    /// Waits until the disk holds everything that was queued up to now.
    pub(crate) async fn all(&self) -> Result<(), String> {
        let queued = self.0.borrow().queued;
        self.wait_for(|known| known.done >= queued).await
    }

    /// Waits until state and snapshot stand for the entry at `index`.
    pub(crate) async fn cover(&self, index: u64) -> Result<(), String> {
        self.wait_for(|known| known.covered >= Some(index)).await
    }

    async fn wait_for(&self, enough: impl Fn(&Known) -> bool) -> Result<(), String> {
        let mut known = self.0.subscribe();
        let seen = known.wait_for(|known| enough(known) || known.failed.is_some()).await;
        let seen = seen.map_err(|_| "the decision log was closed".to_owned())?;
        match &seen.failed {
            Some(why) if !enough(&seen) => Err(why.clone()),
            _ => Ok(()),
        }
    }
}

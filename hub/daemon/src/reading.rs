//! Reading beside the writer: a few connections to the store, shared by all who ask.
//!
//! Promise: at most so many reads run as there are connections, each on a thread that may block; so many again wait,
//! and whoever comes then is refused at once. Damage that a read finds is handed to the writer, which moves it aside.
//! Absent: what is read.

use std::sync::{Arc, Mutex, PoisonError};

use millrace_journal::{CommitError, ReadError, Reader, WriterHandle};
use millrace_model::{JournalId, SeqRange};
use tokio::sync::Semaphore;

use crate::driver::input::Damages;

/// The connections.
#[derive(Clone)]
pub struct Reading(Arc<Pool>);

struct Pool {
    idle: Mutex<Vec<Reader>>,
    running: Arc<Semaphore>,
    waiting: Semaphore,
    writer: WriterHandle,
    damages: Damages,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// As many reads run and wait as may.
    #[error("as many queries run and wait as may")]
    Busy,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// The thread ended. A fault in the program.
    #[error("the thread that read has ended: {0}")]
    Thread(String),
}

impl Reading {
    /// A pool of these connections. Damage is moved aside by `writer`, and then told to `damages`.
    #[must_use]
    pub fn new(readers: Vec<Reader>, writer: WriterHandle, damages: Damages) -> Self {
        let count = readers.len();
        Self(Arc::new(Pool {
            idle: Mutex::new(readers),
            running: Arc::new(Semaphore::new(count)),
            waiting: Semaphore::new(count.saturating_mul(2)),
            writer,
            damages,
        }))
    }

    /// Runs `read` with one of the connections.
    ///
    /// # Errors
    /// When too many wait already, or the store refuses.
    pub async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadingError> {
        let _place = self.0.waiting.try_acquire().map_err(|_| ReadingError::Busy)?;
        let running = Arc::clone(&self.0.running).acquire_owned().await;
        let running = running.map_err(|_| ReadingError::Busy)?;
        let pool = Arc::clone(&self.0);
        let reading = tokio::task::spawn_blocking(move || {
            let reader = pool.lock().pop().ok_or(ReadingError::Busy)?;
            let found = read(&reader);
            pool.lock().push(reader);
            drop(running);
            if let Err(ReadError::Damaged { journal, range, what }) = &found {
                pool.move_aside(*journal, *range, what);
            }
            found.map_err(ReadingError::from)
        });
        reading.await.map_err(|error| ReadingError::Thread(error.to_string()))?
    }

    /// Hands damage that a read went around to the writer.
    pub fn move_aside(&self, journal: JournalId, range: SeqRange, what: &str) {
        self.0.move_aside(journal, range, what);
    }
}

impl Pool {
    fn move_aside(&self, journal: JournalId, range: SeqRange, what: &str) {
        tracing::error!(%journal, %range, what, "stored records are damaged: they are moved aside");
        let damages = self.damages.clone();
        let moved = self.writer.quarantine(journal, range, move |moved| match moved {
            Ok(aside) => damages.tell(aside),
            Err(error @ CommitError::Poisoned(_)) => damages.poisoned(error.to_string()),
            Err(error) => tracing::error!(%error, "damaged records could not be moved aside"),
        });
        if let Err(error) = moved {
            tracing::warn!(%error, "the writer was too busy to move damaged records aside: the next read tries again");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use millrace_journal::{Options, Store, Writer};

    use super::*;
    use crate::driver::input::Answers;

    #[tokio::test]
    async fn one_read_runs_one_waits_and_the_next_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("journal.db"), &Options::hub()).unwrap();
        let reader = store.reader().unwrap();
        let writer = Writer::start(store, 4).unwrap();
        let reading = Reading::new(vec![reader], writer.handle(), Answers::new().damages());
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (release, released) = sync_channel::<()>(1);
        let running = tokio::spawn({
            let reading = reading.clone();
            async move {
                let read = move |reader: &Reader| {
                    begun.send(()).unwrap();
                    released.recv().unwrap();
                    reader.journals()
                };
                reading.run(read).await
            }
        });
        has_begun.await.unwrap();
        let mut waiting = Box::pin(reading.run(Reader::journals));
        assert!(polled_once(waiting.as_mut()).await.is_none(), "it waits for the connection");
        let refused = reading.run(Reader::journals).await;
        assert!(matches!(refused, Err(ReadingError::Busy)));
        release.send(()).unwrap();
        assert_eq!(running.await.unwrap().unwrap(), []);
        assert_eq!(waiting.await.unwrap(), []);
        drop(writer.stop());
    }

    /// Polls once.
    async fn polled_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}

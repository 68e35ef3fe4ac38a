//! The crew: the tasks that a hub needs for as long as it runs.
//!
//! Promise: one that ends too early, by a fault or by itself, is named at once, so that the hub can end and systemd start it
//! anew: a hub without its steward, its upkeep or its gossip looks well and is not.
//! Absent: the driver, whose end says why.

use std::collections::BTreeSet;
use std::time::Duration;

use millrace_host::{Exit, Failure};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// Tasks, each with its name.
#[derive(Debug, Default)]
pub(super) struct Crew {
    tasks: JoinSet<Leaver>,
    /// Those that have not left.
    names: BTreeSet<&'static str>,
}

/// A task that has ended.
#[derive(Debug)]
pub(super) struct Leaver {
    pub(super) name: &'static str,
    /// Why; `None`: it ended by itself, as at every shutdown.
    pub(super) failure: Option<Failure>,
}

impl Crew {
    /// Begins a task.
    pub(super) fn begin(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.take_in(name, tokio::spawn(task));
    }

    /// Begins a task that may fail.
    pub(super) fn attempt(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) {
        let task = tokio::spawn(task);
        self.names.insert(name);
        self.tasks.spawn(async move {
            let failure = match task.await {
                Ok(ended) => ended.err(),
                Err(error) => Some(Failure::internal(&error)),
            };
            Leaver { name, failure }
        });
    }

    /// Takes in a task that has begun.
    pub(super) fn take_in(&mut self, name: &'static str, task: JoinHandle<()>) {
        self.names.insert(name);
        self.tasks.spawn(async move {
            let failure = task.await.err().map(|error| Failure::internal(&error));
            Leaver { name, failure }
        });
    }

    /// The next task that has ended; waits for it, for ever when there is none left.
    pub(super) async fn leaver(&mut self) -> Leaver {
        match self.tasks.join_next().await {
            Some(Ok(leaver)) => {
                self.names.remove(leaver.name);
                leaver
            }
            // What watches a task has no faults of its own.
            Some(Err(error)) => Leaver { name: "a watcher", failure: Some(Failure::internal(&error)) },
            None => std::future::pending().await,
        }
    }

    /// Waits until all of them have ended. What has not by then is cut with the process.
    pub(super) async fn end(mut self, patience: Duration) {
        let ended = async {
            while !self.tasks.is_empty() {
                let Leaver { name, failure } = self.leaver().await;
                if let Some(failure) = failure {
                    tracing::error!(name, %failure, "a task failed while the hub ended");
                }
            }
        };
        if timeout(patience, ended).await.is_err() {
            tracing::warn!(tasks = ?self.names, "not every task of the hub ends: the process ends without them");
        }
    }
}

impl Leaver {
    /// What its early end means to the process.
    pub(super) fn exit(&self) -> Exit {
        self.failure.as_ref().map_or(Exit::Internal, |failure| failure.exit)
    }

    /// The same, in words.
    pub(super) fn why(&self) -> String {
        self.failure
            .as_ref()
            .map_or_else(|| "it ended too early".to_owned(), |failure| failure.message.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_is_named_with_its_reason() {
        let mut crew = Crew::default();
        crew.begin("patient", std::future::pending());
        crew.begin("broken", async { panic!("a fault") });
        let left = crew.leaver().await;
        assert_eq!((left.name, left.exit()), ("broken", Exit::Internal));
        assert!(left.why().contains("a fault"), "{}", left.why());
        crew.attempt("failed", async { Err(Failure::new(Exit::Io, "the store is poisoned")) });
        let left = crew.leaver().await;
        assert_eq!(
            (left.name, left.exit(), left.why()),
            ("failed", Exit::Io, "the store is poisoned".into())
        );
        crew.take_in("idle", tokio::spawn(async {}));
        let left = crew.leaver().await;
        assert_eq!((left.name, left.exit()), ("idle", Exit::Internal));
        assert!(left.why().contains("too early"));
    }
}

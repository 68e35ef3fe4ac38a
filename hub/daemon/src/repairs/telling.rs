//! Telling the other hubs what was mended and compared here, so that it is still known when this hub is not there.
//!
//! ```text
//!  a new report, or a connection has come up
//!     └─▶ each hub that is connected:  {"repair_reports": []} ─▶ {"newest": 7}     once for each connection
//!                                      {"repair_reports": [8, 9]} ─▶ {"newest": 9}
//! ```
//!
//! The other hub says up to which number it has them, so one that was away, or lost its disk, gets what it lacks; and a hub that lost its
//! own goes on after that number. So it is asked on each connection, whether there is something to tell or not.
//!
//! Promise: at most [`COPIES_MAX`](super::COPIES_MAX) reports at a time, and nothing to whom has them. A hub that does not understand, or
//! cannot be reached, costs a line in the log.
//! Absent: keeping them ([`super`]); who a hub is, which its connection proves.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millrace_host::Shutdown;
use millrace_model::{Moment, NodeId};
use millrace_wire::CallKind;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Numbered, Repairs};
use crate::cluster::Cluster;
use crate::peers::{CallError, Peers};

/// How long another hub may take to keep them.
const PATIENCE: Duration = Duration::from_secs(5);

/// A hub that is connected and was not told is tried again after this: it has just started, or is older than this program.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// What another hub is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Telling {
    pub(crate) repair_reports: Vec<Numbered>,
}

/// What it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Reached {
    /// The number of the newest report that it has of the hub that tells; 0: none.
    pub(crate) newest: u64,
}

/// Up to which number a hub has them, and since when the connection stands on which it said so.
type Known = BTreeMap<NodeId, (Moment, u64)>;

/// Tells, until the shutdown.
pub async fn run(repairs: Repairs, cluster: Cluster, peers: Peers, shutdown: Shutdown) {
    let (mut news, mut connected) = (repairs.newest(), peers.expected());
    let mut known = Known::new();
    loop {
        let newest = *news.borrow_and_update();
        connected.mark_unchanged();
        let all_told = tokio::select! {
            all_told = tell_all(&repairs, &cluster, &peers, &mut known, newest) => all_told,
            () = shutdown.triggered() => return,
        };
        tokio::select! {
            changed = news.changed() => if changed.is_err() { return },
            changed = connected.changed() => if changed.is_err() { return },
            () = sleep(TRY_AGAIN), if !all_told => {}
            () = shutdown.triggered() => return,
        }
    }
}

/// Tells every hub that is connected and lacks some. Whether all of them have them now.
async fn tell_all(
    repairs: &Repairs,
    cluster: &Cluster,
    peers: &Peers,
    known: &mut Known,
    newest: u64,
) -> bool {
    let table = cluster.table();
    let keeps = |node: &NodeId| table.hub(*node).is_some_and(|record| !record.witness);
    let standing = peers.links().into_iter().filter(|link| link.connected && keeps(&link.node));
    let standing: BTreeMap<NodeId, Moment> = standing.map(|link| (link.node, link.since)).collect();
    known.retain(|node, (since, _)| standing.get(node) == Some(since));
    let mut telling = JoinSet::new();
    for (node, since) in standing {
        let reached = known.get(&node).map(|(_, reached)| *reached);
        if reached.is_some_and(|reached| reached >= newest) {
            continue;
        }
        let (repairs, peers) = (repairs.clone(), peers.clone());
        telling.spawn(async move {
            let told = tell(&repairs, reached, |news| said(peers.clone(), node, news)).await;
            (node, since, told)
        });
    }
    let mut all = true;
    while let Some(told) = telling.join_next().await {
        match told {
            Ok((node, since, Ok(reached))) => drop(known.insert(node, (since, reached))),
            Ok((node, _, Err(why))) => {
                tracing::debug!(%node, %why, "a hub does not take reports of repairs");
                all = false;
            }
            Err(error) => tracing::error!(%error, "telling another hub of repairs failed"),
        }
    }
    all
}

/// Tells one hub what it lacks: `reached` is what it said before, on this connection. Up to which number it has them now.
async fn tell<E, F: Future<Output = Result<u64, E>>>(
    repairs: &Repairs,
    reached: Option<u64>,
    mut say: impl FnMut(Vec<Numbered>) -> F,
) -> Result<u64, E> {
    let reached = match reached {
        Some(reached) => reached,
        None => {
            let reached = say(Vec::new()).await?;
            if repairs.go_on_after(reached) {
                tracing::warn!(
                    reached,
                    "another hub has later reports of this hub than this hub itself, whose repairs.json was lost: the next \
                     reports are numbered after those"
                );
            }
            reached
        }
    };
    let news = repairs.behind(reached);
    if news.is_empty() { Ok(reached) } else { say(news).await }
}

async fn said(peers: Peers, node: NodeId, repair_reports: Vec<Numbered>) -> Result<u64, CallError> {
    let failed = |error: serde_json::Error| CallError::Failed(error.to_string());
    let body = serde_json::to_vec(&Telling { repair_reports }).map_err(failed)?;
    let answer = peers.call(node, CallKind::Api, Bytes::from(body), PATIENCE).await?;
    let Reached { newest } = serde_json::from_slice(&answer).map_err(failed)?;
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use millrace_model::{HubId, Wall};

    use super::*;
    use crate::repairs::COPIES_MAX;
    use crate::repairs::tests::mended;

    /// What another hub has of this one.
    struct Other {
        dir: tempfile::TempDir,
        calls: usize,
    }

    impl Other {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), calls: 0 }
        }

        async fn told(&mut self, mine: &Repairs, reached: Option<u64>) -> Result<u64, String> {
            tell(mine, reached, |news| {
                self.calls += 1;
                let theirs = Repairs::open(&self.dir.path().join("repairs.json"));
                let kept = theirs.take_copies(HubId::default(), "hub-1", news);
                theirs.save().unwrap();
                ready(kept.map(|(newest, _)| newest))
            })
            .await
        }

        fn numbers(&self) -> Vec<u64> {
            let theirs = Repairs::open(&self.dir.path().join("repairs.json")).copies();
            theirs.values().flat_map(|copies| &copies.reports).map(|one| one.number).collect()
        }
    }

    #[tokio::test]
    async fn a_hub_is_told_what_it_says_that_it_lacks_and_nothing_twice() {
        let (mine, mut other) = (Other::new(), Other::new());
        let mine = Repairs::open(&mine.dir.path().join("repairs.json"));
        let add = |number: u64| mine.add(mended(number).report, Wall(i64::try_from(number).unwrap()));
        (1..=3).for_each(add);
        assert_eq!(other.told(&mine, None).await, Ok(3));
        assert_eq!((other.numbers(), other.calls), (vec![1, 2, 3], 2), "it is asked first");
        add(4);
        assert_eq!(other.told(&mine, Some(3)).await, Ok(4));
        assert_eq!((other.numbers().len(), other.calls), (4, 3));
        // On another connection it is asked again; it has them.
        assert_eq!(other.told(&mine, None).await, Ok(4));
        assert_eq!(other.calls, 4);
        // It has lost them, and this hub has made many since.
        (5..=500).for_each(add);
        let mut other = Other::new();
        assert_eq!(other.told(&mine, None).await, Ok(500));
        assert_eq!((other.numbers().len(), other.numbers()[0]), (COPIES_MAX, 301));
    }

    #[tokio::test]
    async fn a_hub_that_lost_its_reports_and_whose_clock_was_set_back_is_heard_of_again() {
        let (lost, again, mut other) = (Other::new(), Other::new(), Other::new());
        let fresh = |of: &Other| Repairs::open(&of.dir.path().join("repairs.json"));
        let before = fresh(&lost);
        before.add(mended(1).report, Wall(5_000));
        assert_eq!(other.told(&before, None).await, Ok(5_000));
        let mine = fresh(&again);
        assert_eq!(other.told(&mine, None).await, Ok(5_000), "it has nothing to tell, and asks");
        mine.add(mended(2).report, Wall(70));
        assert_eq!(other.told(&mine, Some(5_000)).await, Ok(5_001));
        assert_eq!(other.numbers(), [5_000, 5_001]);
        assert!(!mine.go_on_after(5_001) && !mine.go_on_after(u64::MAX), "known, or no number of a report");
        mine.add(mended(3).report, Wall(80));
        assert_eq!(other.told(&mine, None).await, Ok(5_002));
    }

    #[tokio::test]
    async fn a_hub_that_does_not_understand_is_told_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mine = Repairs::open(&dir.path().join("repairs.json"));
        mine.add(mended(1).report, Wall(1));
        let mut calls = 0;
        let told = tell(&mine, None, |_| {
            calls += 1;
            ready(Err("missing field `pairs`"))
        });
        assert_eq!(told.await, Err("missing field `pairs`"));
        assert_eq!(calls, 1);
    }
}

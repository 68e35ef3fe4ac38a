//! Health: the hub judges itself, once in a second, and lets agents and the other hubs know.
//!
//! ```text
//!  commits, their times ──┐                      ┌─▶ /readyz (by Pulse)
//!  the driver's lag ──────┼─▶ Judge ─▶ Judgement ─┼─▶ driver: Drain, while nothing is flushed
//!  disk, sessions ────────┤                      └─▶ Profile: load, draining (gossip)
//!  control ───────────────┤                      └─▶ driver: Exiled, while it belongs to its cluster no more
//!  belonging ─────────────┘
//! ```
//!
//! Promise: a hub that cannot flush leaves by itself: a poisoned store ends the process (`hub`), a commit that is stuck sends the agents
//! elsewhere, and the watchdog ends a process that does not recover.
//! Absent: judging other hubs (gossip).
//!
//! | room | what stands there |
//! |---|---|
//! | [`judge`] | the rules, pure, with every threshold and its reason |
//! | [`commits`] | when commits were asked for and flushed |
//! | [`footing`] | whether the files that it works on are still those of its data directory |
//! | [`draining`] | agents go elsewhere: by this hub's judgement, or an operator's |

pub mod commits;
pub mod draining;
pub mod footing;
pub mod judge;

use std::sync::Arc;
use std::time::Duration;

use millrace_host::{Clock, Shutdown};
use millrace_hub_engine::membership::Profile;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, timeout};

use crate::driver::DriverHandle;
use crate::driver::input::Input;
use crate::meters::Meters;
use crate::pulse::{Need, Pulse};
use judge::{Facts, Judge, Judgement};

/// How often it is looked. Agents and callers of `/readyz` see it that much later at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the driver may take to answer before it counts as that far behind.
const LAG_PATIENCE: Duration = Duration::from_secs(3);

/// How the hub stands in its cluster. Asked once in a second, from memory.
pub type ClusterLook = Arc<dyn Fn() -> InCluster + Send + Sync>;

/// How the hub stands in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InCluster {
    /// What is wrong with its part in the consensus; `None` while all is well.
    pub control: Option<String>,
    /// Whether it belongs to its cluster no more.
    pub lost: bool,
    /// Why it does not vote; only a witness is asked for it.
    pub vote: Option<String>,
}

/// What health works with.
pub struct HealthParts {
    /// Time.
    pub clock: Clock,
    /// Where readiness is shown, and commits are noted.
    pub pulse: Arc<Pulse>,
    /// The engine's task.
    pub driver: DriverHandle,
    /// How many sessions there are.
    pub meters: Meters,
    /// Sessions that it takes at most.
    pub sessions_max: usize,
    /// Whether it only votes and stores no readings.
    pub witness: bool,
    /// The cluster.
    pub cluster: ClusterLook,
    /// What gossip tells of this hub: load and draining are written here, all else is others'.
    pub profile: Arc<watch::Sender<Profile>>,
    /// When to end.
    pub shutdown: Shutdown,
}

/// Begins to judge. The receiver has the last judgement. Needs a tokio runtime.
#[must_use]
pub fn start(parts: HealthParts) -> (watch::Receiver<Judgement>, JoinHandle<()>) {
    let (told, judgements) = watch::channel(Judgement::default());
    (judgements, tokio::spawn(run(parts, told)))
}

async fn run(parts: HealthParts, told: watch::Sender<Judgement>) {
    let mut judge = Judge::default();
    let mut rounds = tokio::time::interval(LOOK_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            () = parts.shutdown.triggered() => break,
        }
        let lag = lag(&parts).await;
        let cluster = (parts.cluster)();
        parts.pulse.lacks(Need::Vote, cluster.vote.clone().filter(|_| parts.witness));
        let judgement = judge.judge(&facts(&parts, lag, cluster));
        let before = told.send_replace(judgement.clone());
        show(&parts, &judgement);
        if judgement.problem != before.problem {
            match &judgement.problem {
                Some(problem) => tracing::error!(problem, "this hub is not well: it takes no new agents"),
                None => tracing::info!("this hub is well again"),
            }
        }
        if judgement.lost != before.lost {
            let why = judgement.problem.clone().filter(|_| judgement.lost);
            parts.driver.tell(Input::Exiled(why)).await;
        }
        // When the driver has ended, so does the process.
        parts.pulse.draining.judge(judgement.leave, &parts.driver).await;
    }
    // Gossip says goodbye anyway; until then nobody is to come.
    parts.profile.send_modify(|profile| profile.draining = true);
}

/// How long the driver takes to come to an input.
async fn lag(parts: &HealthParts) -> Duration {
    let began = parts.clock.moment();
    let asked = async {
        let (reply, answer) = oneshot::channel();
        parts.driver.tell(Input::Ping(reply)).await;
        // Without an answer the driver has ended, and so does the process.
        let _ = answer.await;
    };
    let answered = timeout(LAG_PATIENCE, asked).await;
    let took = parts.clock.moment().since(began);
    if answered.is_ok() { took } else { took.max(LAG_PATIENCE) }
}

fn facts(parts: &HealthParts, lag: Duration, cluster: InCluster) -> Facts {
    let now = parts.clock.moment();
    Facts {
        now,
        commits: parts.pulse.commits.seen(now),
        lag,
        full: parts.pulse.is_full(),
        sessions: usize::try_from(parts.meters.sessions.get()).unwrap_or(0),
        sessions_max: parts.sessions_max,
        control: cluster.control,
        lost: cluster.lost,
    }
}

fn show(parts: &HealthParts, judgement: &Judgement) {
    parts.pulse.judged(judgement.problem.clone());
    parts.meters.load.set(i64::from(judgement.load_permille));
    let draining = judgement.leave || parts.pulse.draining.is_asked();
    parts.profile.send_if_modified(|profile| {
        let shown = (judgement.load_permille, draining);
        let changed = (profile.load_permille, profile.draining) != shown;
        (profile.load_permille, profile.draining) = shown;
        changed
    });
}

#[cfg(test)]
mod tests {
    use millrace_host::systemd::Watchdog;
    use millrace_hub_engine::Event;
    use millrace_hub_engine::membership::Fullness;
    use millrace_model::{HubId, Moment, Wall};

    use super::*;

    fn profile() -> Profile {
        Profile {
            hub: HubId::from_bytes([1; 16]),
            name: "hub-1".to_owned(),
            region: "north".to_owned(),
            addresses: Vec::new(),
            software: String::new(),
            load_permille: 0,
            draining: false,
            fullness: Fullness::Full,
        }
    }

    #[tokio::test]
    async fn a_commit_that_is_stuck_sends_the_agents_away_and_calls_them_back_when_it_is_flushed() {
        let (clock, hand) = Clock::manual(Wall(0));
        let pulse = Arc::new(Pulse::new(Watchdog::new(clock.clone())));
        pulse.serving(true);
        let (driver, mut inputs) = DriverHandle::fake();
        let (profile, told) = watch::channel(profile());
        let shutdown = Shutdown::manual();
        let (judgements, task) = start(HealthParts {
            clock: clock.clone(),
            pulse: Arc::clone(&pulse),
            driver,
            meters: Meters::new(clock.clone()).unwrap(),
            sessions_max: 100,
            witness: false,
            cluster: Arc::new(InCluster::default),
            profile: Arc::new(profile),
            shutdown: shutdown.clone(),
        });
        let ready = || millrace_host::http::Health::ready(pulse.as_ref());
        // The test is the driver.
        let mut next = async || loop {
            match inputs.recv().await.unwrap() {
                Input::Ping(reply) => drop(reply.send(())),
                Input::Event(event) => return event,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(ready(), Ok(()));
        pulse.commits.asked(clock.moment());
        hand.advance(judge::COMMIT_STUCK);
        assert_eq!(next().await, Event::Drain { on: true });
        assert!(ready().unwrap_err().contains("flush"), "{:?}", ready());
        assert!(told.borrow().draining && told.borrow().load_permille == 1_000);
        assert!(judgements.borrow().leave);
        pulse.commits.flushed(clock.moment());
        hand.advance(judge::WELL_AFTER);
        assert_eq!(next().await, Event::Drain { on: false });
        assert_eq!(ready(), Ok(()));
        assert!(!told.borrow().draining);
        assert!(clock.moment() > Moment(0));
        shutdown.trigger();
        task.await.unwrap();
        assert!(told.borrow().draining, "a hub that stops wants no agents");
    }

    #[tokio::test]
    async fn a_hub_that_belongs_to_its_cluster_no_more_has_the_driver_end_every_session() {
        let (clock, _hand) = Clock::manual(Wall(0));
        let pulse = Arc::new(Pulse::new(Watchdog::new(clock.clone())));
        pulse.serving(true);
        let (driver, mut inputs) = DriverHandle::fake();
        let (_judgements, task) = start(HealthParts {
            clock: clock.clone(),
            pulse: Arc::clone(&pulse),
            driver,
            meters: Meters::new(clock).unwrap(),
            sessions_max: 100,
            witness: false,
            cluster: Arc::new(|| InCluster { lost: true, ..InCluster::default() }),
            profile: Arc::new(watch::channel(profile()).0),
            shutdown: Shutdown::manual(),
        });
        loop {
            match inputs.recv().await.unwrap() {
                Input::Ping(reply) => drop(reply.send(())),
                Input::Exiled(Some(why)) => break assert!(why.contains("join again"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
        let ready = millrace_host::http::Health::ready(pulse.as_ref());
        assert!(ready.unwrap_err().contains("removed from its cluster"));
        task.abort();
    }
}

//! The rules by which a hub judges itself. Pure; every threshold stands here, with its reason.
//!
//! | what | not ready | sends its agents away | load |
//! |---|---|---|---|
//! | a commit is under way for [`COMMIT_STUCK`] | yes | yes | 1,000 |
//! | every commit of [`SLOW_FOR`] took [`COMMIT_SLOW`] or longer | yes | no | 1,000 |
//! | the driver is [`LAG_MAX`] behind, [`LAG_ROUNDS`] times in a row | yes | no | 1,000 |
//! | control has stopped | yes | yes | – |
//! | it belongs to its cluster no more | yes | yes, at once | – |
//! | the disk budget is used up | by `Pulse` | the engine turns them away | 1,000 |
//! | it is a witness | by `Pulse` | – | – |
//!
//! Otherwise the load is the largest of three shares: commit latency of [`COMMIT_SLOW`], lag of [`LAG_FULL`], sessions of the quota.
//!
//! Promise: what ended a moment ago does not make a hub ready at once: it has to be well for [`WELL_AFTER`], so that agents are not
//! called back to a disk that hiccups.
//! Absent: a clock, and acting on it.

use std::time::Duration;

use millrace_model::Moment;

use super::commits::Seen;
use crate::cluster::belonging::LOST;

/// A commit that takes so long is stuck: a disk that is busy answers within a second or two, one that carries a long log over within
/// four. The watchdog ends the process only after 25 s (`driver::COMMIT_DEADLINE`), so agents have moved by then, and a disk may come back.
pub const COMMIT_STUCK: Duration = Duration::from_secs(6);
/// A commit that takes so long is slow: a flush costs a spinning disk 30 ms and a worn flash card 300 ms. Agents that wait longer than
/// that for an ack are better off anywhere else.
pub const COMMIT_SLOW: Duration = Duration::from_secs(1);
/// For so long every commit has to be slow: a backup or a scrub may take the disk for some seconds.
pub const SLOW_FOR: Duration = Duration::from_secs(10);
/// The driver is behind by so much: agents think by then that nobody is there.
pub const LAG_MAX: Duration = Duration::from_secs(2);
/// So often in a row: once is a machine that slept.
pub const LAG_ROUNDS: u32 = 2;
/// A lag that counts as a full load.
pub const LAG_FULL: Duration = Duration::from_millis(500);
/// How long it must have been well before it says so.
pub const WELL_AFTER: Duration = Duration::from_secs(10);

/// What is known at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Now.
    pub now: Moment,
    /// Commits.
    pub commits: Seen,
    /// How long the driver took to come to an input.
    pub lag: Duration,
    /// Whether the disk budget is used up.
    pub full: bool,
    /// Open sessions.
    pub sessions: usize,
    /// Sessions that are taken at most.
    pub sessions_max: usize,
    /// What is wrong with its part in the consensus.
    pub control: Option<String>,
    /// Whether it belongs to its cluster no more: [`is_lost`](crate::cluster::belonging::is_lost).
    pub lost: bool,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judgement {
    /// Why it should get no agents, for people.
    pub problem: Option<String>,
    /// Whether the agents that it has should go elsewhere.
    pub leave: bool,
    /// Whether nobody may have a session here: what is acknowledged here is nowhere else, and never will be.
    pub lost: bool,
    /// How busy it is, in thousandths.
    pub load_permille: u16,
}

/// Judges; remembers how long it has been so.
#[derive(Debug, Default)]
pub struct Judge {
    slow_since: Option<Moment>,
    lagging: u32,
    /// The last trouble, and when it was last seen.
    trouble: Option<(Judgement, Moment)>,
}

impl Judge {
    /// Judges what is known now.
    pub fn judge(&mut self, facts: &Facts) -> Judgement {
        let load_permille = load(facts);
        if let Some((problem, leave)) = self.trouble_in(facts) {
            let judgement = Judgement { problem: Some(problem), leave, lost: facts.lost, load_permille };
            self.trouble = Some((judgement.clone(), facts.now));
            return judgement;
        }
        if let Some((last, at)) = &self.trouble
            && facts.now.since(*at) < WELL_AFTER
        {
            return Judgement { load_permille, ..last.clone() };
        }
        self.trouble = None;
        Judgement { load_permille, ..Judgement::default() }
    }

    fn trouble_in(&mut self, facts: &Facts) -> Option<(String, bool)> {
        let slow = self.slow_for(facts);
        self.lagging = if facts.lag >= LAG_MAX { self.lagging.saturating_add(1) } else { 0 };
        if facts.lost {
            return Some((LOST.to_owned(), true));
        }
        if let Some(why) = &facts.control {
            return Some((format!("this hub's part in the cluster has stopped: {why}"), true));
        }
        if let Some(waiting) = facts.commits.waiting.filter(|waiting| *waiting >= COMMIT_STUCK) {
            let seconds = waiting.as_secs();
            return Some((
                format!("the disk has not answered a flush for {seconds} s: is it failing?"),
                true,
            ));
        }
        if slow >= SLOW_FOR {
            let text =
                format!("every commit takes longer than {COMMIT_SLOW:?}: the disk is too slow or too busy");
            return Some((text, false));
        }
        if self.lagging >= LAG_ROUNDS {
            let text = format!(
                "the engine is {:.1} s behind: the machine has too little time for it",
                facts.lag.as_secs_f64()
            );
            return Some((text, false));
        }
        None
    }

    /// For how long no commit was fast. One alone says nothing about the next.
    fn slow_for(&mut self, facts: &Facts) -> Duration {
        let seen = &facts.commits;
        let waiting = seen.waiting.filter(|waiting| *waiting >= COMMIT_SLOW);
        let several = seen.took.len() + usize::from(waiting.is_some()) > 1;
        let slow = several && seen.fastest().is_none_or(|fastest| fastest >= COMMIT_SLOW);
        self.slow_since = if slow { self.slow_since.or(Some(facts.now)) } else { None };
        self.slow_since.map_or(Duration::ZERO, |since| facts.now.since(since))
    }
}

fn load(facts: &Facts) -> u16 {
    if facts.full {
        return 1_000;
    }
    let sessions = share(facts.sessions as u128, facts.sessions_max as u128);
    let commits = share(facts.commits.slowest().as_micros(), COMMIT_SLOW.as_micros());
    let lag = share(facts.lag.as_micros(), LAG_FULL.as_micros());
    sessions.max(commits).max(lag)
}

/// `part` of `whole` in thousandths, at most all of it.
fn share(part: u128, whole: u128) -> u16 {
    let share = part.saturating_mul(1_000).checked_div(whole).unwrap_or(0);
    u16::try_from(share.min(1_000)).unwrap_or(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn well(now: Moment) -> Facts {
        Facts {
            now,
            commits: Seen { waiting: None, took: vec![Duration::from_millis(5)] },
            lag: Duration::from_micros(200),
            full: false,
            sessions: 10,
            sessions_max: 1_000,
            control: None,
            lost: false,
        }
    }

    #[test]
    fn a_hub_that_is_well_is_ready_and_says_how_busy_it_is() {
        let judgement = |facts: &Facts| Judge::default().judge(facts);
        let now = Moment(1);
        assert_eq!(judgement(&well(now)), Judgement { load_permille: 10, ..Judgement::default() });
        assert_eq!(judgement(&Facts { sessions: 500, ..well(now) }).load_permille, 500);
        assert_eq!(judgement(&Facts { full: true, ..well(now) }).load_permille, 1_000);
        let slower = Seen { waiting: None, took: vec![Duration::from_millis(250)] };
        assert_eq!(judgement(&Facts { commits: slower, ..well(now) }).load_permille, 250);
        assert_eq!(judgement(&Facts { lag: SECOND, ..well(now) }).load_permille, 1_000);
        assert_eq!(judgement(&Facts { sessions_max: 0, ..well(now) }).load_permille, 5);
    }

    #[test]
    fn a_stuck_commit_sends_agents_away_until_the_disk_was_well_for_a_while() {
        let mut judge = Judge::default();
        let stuck = |waiting| Seen { waiting: Some(waiting), took: vec![Duration::from_millis(5)] };
        let mut now = Moment(0);
        assert_eq!(judge.judge(&Facts { commits: stuck(COMMIT_STUCK - SECOND), ..well(now) }).problem, None);
        let judged = judge.judge(&Facts { commits: stuck(COMMIT_STUCK), ..well(now) });
        assert!(judged.leave && judged.problem.unwrap().contains("6 s"));
        now = now + (WELL_AFTER - SECOND);
        assert!(judge.judge(&well(now)).leave, "not yet");
        now = now + SECOND;
        assert_eq!(judge.judge(&well(now)), Judgement { load_permille: 10, ..Judgement::default() });
    }

    #[test]
    fn a_slow_disk_is_told_when_no_commit_was_fast_for_long_and_an_idle_hub_is_not_slow() {
        let mut judge = Judge::default();
        let slow = Seen { waiting: None, took: vec![2 * SECOND, 3 * SECOND] };
        let mut now = Moment(0);
        for _ in 0..10 {
            let judged = judge.judge(&Facts { commits: slow.clone(), ..well(now) });
            assert_eq!((judged.problem, judged.load_permille), (None, 1_000), "{now:?}");
            now = now + SECOND;
        }
        let judged = judge.judge(&Facts { commits: slow.clone(), ..well(now) });
        assert!(!judged.leave && judged.problem.unwrap().contains("disk is too slow"));
        now = now + WELL_AFTER;
        assert_eq!(judge.judge(&Facts { commits: Seen::default(), ..well(now) }).problem, None);
        let one_fast = Seen { waiting: None, took: vec![2 * SECOND, Duration::from_millis(9)] };
        for _ in 0..20 {
            now = now + SECOND;
            assert_eq!(judge.judge(&Facts { commits: one_fast.clone(), ..well(now) }).problem, None);
        }
    }

    #[test]
    fn a_driver_that_lags_once_slept_and_one_that_lags_twice_is_behind() {
        let mut judge = Judge::default();
        let mut now = Moment(0);
        assert_eq!(judge.judge(&Facts { lag: LAG_MAX, ..well(now) }).problem, None);
        now = now + SECOND;
        let judged = judge.judge(&Facts { lag: LAG_MAX, ..well(now) });
        assert!(judged.problem.unwrap().contains("2.0 s behind") && !judged.leave);
    }

    #[test]
    fn a_hub_whose_control_has_stopped_wants_no_agents() {
        let control = Some("the log is poisoned".to_owned());
        let judged = Judge::default().judge(&Facts { control, ..well(Moment(0)) });
        assert!(judged.leave && !judged.lost && judged.problem.unwrap().contains("poisoned"));
    }

    #[test]
    fn a_hub_that_belongs_to_its_cluster_no_more_has_no_sessions_until_it_belongs_again() {
        let mut judge = Judge::default();
        let judged = judge.judge(&Facts { lost: true, ..well(Moment(0)) });
        assert!(judged.leave && judged.lost && judged.problem.unwrap().contains("removed from its cluster"));
        let judged = judge.judge(&well(Moment(0) + SECOND));
        assert!(judged.lost, "one good answer is not enough");
        assert_eq!(
            judge.judge(&well(Moment(0) + WELL_AFTER)),
            Judgement { load_permille: 10, ..Judgement::default() }
        );
    }
}

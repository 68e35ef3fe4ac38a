//! P9: a device that went back in time, or that exists twice, is noticed: the later branch goes on under a new
//! incarnation, and somebody is told.

use millrace_model::{DeviceId, Incarnation, JournalId, RecordCheck, Seq};

use super::{Verdict, Violation};
use crate::cluster::setback::Setbacks;
use crate::cluster::truth::Truth;
use crate::model::Model;

/// A branch that must have been noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Branch {
    /// The site.
    pub site: usize,
    /// Its device.
    pub device: DeviceId,
    /// The incarnation that it must not write to any more.
    pub incarnation: Incarnation,
}

/// Everything has converged; `sites` are the devices and incarnations that are written to now.
///
/// # Errors
/// When a branch went unnoticed.
pub fn noticed(model: &Model, expected: &[Branch], sites: &[(DeviceId, Incarnation)]) -> Verdict {
    for Branch { site, device, incarnation } in expected {
        let now = sites.get(*site).map(|(_, incarnation)| *incarnation);
        if now == Some(*incarnation) {
            let what = format!("site {site} went back in time and still writes to {incarnation}");
            return Err(Violation::new("branches", what));
        }
        if !model.alarmed.contains(device) {
            return Err(Violation::new("branches", format!("nobody was told of the rollback of {device}")));
        }
    }
    for (place, (device, incarnation)) in sites.iter().enumerate() {
        if sites.iter().skip(place + 1).any(|other| other == &(*device, *incarnation)) {
            return Err(Violation::new("branches", format!("two machines write to {device}/{incarnation}")));
        }
        let twins = sites.iter().filter(|(other, _)| other == device).count();
        if twins > 1 && !model.alarmed.contains(device) {
            return Err(Violation::new("branches", format!("nobody was told that {device} was cloned")));
        }
    }
    Ok(())
}

/// A device of several hubs that was set back behind what is on a quorum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ahead {
    /// Its place.
    pub place: usize,
    /// The journal that showed it, and that it must not write to any more.
    pub journal: JournalId,
    /// The last record of it that was on a quorum: when hubs let it go, nobody can know.
    pub safe: Seq,
    /// The epoch of the hubs then: those of another one may know less.
    pub epoch: u64,
}

/// A device wrote another record where one was written before.
///
/// # Errors
/// When it was not set back in that life.
pub fn rewritten(setbacks: &Setbacks, journal: &JournalId, seq: Seq) -> Verdict {
    if setbacks.lives.contains(&(journal.device, journal.incarnation)) {
        return Ok(());
    }
    Err(Violation::new("branches", format!("{journal} {seq} was written twice")))
}

/// A device got records back: where two branches used one number it is the record of its own.
///
/// # Errors
/// When it is the other one's.
pub fn own(setbacks: &Setbacks, place: usize, journal: &JournalId, came: &[(Seq, RecordCheck)]) -> Verdict {
    let other = |(seq, check): &&(Seq, RecordCheck)| {
        setbacks
            .again
            .get(&(*journal, *seq))
            .and_then(|contents| contents.last())
            .is_some_and(|own| own != check)
    };
    match came.iter().find(other) {
        Some((seq, _)) => {
            let what = format!("agent {place} took {journal} {seq} back as another branch wrote it");
            Err(Violation::new("branches", what))
        }
        None => Ok(()),
    }
}

/// Everything has converged among several hubs; `now` are the incarnations that devices write to.
///
/// # Errors
/// When one that was set back goes on as before.
pub fn turned(truth: &Truth, now: &[Option<Incarnation>], epoch: u64) -> Verdict {
    // Where each branch reached another hub, hubs find that out when they compare their copies.
    let known = |ahead: &&Ahead| {
        let gone = truth.aged(&ahead.journal).contains(ahead.safe);
        ahead.epoch == epoch && !gone && !truth.setbacks.is_forked(&ahead.journal)
    };
    for ahead in truth.setbacks.ahead.iter().filter(known) {
        if now.get(ahead.place) == Some(&Some(ahead.journal.incarnation)) {
            let what = format!("agent {} was set back and still writes to {}", ahead.place, ahead.journal);
            return Err(Violation::new("branches", what));
        }
    }
    Ok(())
}

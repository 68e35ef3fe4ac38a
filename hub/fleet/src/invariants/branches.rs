//! P9: a device that went back in time, or that exists twice, is noticed: the later branch goes on under a new
//! incarnation, and somebody is told.

use millrace_model::{DeviceId, Incarnation};

use super::{Verdict, Violation};
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

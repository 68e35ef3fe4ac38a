//! What this hub says of itself, and when it says it again.
//!
//! Promise: editions only rise; a load that flickers is told at intervals, anything else at once.
//! Absent: how it travels.

use std::time::Duration;

use millrace_model::{Moment, NodeId};

use super::peer::Peer;
use super::profile::{Announced, Edition, Profile};

/// What this hub says of itself.
#[derive(Debug, Default)]
pub(crate) struct Herald {
    /// What was told last.
    told: Option<(Edition, Profile)>,
    told_at: Moment,
    /// What differs from it in load alone, and waits.
    waiting: Option<Profile>,
    /// Somebody will come for it.
    awaited: bool,
    version: u64,
}

/// What a changed profile asks for.
#[derive(Debug)]
pub(crate) enum Urgency {
    /// Nothing: it is what was told, or a time to tell it is set.
    Nothing,
    /// To be told now.
    Now(Profile),
    /// To be told then, unless something more urgent comes.
    At(Moment),
}

impl Herald {
    pub(crate) fn told(&self) -> Option<(Edition, &Profile)> {
        self.told.as_ref().map(|(edition, profile)| (*edition, profile))
    }

    /// How urgent a changed profile is, when a load may be told every `load_every`.
    pub(crate) fn consider(&mut self, profile: Profile, load_every: Duration, now: Moment) -> Urgency {
        let Some((_, told)) = &self.told else { return Urgency::Now(profile) };
        if *told == profile {
            self.waiting = None;
            return Urgency::Nothing;
        }
        let next = self.told_at + load_every;
        if next <= now || !told.differs_in_load_alone(&profile) {
            return Urgency::Now(profile);
        }
        self.waiting = Some(profile);
        if std::mem::replace(&mut self.awaited, true) { Urgency::Nothing } else { Urgency::At(next) }
    }

    /// The time has come that [`Urgency::At`] asked for: what still waits, when something does.
    pub(crate) const fn waiting(&mut self) -> Option<Profile> {
        self.awaited = false;
        self.waiting.take()
    }

    /// What must be said again because this hub began another life than the one in which it said it.
    pub(crate) fn outlived(&mut self, life: u64) -> Option<Profile> {
        let (_, profile) = self.told.as_ref().filter(|(edition, _)| edition.life != life)?;
        Some(self.waiting.take().unwrap_or_else(|| profile.clone()))
    }

    /// The next edition; it counts as told.
    pub(crate) fn edition(&mut self, me: Peer, profile: Profile, now: Moment) -> Announced {
        self.version += 1;
        let edition = Edition { life: me.life, version: self.version };
        self.told = Some((edition, profile.clone()));
        self.told_at = now;
        self.waiting = None;
        Announced { node: me.node, edition, profile }
    }

    /// What somebody who holds an edition, or none, does not know yet.
    pub(crate) fn news(&self, me: NodeId, holds: Option<Edition>) -> Option<Announced> {
        let (edition, profile) = self.told.as_ref()?;
        let newer = holds.is_none_or(|held| held < *edition);
        newer.then(|| Announced { node: me, edition: *edition, profile: profile.clone() })
    }
}

//! Clones: two incarnations of one device that are both alive.
//!
//! A machine that was wiped or restored comes back under a new incarnation while its old connection is only dead and
//! not yet timed out. So two open sessions are a doubt; an alarm they become when the older one brings a frame after the newer
//! began, or still stands when a dead connection would have timed out.
//!
//! Absent: closing anybody. Both are served; which of the two is the copy only people can find out.

use millrace_model::{DeviceId, Incarnation, Moment};

use crate::link::Stage;
use crate::{Alarm, Command, Engine, LinkId};

impl Engine {
    /// A newer session of another incarnation begins beside these.
    pub(crate) fn doubt(&mut self, older: &[LinkId], now: Moment) {
        let until = now + self.config.idle_timeout;
        for id in older {
            let Some(link) = self.links.get_mut(id).filter(|link| link.doubted_until.is_none()) else {
                continue;
            };
            link.doubted_until = Some(until);
            self.doubts.insert((until, *id));
        }
    }

    /// A connection has shown that somebody lives behind it.
    pub(crate) fn shows_life(&mut self, id: LinkId) {
        let doubted = self.links.get(&id).filter(|link| link.doubted_until.is_some());
        let Some(device) = doubted.map(|link| link.device) else { return };
        // Whatever is known now is said now, once, of all that stand.
        for link in self.links_of(device) {
            self.dispel(link);
        }
        let incarnations = self.incarnations_of(device);
        if incarnations.len() > 1 {
            self.commands.push_back(Command::Alarm(Alarm::Cloned { device, incarnations }));
        }
    }

    /// Connections that outlived the time after which a dead one is closed live.
    pub(crate) fn settle_doubts(&mut self, now: Moment) {
        while let Some((_, id)) = self.doubts.first().copied().filter(|(at, _)| *at <= now) {
            self.shows_life(id);
            self.doubts.retain(|(_, doubted)| *doubted != id);
        }
    }

    /// Nothing is doubted about a connection any more.
    pub(crate) fn dispel(&mut self, id: LinkId) {
        if let Some(until) = self.links.get_mut(&id).and_then(|link| link.doubted_until.take()) {
            self.doubts.remove(&(until, id));
        }
    }

    /// The incarnations of a device that have, or are about to have, a session.
    fn incarnations_of(&self, device: DeviceId) -> Vec<Incarnation> {
        let mut found = Vec::new();
        for id in self.links_of(device) {
            let incarnation = match self.links.get(&id).map(|link| &link.stage) {
                Some(Stage::Open { incarnation, .. }) => *incarnation,
                Some(Stage::Greeting(greeting)) => greeting.hello.incarnation,
                _ => continue,
            };
            if !found.contains(&incarnation) {
                found.push(incarnation);
            }
        }
        found
    }
}

//! What goes wrong, and how it is mended.

use std::time::Duration;

use millrace_agent_engine::Event;
use millrace_model::{JournalId, Lane};

use super::site::Backup;
use super::{AgentHappening, HUB, Happening, HubHappening, World, node_of};
use crate::fault::Fault;
use crate::invariants::branches::Branch;
use crate::model::{Mirror, entries};
use crate::sensor::Habit;

/// Sites of one world: clones beyond that are left out.
const SITES_MAX: usize = 6;

/// How long an orderly stop takes before the process ends.
const STOP: Duration = Duration::from_millis(300);

impl World {
    pub(super) fn go_wrong(&mut self, fault: Fault) {
        self.faults += 1;
        self.transcript.note(self.now, format_args!("fault: {fault:?}"));
        let lifted = fault.clone();
        match fault {
            Fault::Cut { site, up, down, span } => {
                let node = node_of(site);
                self.network.weather(node, HUB).cut |= up;
                self.network.weather(HUB, node).cut |= down;
                self.timeline.after(span, Happening::Lift(lifted));
            }
            Fault::Storm { site, weather, span } => {
                let node = node_of(site);
                *self.network.weather(node, HUB) = weather.clone();
                *self.network.weather(HUB, node) = weather;
                self.timeline.after(span, Happening::Lift(lifted));
            }
            Fault::CrashAgent { site, span } => {
                self.cut_power(site);
                self.timeline.after(span, Happening::StartSite(site));
            }
            Fault::RestartAgent { site, span } => {
                self.tell(site, Event::Shutdown);
                self.later(site, STOP, AgentHappening::PowerOff { span });
            }
            Fault::CrashHub { span } => {
                self.cut_hub_power();
                self.timeline.after(span, Happening::StartHub);
            }
            Fault::RestartHub { span } => {
                self.tell_hub(millrace_hub_engine::Event::Shutdown);
                self.hub_later(STOP, HubHappening::PowerOff { span });
            }
            Fault::Wipe { site } => self.wipe(site),
            Fault::Backup { site } => self.back_up(site),
            Fault::Restore { site } => self.restore(site),
            Fault::Clone { site } => self.clone_site(site),
            Fault::ClockJump { site, seconds } => {
                if let Some(site) = self.sites.get_mut(site) {
                    site.wall_jump += seconds * 1_000_000;
                }
            }
            Fault::AgentDiskFull { site, span } => {
                if let Some(site) = self.sites.get_mut(site) {
                    site.disk.set_full(true);
                }
                self.timeline.after(span, Happening::Lift(lifted));
            }
            Fault::HubDiskFull { span } => {
                self.hub.disk.set_full(true);
                self.timeline.after(span, Happening::Lift(lifted));
            }
            Fault::Allowance { site, rate, metered, span } => {
                self.allow(site, rate, metered);
                self.timeline.after(span, Happening::Lift(lifted));
            }
        }
    }

    pub(super) fn lift(&mut self, fault: &Fault) {
        match fault {
            Fault::Cut { site, .. } | Fault::Storm { site, .. } => self.fair_weather(*site),
            Fault::AgentDiskFull { site, .. } => {
                if let Some(site) = self.sites.get_mut(*site) {
                    site.disk.set_full(false);
                }
            }
            Fault::HubDiskFull { .. } => self.hub.disk.set_full(false),
            Fault::Allowance { site, .. } => self.allow(*site, None, false),
            _ => {}
        }
    }

    /// Faults stop: whatever is broken is mended, whoever is off starts.
    pub(super) fn heal(&mut self) {
        self.transcript.note(self.now, format_args!("healing"));
        self.healed_at = Some(self.now);
        self.hub.disk.set_full(false);
        self.timeline.at(self.now, Happening::StartHub);
        for place in 0..self.sites.len() {
            self.fair_weather(place);
            self.allow(place, None, false);
            if let Some(site) = self.sites.get_mut(place) {
                site.disk.set_full(false);
            }
            self.timeline.at(self.now, Happening::StartSite(place));
        }
        self.timeline.after(super::WATCH, Happening::Watch);
    }

    fn fair_weather(&mut self, place: usize) {
        let node = node_of(place);
        let Some(weather) = self.sites.get(place).map(|site| site.plan.weather.clone()) else { return };
        *self.network.weather(node, HUB) = weather.clone();
        *self.network.weather(HUB, node) = weather;
    }

    fn allow(&mut self, place: usize, rate: Option<u64>, metered: bool) {
        if let Some(site) = self.sites.get_mut(place) {
            site.allowance = (rate, metered);
        }
        self.tell(place, Event::Allowance { rate, metered });
    }

    /// What was only on the disk of a site may be missing from now on.
    fn excuse(&mut self, place: usize, kept: &Mirror, why: &'static str) {
        let Some(site) = self.sites.get(place) else { return };
        let kept_here = |(journal, seq, _): &(JournalId, u64, _)| {
            kept.get(journal).is_some_and(|held| held.contains_key(seq))
        };
        let lost: Vec<_> = entries(&site.mirror)
            .chain(entries(&site.given_up))
            .filter(|entry| !kept_here(entry))
            .map(|(journal, seq, entry)| (journal, seq, *entry))
            .collect();
        let incarnations = site.mirror.keys().chain(site.given_up.keys());
        let broken: Vec<_> = incarnations.map(|journal| (journal.device, journal.incarnation)).collect();
        self.model.broken.extend(broken);
        self.model.excuse(lost.iter().map(|(journal, seq, entry)| (*journal, *seq, entry)), why);
    }

    fn wipe(&mut self, place: usize) {
        self.cut_power(place);
        self.excuse(place, &Mirror::new(), "wiped");
        // A copy that was wiped before it spoke to the hub can be noticed by nobody.
        self.branches.retain(|branch| branch.site != place);
        if let Some(site) = self.sites.get_mut(place) {
            site.image = None;
            site.mirror = Mirror::new();
            site.given_up = Mirror::new();
            site.backup = None;
        }
        self.timeline.after(Duration::from_secs(1), Happening::StartSite(place));
    }

    fn back_up(&mut self, place: usize) {
        let Some(site) = self.sites.get_mut(place) else { return };
        let image = match site.store.as_mut().map(millrace_journal::Store::image) {
            Some(Ok(image)) => Some(image),
            _ => site.image.clone(),
        };
        if let Some(image) = image {
            site.backup = Some(Backup { image, mirror: site.mirror.clone() });
        }
    }

    fn restore(&mut self, place: usize) {
        let Some(backup) = self.sites.get(place).and_then(|site| site.backup.clone()) else { return };
        self.cut_power(place);
        self.excuse(place, &backup.mirror, "rolled back");
        self.expect_rewritten(&backup.mirror);
        let Some(site) = self.sites.get_mut(place) else { return };
        let was: Vec<JournalId> = site.mirror.keys().copied().collect();
        site.image = Some(backup.image);
        site.mirror = backup.mirror;
        // The hub may hold what this directory no longer knows of.
        for journal in was.iter().filter(|journal| journal.lane == Lane::Urgent) {
            let head = |held: Option<u64>| held.unwrap_or(0);
            let ahead = Lane::ALL.into_iter().any(|lane| {
                let journal = JournalId { lane, ..*journal };
                let hub = self.model.hub.get(&journal).and_then(|held| held.last_key_value());
                let here = site.mirror.get(&journal).and_then(|held| held.last_key_value());
                let known = site.mirror.contains_key(&journal);
                // Everything here may have been trimmed: then the hub knows as much.
                known && here.is_some() && head(hub.map(|(seq, _)| *seq)) > head(here.map(|(seq, _)| *seq))
            });
            if ahead {
                let branch = Branch { site: place, device: site.device, incarnation: journal.incarnation };
                self.branches.push(branch);
            }
        }
        self.timeline.after(Duration::from_secs(1), Happening::StartSite(place));
    }

    /// Records that moved to a new incarnation after the copy was made are in the copy under their old numbers: nobody can
    /// know that they moved, and they may move again.
    fn expect_rewritten(&mut self, kept: &Mirror) {
        let moved = entries(kept).filter_map(|(journal, seq, entry)| {
            let attempt = entry.attempt.filter(|_| !self.model.at_hub(&journal, seq, entry.check))?;
            (self.model.places.get(&attempt)?.len() > 1).then_some(attempt)
        });
        for attempt in moved.collect::<Vec<_>>() {
            *self.model.copies.entry(attempt).or_default() += 1;
        }
    }

    /// A second machine with a copy of the directory. Its sensors are others.
    fn clone_site(&mut self, place: usize) {
        if self.sites.len() >= SITES_MAX {
            return;
        }
        self.back_up(place);
        let Some(site) = self.sites.get(place) else { return };
        let Some(backup) = site.backup.clone() else { return };
        let (device, mut plan, given_up) = (site.device, site.plan.clone(), site.given_up.clone());
        let both = entries(&backup.mirror)
            .filter(|(journal, seq, entry)| !self.model.at_hub(journal, *seq, entry.check));
        let doubled: Vec<_> = both.filter_map(|(_, _, entry)| entry.attempt).collect();
        for attempt in doubled {
            *self.model.copies.entry(attempt).or_default() += 1;
        }
        let incarnations = backup.mirror.keys().map(|journal| (journal.device, journal.incarnation));
        self.model.broken.extend(incarnations);
        plan.sensors.truncate(2);
        plan.sensors.iter_mut().for_each(|habit: &mut Habit| habit.interval *= 2);
        let clone = self.sites.len();
        self.settle_site(clone, device, plan);
        if let Some(site) = self.sites.get_mut(clone) {
            site.image = Some(backup.image);
            site.mirror = backup.mirror;
            site.given_up = given_up;
        }
        let after = Duration::from_millis(self.random.u64(100..5_000));
        self.timeline.after(after, Happening::StartSite(clone));
    }
}

//! How the disks of devices wear: what of them is damaged when, and how long they keep what is acknowledged.
//!
//! Promise: drawn from a seed of its own, so a world without it is what it was.

use std::time::Duration;

use millrace_journal::sabotage::Harm;
use millrace_model::Moment;

use super::plan::{ClusterFault, ClusterPlan};

impl ClusterPlan {
    /// This plan; if its stores age, for three of four seeds with devices whose disks are damaged, too.
    #[must_use]
    pub fn worn(mut self, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x776f_726e);
        let Some(ageing) = self.ageing.as_mut().filter(|_| random.u8(0..4) > 0) else { return self };
        ageing.devices_scrub = true;
        // What is kept for long is damaged in the middle, what is trimmed at once at its ends.
        ageing.grace = Duration::from_secs(*random.choice([2, 8, 30, 3_600].iter()).unwrap_or(&2));
        for _ in 0..random.usize(1..=4) {
            let drawn = draw_damage(&mut random, self.agents, self.heal_at);
            self.faults.extend(drawn);
        }
        self.faults.sort_by_key(|(at, _)| *at);
        self
    }

    /// This plan; if its stores age, for one of four seeds with a device that is set back, too.
    #[must_use]
    pub fn set_back(mut self, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x7365_7462);
        if self.ageing.is_none() || random.u8(0..4) > 0 {
            return self;
        }
        let at = random.u64(2_000_000..self.heal_at.0);
        let before = at.saturating_sub(random.u64(100_000..8_000_000));
        let agent = random.usize(0..self.agents);
        self.faults.push((Moment(before), ClusterFault::BackupAgent { agent }));
        self.faults.push((Moment(at), ClusterFault::RestoreAgent { agent }));
        self.faults.sort_by_key(|(at, _)| *at);
        self
    }
}

/// Damage to a device, and now and then something that interrupts its repair.
fn draw_damage(random: &mut fastrand::Rng, agents: usize, heal_at: Moment) -> Vec<(Moment, ClusterFault)> {
    let at = Moment(random.u64(2_000_000..heal_at.0));
    let agent = random.usize(0..agents);
    let harm = *random.choice(Harm::ALL.iter()).unwrap_or(&Harm::LostSegments);
    let off = (random.u8(0..3) == 0).then(|| Duration::from_millis(random.u64(100..3_000)));
    let mut faults = vec![(at, ClusterFault::DamageAgent { agent, harm, off })];
    let later = at + Duration::from_millis(random.u64(0..6_000));
    let span = Duration::from_millis(random.u64(100..8_000));
    match random.u8(0..8) {
        0 | 1 => faults.push((later, ClusterFault::CrashAgent { agent, span })),
        // More damage to the same store.
        2 | 3 => {
            for harm in Harm::ALL {
                let at = at + Duration::from_millis(random.u64(0..3_000));
                if random.bool() {
                    faults.push((at, ClusterFault::DamageAgent { agent, harm, off: None }));
                }
            }
        }
        _ => {}
    }
    faults
}

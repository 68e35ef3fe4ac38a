//! A physical value that wanders around its set point, as temperatures and pressures do.

/// A value that drifts by chance and is drawn back (a discrete Ornstein–Uhlenbeck process).
#[derive(Debug, Clone)]
pub struct Wander {
    value: f64,
    centre: f64,
    pull: f64,
    noise: f64,
}

impl Wander {
    /// Starts at its centre. `pull` (0 to 1) is the part of the way back per step, `noise` the largest push per step.
    #[must_use]
    pub const fn around(centre: f64, pull: f64, noise: f64) -> Self {
        Self { value: centre, centre, pull, noise }
    }

    /// The next value.
    pub fn step(&mut self, chance: &mut fastrand::Rng) -> f64 {
        let push = (chance.f64() * 2.0 - 1.0) * self.noise;
        self.value += (self.centre - self.value) * self.pull + push;
        self.value
    }

    /// Moves the set point.
    pub const fn aim(&mut self, centre: f64) {
        self.centre = centre;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_wanders_but_stays_near() {
        let mut chance = fastrand::Rng::with_seed(7);
        let mut oil = Wander::around(48.0, 0.05, 0.3);
        let values: Vec<f64> = (0..1_000).map(|_| oil.step(&mut chance)).collect();
        assert!(values.iter().all(|value| (40.0..56.0).contains(value)));
        assert!(values.windows(2).any(|pair| pair[0] != pair[1]));
    }
}

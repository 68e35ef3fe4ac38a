//! Several measurements of the same thing.

use serde_json::{Value, json};

/// Measurements in the order in which they were made.
#[derive(Debug, Default, Clone)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The one in the middle; the mean of the two in the middle when they are even.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        let middle = if sorted.len().is_multiple_of(2) {
            sorted.get(half.wrapping_sub(1)..=half)
        } else {
            sorted.get(half..=half)
        };
        #[expect(clippy::cast_precision_loss, reason = "one or two")]
        middle.map_or(f64::NAN, |middle| middle.iter().sum::<f64>() / middle.len() as f64)
    }

    /// The largest.
    pub(crate) fn worst(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    pub(crate) fn json(&self) -> Value {
        json!(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let of = |values: &[f64]| Series(values.to_vec()).median();
        assert!((of(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((of(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(of(&[]).is_nan());
        assert!(
            (Series(vec![1.0, 3.0, 2.0]).worst() - 3.0).abs() < 1e-9 && Series::default().worst().is_nan()
        );
    }
}

//! Machines of a factory, seeded: the same seed makes the same readings.
//!
//! | machine | telemetry | events | bulk |
//! |---|---|---|---|
//! | [`Press`] | JSON, QoS 1 | state, QoS 2; alarm, urgent lane, QoS 2 | vibration, binary |
//! | [`Robot`] | binary joints, QoS 0 or 1 | cycle, JSON, QoS 2 | – |
//! | [`Meter`] | JSON, QoS 0 or 1 | – | – |
//!
//! Absent: publishing. A [`Line`] makes readings; a publisher sends them when it likes.

mod line;
mod meter;
mod press;
mod robot;
mod wander;

pub use line::{Line, LineKind};
pub use meter::Meter;
pub use press::Press;
pub use robot::Robot;
pub use wander::Wander;

use rumqttc::QoS;
use serde_json::{Map, Value};

use crate::Body;

/// What a machine says at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct Reading {
    /// The last part of the topic: `telemetry`, `alarm`, …
    pub channel: &'static str,
    /// How surely the machine wants it delivered.
    pub qos: QoS,
    /// What it says.
    pub body: Body,
}

/// Something that makes readings.
pub trait Machine: Send {
    /// Its name, unique in the plant.
    fn name(&self) -> &str;

    /// The next reading, `at_ms` after the machine was switched on.
    fn reading(&mut self, at_ms: u64, chance: &mut fastrand::Rng) -> Reading;
}

/// A number with as many digits as the sensor resolves.
fn digits(value: f64, digits: i32) -> Value {
    let scale = 10_f64.powi(digits);
    Value::from((value * scale).round() / scale)
}

/// A JSON body.
fn named<const N: usize>(values: [(&str, Value); N]) -> Body {
    Body::Json(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

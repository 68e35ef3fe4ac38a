//! A plant in a box: real processes, real MQTT, a road that is cut and healed, and the proof.

fn main() {}

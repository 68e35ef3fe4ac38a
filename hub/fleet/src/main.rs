//! Agents and a hub in one process under one seed: invariants, scenarios, the swarm.

fn main() {}

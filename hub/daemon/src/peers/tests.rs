//! Peers over real QUIC on loopback: who is served, what a call promises, how roads end and come back.

mod calls;
mod roads;
mod streams;
mod talk;
mod whole;
mod world;

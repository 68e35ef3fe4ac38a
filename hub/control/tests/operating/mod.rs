//! One operation of a client at one node, drawn from dice and written down with what became of it.
//!
//! Promise: it is written down as done only when it was acknowledged, and as never done only when the cluster said that it
//! had no effect.
#![allow(dead_code, reason = "not every test uses all of it")]

use bytes::Bytes;
use millrace_hub_control::kv::{Command, Compare, Op, Outcome, Relation, Target, Txn};
use millrace_hub_control::{Control, ControlError, Level};
use millrace_sim::linear::{Act, History};

fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value.try_into().unwrap())
}

fn text(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// A read, a write or a swap of `key` at `node`; `value` is what nobody else writes.
pub async fn operate(
    node: &Control,
    rng: &mut fastrand::Rng,
    history: &History,
    (client, key, value): (u64, u8, u64),
    now: impl Fn() -> u64,
) {
    match rng.u8(..10) {
        0..4 => {
            read(node, history, client, key, now).await;
        }
        4..8 => {
            let act = Act::Write(value);
            let call = history.call(client, key.into(), act, now());
            match node.propose(&Command::put(vec![key], text(value))).await {
                Ok(_) => call.done(act, now()),
                Err(ControlError::Unknown(_)) => drop(call),
                Err(_) => call.void(),
            }
        }
        _ => {
            let before = node.get(&[key], Level::Local).await.unwrap().value;
            let before = before.map(|found| number(&found.value));
            let target = before.map_or(Target::Create(0), |value| Target::Value(text(value)));
            let compare = Compare { key: vec![key].into(), relation: Relation::Equal, target };
            let then = vec![Op::put(vec![key], text(value))];
            let txn = Txn { compares: vec![compare], then, otherwise: vec![] };
            let act = |held| Act::Swap(before, value, held);
            let call = history.call(client, key.into(), act(false), now());
            match node.propose(&Command::Txn(txn)).await {
                Ok(Outcome::Txn { held, .. }) => call.done(act(held), now()),
                Ok(other) => panic!("{other:?}"),
                Err(ControlError::Unknown(_)) => drop(call),
                Err(_) => call.void(),
            }
        }
    }
}

/// A linearizable read of `key` at `node`; whether there was an answer.
pub async fn read(node: &Control, history: &History, client: u64, key: u8, now: impl Fn() -> u64) -> bool {
    let call = history.call(client, key.into(), Act::Read(None), now());
    match node.get(&[key], Level::Linearizable).await {
        Ok(read) => {
            call.done(Act::Read(read.value.map(|found| number(&found.value))), now());
            true
        }
        Err(_) => false,
    }
}

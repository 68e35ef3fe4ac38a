//! Measures the whole system: real agent and hub processes, each figure beside a baseline from the same run.
//!
//! | room | what stands there |
//! |---|---|
//! | [`cli`], [`scale`] | what is asked for, and how large it is measured |
//! | [`append`], [`intake`], [`brokered`], [`shipping`], [`live`], [`footprint`], [`deep`], [`crowd`], [`control`], [`cluster`], [`comparing`] | one part of the table each |
//! | [`reading`], [`backlog`] | what is measured with: readings, and a journal that is full of them |
//! | [`sensor`], [`pulse`], [`listener`], [`sink`], [`mosquitto`] | MQTT clients and brokers that are as light as can be |
//! | [`pipe`] | `cat` through TLS into `dd` |
//! | [`memory`], [`processor`], [`series`] | what a process takes, and medians |
//! | [`row`], [`report`] | a line of the table, the table and its JSON |
//!
//! Promise: a figure that misses its aim is printed like one that reaches it.
//! Absent: assertions. Whether it works is tested elsewhere.

mod append;
mod backlog;
mod brokered;
mod cli;
mod cluster;
mod comparing;
mod control;
mod crowd;
mod deep;
mod footprint;
mod intake;
mod listener;
mod live;
mod memory;
mod mosquitto;
mod pipe;
mod processor;
mod pulse;
mod reading;
mod report;
mod row;
mod scale;
mod sensor;
mod series;
mod shipping;
mod sink;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millrace-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

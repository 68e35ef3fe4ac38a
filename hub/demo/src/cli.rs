//! The command line.

use clap::Parser;

/// A plant on this machine: three hubs in three regions, four agents with their own MQTT brokers, and machines that publish.
/// The hub with most agents is killed, a region is cut off, an agent is killed, and at the end every reading is accounted for, on
/// every hub.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "millrace-demo",
    version,
    after_help = "\
Examples:
  millrace-demo                    watch; keys: 1-4 choose, c link, k agent, h hub, r region, b burst, q end
  millrace-demo --once             the same story without a terminal, in about a minute
  millrace-demo --once --seed 7    other readings
  millrace-demo --once --keep      keep data directories and logs, and say where they are

It exits with 0 only when nothing is missing, nothing is doubled and every ledger adds up.
The programs millrace-hub and millrace-agent are looked for beside this one, or in $MILLRACE_BIN_DIR."
)]
pub(crate) struct Arguments {
    /// Play the story once, without a terminal, and print the proof
    #[arg(long)]
    pub(crate) once: bool,

    /// Keep data directories and logs
    #[arg(long)]
    pub(crate) keep: bool,

    /// Draws the readings; the same seed makes the same ones
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// How long the machines publish; at least 5
    #[arg(long, default_value_t = 36, value_parser = clap::value_parser!(u64).range(5..=86_400))]
    pub(crate) seconds: u64,
}

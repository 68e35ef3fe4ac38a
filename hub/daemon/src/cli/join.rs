//! `millrace-hub join`: makes a hub of this machine that takes part in a cluster.

use std::path::PathBuf;

use clap::Args;
use millrace_host::{Clock, Exit};
use millrace_link::JoinToken;
use serde_json::json;

use super::DATA_DEFAULT;
use crate::hub::taking_part::{Order, join};
use crate::places::About;
use millrace_host::Failure;
use millrace_host::terminal::{say, say_json};

/// Make a new hub that takes part in a cluster, with a token of `millrace-hub token create --hub`.
///
/// When it runs, the others take it in, and it fills itself with the readings that fall to it. Interrupted, it can be run again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub join --token TOKEN --name hub-2 --region south --address hub-2.plant.example:7443\n  millrace-hub join --token TOKEN --name hub-3 --region west --address hub-3:7443 --witness"
)]
pub(super) struct Join {
    /// The token.
    #[arg(long, value_name = "TOKEN", env = "MILLRACE_HUB_TOKEN", hide_env_values = true)]
    token: JoinToken,
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", env = "MILLRACE_HUB_DATA", default_value = DATA_DEFAULT)]
    data: PathBuf,
    /// What the hub is called [default: as the token says].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where it stands.
    #[arg(long, value_name = "REGION")]
    region: String,
    /// Where agents and other hubs reach it, as HOST:PORT in the order to be tried.
    #[arg(long = "address", value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    addresses: Vec<String>,
    /// Only vote: a third voice for two sites. It keeps no readings, takes no agents and has no CA. The token must have been
    /// made with --witness.
    #[arg(long)]
    witness: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl Join {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let name = self.name.clone().or_else(|| self.token.name.clone()).ok_or_else(|| {
            Failure::new(Exit::Usage, "neither the token nor --name says what the hub is called")
                .hint("give --name NAME")
        })?;
        let about = About { name, region: self.region.clone(), addresses: self.addresses.clone() };
        let order = Order { data: &self.data, token: &self.token, about: &about, witness: self.witness };
        let seat = join(order, &Clock::system()).await?;
        let root = self.data.display().to_string();
        if self.json {
            say_json(&json!({
                "node": seat.node, "name": about.name, "region": about.region, "addresses": about.addresses,
                "epoch": seat.epoch, "witness": seat.witness, "data": root,
            }))?;
        } else {
            let (name, node) = (&about.name, seat.node);
            say(&format!(
                "hub {name} has joined as {node}, in {root}\n\nNext:\n  millrace-hub run --data {root}\n  \
                 millrace-hub members --data {root}\n"
            ))?;
        }
        Ok(Exit::Ok)
    }
}

//! `millrace-hub join`: makes a hub of this machine that takes part in a cluster.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use millrace_host::{Clock, Exit};
use millrace_link::JoinToken;
use serde_json::json;
use tokio::time::timeout;

use super::{DATA_DEFAULT, beginning};
use crate::hub::taking_part::{Order, join};
use crate::places::About;
use millrace_host::Failure;
use millrace_host::terminal::{note, say, say_json};

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

/// How long joining may take before a word about it: longer than hubs that are there need, and then again and again.
const QUIET: Duration = Duration::from_secs(4);

/// Waits for `joining`, and says now and then that it goes on. Hubs that are not there are asked for about a minute.
async fn patiently<T>(joining: impl Future<Output = T>, addresses: &[String]) -> T {
    let mut joining = pin!(joining);
    let mut waited = Duration::ZERO;
    loop {
        if let Ok(joined) = timeout(QUIET, joining.as_mut()).await {
            return joined;
        }
        waited += QUIET;
        note(&format!(
            "note: not taken in after {} s; trying {} again",
            waited.as_secs(),
            addresses.join(", ")
        ));
    }
}

impl Join {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        beginning::directory(&self.data)?;
        let name = self.name.clone().or_else(|| self.token.name.clone()).ok_or_else(|| {
            Failure::new(Exit::Usage, "neither the token nor --name says what the hub is called")
                .hint("give --name NAME")
        })?;
        let about = About { name, region: self.region.clone(), addresses: self.addresses.clone() };
        let order = Order { data: &self.data, token: &self.token, about: &about, witness: self.witness };
        let seat = patiently(join(order, &Clock::system()), &self.token.addresses).await?;
        let root = self.data.display().to_string();
        if self.json {
            say_json(&json!({
                "node": seat.node, "name": about.name, "region": about.region, "addresses": about.addresses,
                "epoch": seat.epoch, "witness": seat.witness, "data": root,
            }))?;
        } else {
            let (name, node) = (&about.name, seat.node);
            let run = beginning::run_command(&self.data, &about.addresses)?;
            say(&format!(
                "hub {name} has joined as {node}, in {root}\n\nNext:\n  {run}\n  \
                 millrace-hub members --data {root}\n"
            ))?;
        }
        Ok(Exit::Ok)
    }
}

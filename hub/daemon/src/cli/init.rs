//! `millrace-hub init`: makes CA, identity, registry and store.

use std::path::PathBuf;

use clap::Args;
use millrace_host::{Clock, Exit};
use serde_json::json;

use super::{DATA_DEFAULT, beginning};
use crate::hub::founding::{Founded, found};
use crate::places::About;
use millrace_host::Failure;
use millrace_host::terminal::{say, say_json};

/// Make a new hub: the cluster's CA, the hub's identity and an empty store.
///
/// Nothing that is there already is overwritten. Keep a backup of DIR/ca: with it lost, every device has to be enrolled
/// anew.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub init --data /var/lib/millrace-hub --name hub-1 --region north --address hub.plant.example:7443\n  millrace-hub init --data ./hub --name test --region here --address 127.0.0.1:0"
)]
pub(super) struct Init {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", env = "MILLRACE_HUB_DATA", default_value = DATA_DEFAULT)]
    data: PathBuf,
    /// What the hub is called.
    #[arg(long, value_name = "NAME", default_value = "hub-1")]
    name: String,
    /// Where it stands.
    #[arg(long, value_name = "REGION", default_value = "default")]
    region: String,
    /// Where agents reach it, as HOST:PORT in the order to be tried. Port 0 stands for the port that it listens on.
    #[arg(long = "address", value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    addresses: Vec<String>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl Init {
    pub(super) fn perform(self) -> Result<Exit, Failure> {
        beginning::directory(&self.data)?;
        let about = About { name: self.name, region: self.region, addresses: self.addresses };
        let Founded { hub, ca } = found(&self.data, &about, None, Clock::system().wall())?;
        let root = self.data.display().to_string();
        if self.json {
            say_json(&json!({
                "hub": hub, "name": about.name, "region": about.region, "addresses": about.addresses,
                "ca": ca.to_string(), "data": root,
            }))?;
        } else {
            let run = beginning::run_command(&self.data, &about.addresses)?;
            say(&format!(
                "hub {} ({hub}) is made in {root}\nCA key {ca}\n\nNext:\n  {run}\n  \
                 millrace-hub token create --data {root} --name DEVICE    # then, on the device:\n  \
                 millrace-agent enroll --token TOKEN --data /var/lib/millrace-agent\n\nKeep a backup of {root}/ca.\n",
                about.name,
            ))?;
        }
        Ok(Exit::Ok)
    }
}

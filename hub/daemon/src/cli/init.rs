//! `millrace-hub init`: makes CA, identity, registry and store.

use std::path::PathBuf;

use clap::Args;
use millrace_host::{Clock, Exit, entropy};
use millrace_link::CertificateAuthority;
use millrace_model::HubId;
use serde_json::json;

use super::{DATA_DEFAULT, say, say_json};
use crate::config::{defaults, valid_address};
use crate::failure::Failure;
use crate::hub::identity;
use crate::places::{About, Places};
use crate::registry::Registry;
use crate::{hub, opening};

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
        self.check()?;
        let places = Places::new(&self.data);
        let root = places.root().display().to_string();
        if places.ca().exists() || places.journal().exists() || places.read_about().is_ok() {
            let message = format!("there is a hub in {root} already, and nothing is overwritten");
            return Err(
                Failure::new(Exit::Usage, message).hint("name another directory, or move this one away")
            );
        }
        let config = defaults(&self.data).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        places.make().map_err(|error| Failure::io(&format!("{root} cannot be made"), &error))?;
        let now = Clock::system().wall();
        let drawn = entropy::bytes().map_err(|error| Failure::internal(&error))?;
        let id = HubId::from_bytes(drawn);
        let not_kept = |error: &dyn std::fmt::Display| Failure::new(Exit::Io, error.to_string());

        let ca = CertificateAuthority::fresh(&self.name, now).map_err(|error| not_kept(&error))?;
        ca.save(&places.ca()).map_err(|error| not_kept(&error))?;
        let own = identity::issue(&ca, id, &self.name, config.certificate_life, now)?;
        own.save(&places.identity()).map_err(|error| not_kept(&error))?;
        Registry::open(&places.registry(), now).map_err(|error| hub::registry_failure(&error))?;
        let options = opening::options(config.store_budget_bytes);
        opening::open(&places.journal(), &options).map_err(|error| hub::store_failure(&error))?;
        // Last, because it says that all the rest is there.
        let about = About { name: self.name, region: self.region, addresses: self.addresses };
        places.write_about(&about).map_err(|error| Failure::io("about.json cannot be written", &error))?;

        if self.json {
            let answer = json!({
                "hub": id, "name": about.name, "region": about.region, "addresses": about.addresses,
                "ca": ca.key_hash().to_string(), "data": root,
            });
            say_json(&answer)?;
        } else {
            say(&format!(
                "hub {} ({id}) is made in {root}\nCA key {}\n\nNext:\n  millrace-hub run --data {root}\n  millrace-hub token create --data {root} --name DEVICE    # then, on the device:\n  millrace-agent enroll --token TOKEN --data /var/lib/millrace-agent\n\nKeep a backup of {root}/ca.\n",
                about.name,
                ca.key_hash(),
            ))?;
        }
        Ok(Exit::Ok)
    }

    fn check(&self) -> Result<(), Failure> {
        for (what, text) in [("name", &self.name), ("region", &self.region)] {
            if !millrace_link::ca::valid_name(text) {
                let failure = Failure::new(Exit::Usage, format!("`{text}` cannot be the hub's {what}"));
                return Err(failure.hint("choose 1 to 64 characters without control characters"));
            }
        }
        match self.addresses.iter().find(|address| !valid_address(address)) {
            Some(wrong) => Err(Failure::new(Exit::Usage, format!("`{wrong}` is not an address"))
                .hint("write HOST:PORT, for example hub.plant.example:7443")),
            None => Ok(()),
        }
    }
}

//! `millrace-hub token create`: what a new machine needs to enrol.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use millrace_host::config::{Span, UnitError};
use millrace_host::{Clock, Exit};
use serde_json::{Value, json};

use super::offline::Offline;
use super::{Here, Which};
use crate::config;
use crate::http::{TokenRequest, shown_token};
use crate::hub;
use crate::registrar::{TokenMakingError, TokenOrder, make_token};
use millrace_host::Failure;
use millrace_host::terminal::{say, say_json};

/// Make join tokens.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  millrace-hub token create --name press-7 --label line=2 --expires 24h")]
pub(super) struct Token {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    Create(Create),
}

/// Make a join token and print it alone on standard output.
///
/// Whoever has the token may enrol one machine. The hub keeps only a fingerprint of it, so it cannot be shown again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub token create --name press-7 --label site=north --label line=2\n  TOKEN=$(millrace-hub token create --data ./hub)\n  millrace-hub token create --uses 20 --expires 7days --json\n  millrace-hub token create --hub --name hub-2\n  millrace-hub token create --hub --replace hub-2\n  millrace-hub token create --replace press-7\n  millrace-hub token create --hub --witness --name hub-3"
)]
struct Create {
    #[command(flatten)]
    here: Here,
    /// The name that the machine will have; without it the machine chooses.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A label that it will have, as KEY=VALUE.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// For how long the token is good.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = life)]
    expires: Span,
    /// How many machines may enrol with it.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    uses: u32,
    /// Where the machine reaches the hub, instead of what the hub knows, as HOST:PORT.
    #[arg(long = "address", value_name = "HOST:PORT", value_delimiter = ',')]
    addresses: Vec<String>,
    /// Make a hub of the machine, with `millrace-hub join`, instead of a device.
    #[arg(long, conflicts_with = "labels")]
    hub: bool,
    /// The hub, or the device, whose place the machine takes, by its name or a device's id. A hub is let go when the new one joins. A
    /// device stays the device that it is, and the machine that was it is refused from then on.
    #[arg(long, value_name = "NAME", conflicts_with = "labels")]
    replace: Option<String>,
    /// Make a witness of it, which only votes, with `millrace-hub join --witness`. Means --hub; without it the token makes no
    /// witness.
    #[arg(long, conflicts_with = "labels")]
    witness: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = split.ok_or("write KEY=VALUE, for example line=2")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn life(text: &str) -> Result<Span, String> {
    let life: Span = text.parse().map_err(|error: UnitError| error.to_string())?;
    if life.duration().is_zero() {
        return Err("such a token would be over at once: give it some time, for example 24h".to_owned());
    }
    Ok(life)
}

impl Token {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let TokenCommand::Create(create) = self.command;
        let which = create.here.which();
        let made = match Offline::unless_running(&which).await? {
            None => create.ask(&which).await?,
            Some(offline) => create.make(offline).await?,
        };
        if which.json {
            say_json(&made)?;
        } else {
            say(&format!("{}\n", made.get("token").and_then(Value::as_str).unwrap_or_default()))?;
        }
        Ok(Exit::Ok)
    }
}

impl Create {
    fn request(&self) -> TokenRequest {
        TokenRequest {
            name: self.name.clone(),
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            expires: self.expires,
            uses: self.uses,
            addresses: self.addresses.clone(),
            hub: self.hub || self.witness,
            replace: self.replace.clone(),
            witness: self.witness,
        }
    }

    async fn ask(&self, which: &Which) -> Result<Value, Failure> {
        which.client()?.post("/v1/tokens", &json!(self.request())).await
    }

    /// Without a running hub: straight into its registry.
    async fn make(&self, offline: Offline) -> Result<Value, Failure> {
        let made = self.decide(&offline).await;
        offline.close().await;
        made
    }

    async fn decide(&self, offline: &Offline) -> Result<Value, Failure> {
        let places = self.here.which().places();
        let config = config::defaults(places.root());
        let config = config.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let ca = hub::load_ca(&config)?;
        let now = Clock::system().wall();
        let known = places.read_about().map(|about| about.addresses).unwrap_or_default();
        let TokenRequest { name, labels, expires, uses, addresses, hub, replace, witness } = self.request();
        let addresses = if addresses.is_empty() { known } else { addresses };
        if addresses.iter().any(|address| address.ends_with(":0")) {
            let failure = Failure::new(Exit::Usage, "the hub's port is known only while it runs");
            return Err(failure.hint("start the hub first, or give --address HOST:PORT"));
        }
        let life = expires.duration();
        let order = TokenOrder { name, labels, uses, life, addresses, hub, replace, witness };
        let made = make_token(offline.deciding()?, &ca, order, now).await.map_err(|error| match error {
            TokenMakingError::Registry(error) => hub::registry_failure(&error),
            error => Failure::new(Exit::Usage, error.to_string()),
        })?;
        Ok(shown_token(&made))
    }
}

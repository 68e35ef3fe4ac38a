//! `enroll`: join a cluster with a token.
//!
//! Promise: the key is made here and never leaves; the secret is sent only to a hub whose CA the token names.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use millrace_host::terminal::{note, say, say_json, visible};
use millrace_host::{Clock, Exit, Failure};
use millrace_link::enrolment::EnrolmentRefusal;
use millrace_link::{
    CertificateRequest, ClientOptions, CloseCode, ConnectError, Dialer, EnrollError, Enrolled, JoinToken,
    Wishes,
};
use serde_json::json;

use super::{DataArgument, runtime};
use crate::identity::{self, IdentityMissing};
use crate::memory::Memory;
use crate::places::Places;

const EXAMPLES: &str = "\
Examples:
  millrace-agent enroll --token millrace1.… --name press-7
  MILLRACE_TOKEN=millrace1.… millrace-agent enroll --data ./press-7
  millrace-agent enroll --replace press-7 --token millrace1.…      on a new disk: the same device as before

A token is printed by `millrace-hub token create`, for the last example with --replace press-7. It works once.";

/// Join a cluster with a token.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Enroll {
    /// The join token; in the environment it does not show in process lists
    #[arg(long, value_name = "TOKEN", env = "MILLRACE_TOKEN", hide_env_values = true)]
    token: String,
    #[command(flatten)]
    data: DataArgument,
    /// This device's name, when the token names none
    #[arg(long)]
    name: Option<String>,
    /// The device whose place this machine takes, with a token that is for that; its history comes back from the hubs
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "labels"])]
    replace: Option<String>,
    /// A label, such as site=leipzig; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or("a label is written KEY=VALUE, for example site=leipzig")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Enroll {
    /// Joins.
    ///
    /// # Errors
    /// Why not; nothing was changed then.
    pub fn run(self) -> Result<(), Failure> {
        let places = Places::new(&self.data.directory);
        let token: JoinToken = self
            .token
            .trim()
            .parse()
            .map_err(|error: millrace_link::TokenError| Failure::new(Exit::Usage, error.to_string()))?;
        vacant(&places)?;
        // Kept until the identity is saved: when the answer is lost, the next try shows the hub the same key.
        let request = CertificateRequest::pending(&places.identity()).map_err(|error| {
            Failure::new(Exit::Io, error.to_string()).hint("is the data directory writable?")
        })?;
        let Enrolled { identity, replaced } = runtime()?.block_on(self.ask(&token, &request))?;
        let unwritable = |what: String| Failure::new(Exit::Io, what).hint("is the data directory writable?");
        places
            .remember(&Memory::of_seeds(token.addresses.clone()))
            .map_err(|error| unwritable(error.to_string()))?;
        identity.save(&places.identity()).map_err(|error| unwritable(error.to_string()))?;
        CertificateRequest::settled(&places.identity()).map_err(|error| unwritable(error.to_string()))?;
        let own = identity.own();
        let device = own.device().map(|device| device.to_string()).unwrap_or_default();
        if self.json {
            let until = own.not_after.unix_seconds();
            return say_json(&json!({
                "device": device, "name": own.name, "replaced": replaced, "hubs": token.addresses, "not_after": until,
            }));
        }
        let next = format!("next: millrace-agent run --data {}", places.root().display());
        let instead = if replaced {
            "it took the place of the machine that was this device, which is refused from now on\n"
        } else {
            ""
        };
        say(&format!("enrolled as {} ({device})\n{instead}{next}\n", visible(&own.name)))
    }

    /// Asks the token's hubs in turn, with one key: a hub that granted it and was not heard grants it again. Ends when the
    /// farewells have left, after a refusal too: the hubs wait to hear that their answer came.
    async fn ask(&self, token: &JoinToken, request: &CertificateRequest) -> Result<Enrolled, Failure> {
        let clock = Clock::system();
        let dialer = Dialer::new(ClientOptions::new(Arc::new(move || clock.wall())));
        let labels = self.labels.iter().cloned().collect();
        let wishes = Wishes { name: self.name.as_deref(), labels, replace: self.replace.as_deref() };
        let mut failure = Failure::new(Exit::Usage, "the token names no hub").hint("ask for a new token");
        for hub in &token.addresses {
            // A hub that is not there takes its time to be missed.
            if std::io::stderr().is_terminal() {
                note(&format!("asking the hub at {hub}"));
            }
            let found: Vec<SocketAddr> = match tokio::net::lookup_host(hub).await {
                Ok(found) => found.collect(),
                Err(error) => {
                    let hint = "is the name in the token right, and does this machine's DNS know it?";
                    failure = Failure::new(Exit::Unavailable, format!("{hub} cannot be looked up: {error}"))
                        .hint(hint);
                    continue;
                }
            };
            for address in found {
                match dialer.enroll(address, token, request, &wishes).await {
                    Ok(enrolled) => {
                        dialer.close(CloseCode::EnrolmentOver, "").await;
                        return Ok(enrolled);
                    }
                    Err(error) => failure = refused(&error),
                }
            }
        }
        dialer.close(CloseCode::EnrolmentOver, "").await;
        Err(failure)
    }
}

/// Whether there is room for an identity. One that is damaged is not replaced: it may be mended, and then this is the
/// same device as before.
fn vacant(places: &Places) -> Result<(), Failure> {
    let (what, hint) = match identity::load(places) {
        Err(IdentityMissing::NotEnrolled) => return Ok(()),
        Ok(identity) => (
            format!("{} is enrolled already, as {}", places.root().display(), identity.own().name),
            "name another --data directory; to enrol this device anew, move its identity directory aside",
        ),
        Err(error) => (error.to_string(), ""),
    };
    Err(Failure::new(Exit::Config, what).hint(hint))
}

fn refused(error: &EnrollError) -> Failure {
    let (exit, hint) = match error {
        // A token for something else, such as a hub or another name: the hub's words say what to do, after a colon.
        EnrollError::Refused { why: EnrolmentRefusal::NotPermitted, text } if text.contains(": ") => {
            (Exit::Permission, "")
        }
        EnrollError::Refused { why, .. } => verdict(*why),
        EnrollError::WrongCluster { .. } => (
            Exit::Permission,
            "another machine answers at this address: check the token and the road to the hub",
        ),
        // What the message asks by itself.
        EnrollError::Connect(ConnectError::Timeout { .. }) => (Exit::Unavailable, ""),
        _ => (Exit::Unavailable, "is the hub running, and is UDP let through to it?"),
    };
    Failure::new(exit, error.to_string()).hint(hint)
}

/// What to do about a hub's refusal.
const fn verdict(why: EnrolmentRefusal) -> (Exit, &'static str) {
    match why {
        EnrolmentRefusal::UnknownSecret => (
            Exit::Permission,
            "is the token whole, and from this hub? If so it was withdrawn: create another with `millrace-hub token create`",
        ),
        EnrolmentRefusal::Expired => (
            Exit::Permission,
            "create a new token with `millrace-hub token create`; --expires gives it more time. If it is fresh, one of \
             the two clocks is wrong",
        ),
        EnrolmentRefusal::Used => (
            Exit::Permission,
            "each token enrols one machine: create another with `millrace-hub token create`, or one for many with --uses",
        ),
        EnrolmentRefusal::NotPermitted => (
            Exit::Permission,
            "make a token for this device with `millrace-hub token create`, and see `--name` here",
        ),
        EnrolmentRefusal::Unavailable => (
            Exit::Temporary,
            "the token is still good: try again in a minute; if it stays so, look at the hub's log and at `millrace-hub members`",
        ),
        _ => (Exit::Permission, "the hub may be newer than this agent; its own log says more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_advised_that_the_message_says_or_denies() {
        let timeout = ConnectError::Timeout {
            addr: SocketAddr::from(([127, 0, 0, 1], 7_443)),
            after: std::time::Duration::from_secs(5),
        };
        let silent = refused(&EnrollError::Connect(timeout));
        assert_eq!(silent.to_string().matches("UDP").count(), 1, "{silent}");
        let text = "this join token makes a hub: use it with `millrace-hub join`".to_owned();
        let of_a_hub = refused(&EnrollError::Refused { why: EnrolmentRefusal::NotPermitted, text });
        assert_eq!((of_a_hub.exit, of_a_hub.hint.as_str()), (Exit::Permission, ""));
        assert!(of_a_hub.message.contains("millrace-hub join"), "{of_a_hub}");
    }

    #[test]
    fn each_refusal_has_a_hint_of_its_own() {
        let all = [
            EnrolmentRefusal::UnknownSecret,
            EnrolmentRefusal::Expired,
            EnrolmentRefusal::Used,
            EnrolmentRefusal::NotPermitted,
            EnrolmentRefusal::Unavailable,
            EnrolmentRefusal::Other,
        ];
        let hints: std::collections::BTreeSet<_> = all.into_iter().map(|why| verdict(why).1).collect();
        assert_eq!(hints.len(), all.len());
        assert_eq!(verdict(EnrolmentRefusal::Unavailable).0, Exit::Temporary, "a script may try again");
    }
}

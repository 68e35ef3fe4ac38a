//! `millrace-hub lease`: leases with a time to live, which keys and locks can end with.

use clap::{Args, Subcommand};
use millrace_host::Exit;
use millrace_host::config::{Span, UnitError};
use millrace_hub_control::kv::limits::{TTL_MS_MAX, TTL_MS_MIN};
use serde_json::json;

use super::Which;
use super::kv::answered;
use super::look::number;
use millrace_host::Failure;

/// Make, renew and end leases.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  LEASE=$(millrace-hub lease grant 30s)\n  millrace-hub kv put plant/here yes --lease $LEASE\n  millrace-hub lease renew $LEASE"
)]
pub(super) struct Lease {
    #[command(subcommand)]
    command: LeaseCommand,
}

#[derive(Debug, Subcommand)]
enum LeaseCommand {
    /// Make a lease and print its number.
    #[command(after_help = "Example:\n  millrace-hub lease grant 30s")]
    Grant {
        /// How long it lives after its last renewal: 1s to 366days.
        #[arg(value_parser = time_to_live)]
        ttl: Span,
        #[command(flatten)]
        which: Which,
    },
    /// Let a lease live its whole time again.
    #[command(after_help = "Example:\n  millrace-hub lease renew 5")]
    Renew {
        /// Its number.
        lease: u64,
        #[command(flatten)]
        which: Which,
    },
    /// End a lease and delete its keys.
    #[command(after_help = "Example:\n  millrace-hub lease revoke 5")]
    Revoke {
        /// Its number.
        lease: u64,
        #[command(flatten)]
        which: Which,
    },
}

/// A time that a lease can live: what the hubs would raise or cut is refused.
pub(super) fn time_to_live(text: &str) -> Result<Span, String> {
    let ttl: Span = text.parse().map_err(|error: UnitError| error.to_string())?;
    let (shortest, longest) = (Span::millis(TTL_MS_MIN), Span::millis(TTL_MS_MAX));
    if (shortest..=longest).contains(&ttl) {
        return Ok(ttl);
    }
    Err(format!(
        "a lease lives at least {shortest} and at most {} days",
        longest.duration().as_secs() / 86_400
    ))
}

impl Lease {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        match self.command {
            LeaseCommand::Grant { ttl, which } => {
                let answer = which.client()?.post("/v1/leases", &json!({ "ttl": ttl })).await?;
                answered(&which, &answer, || format!("{}\n", number(&answer, "lease")))
            }
            LeaseCommand::Renew { lease, which } => {
                let answer = which.client()?.post(&format!("/v1/leases/{lease}/renew"), &json!({})).await?;
                answered(&which, &answer, || format!("lives {} ms\n", number(&answer, "ttl_ms")))
            }
            LeaseCommand::Revoke { lease, which } => {
                let answer = which.client()?.delete(&format!("/v1/leases/{lease}")).await?;
                answered(&which, &answer, || format!("ended, {} keys deleted\n", number(&answer, "deleted")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_would_not_live_as_asked_is_refused_with_the_bounds() {
        assert_eq!(time_to_live("30s"), Ok(Span::seconds(30)));
        assert!(time_to_live("1s").is_ok() && time_to_live("366days").is_ok());
        for wrong in ["100ms", "10000days", "0s"] {
            let said = time_to_live(wrong).unwrap_err();
            assert!(said.contains("at least 1s") && said.contains("at most 366 days"), "{wrong}: {said}");
        }
    }
}

//! `millrace-hub lease`: leases with a time to live, which keys and locks can end with.

use clap::{Args, Subcommand};
use millrace_host::Exit;
use millrace_host::config::Span;
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
        /// How long it lives after its last renewal; at least a second.
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

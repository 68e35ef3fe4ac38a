//! `millrace-hub restore` and `millrace-hub force-new-cluster`: a new cluster out of what is left of an old one.

use std::path::PathBuf;

use clap::Args;
use millrace_host::terminal::{say, say_json};
use millrace_host::{Clock, Exit, Failure};
use serde_json::json;

use super::backup::{clear, tell};
use super::{DATA_DEFAULT, beginning};
use crate::backup::forcing::{Forced, force};
use crate::backup::restoring::{Changes, Restored, restore};
use crate::places::Places;

/// Make a data directory out of a backup. Its first start makes a new cluster of this hub alone, under a higher epoch.
///
/// Devices, tokens, revocations and keys are those of the backup. Agents send again what they still keep and the backup
/// lacks, and declare the rest. Other hubs join with empty directories.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub restore --from /backup/hub-a-2026-11-28 --data /var/lib/millrace-hub\n  millrace-hub restore --from ./backup --data ./hub --address hub-new.example:7443"
)]
pub(super) struct Restore {
    /// The backup; it is read against its manifest before anything is made.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Where the hub is made. It must be empty.
    #[arg(long, value_name = "DIR", env = "MILLRACE_HUB_DATA", default_value = DATA_DEFAULT)]
    data: PathBuf,
    /// What the hub is called, if not as in the backup.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where it stands, if not as in the backup.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Where it is reached, if not as in the backup.
    #[arg(long = "address", value_name = "HOST:PORT", value_delimiter = ',')]
    addresses: Vec<String>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub(super) fn perform(self) -> Result<Exit, Failure> {
        beginning::directory(&self.data)?;
        let changes = Changes { name: self.name, region: self.region, addresses: self.addresses };
        let restored = restore(&self.from, &self.data, changes, Clock::system().wall(), |file| {
            tell(&format!("verifying {}", file.name));
        });
        clear();
        let Restored { hub, node, epoch, about, manifest } = restored?;
        let root = self.data.display().to_string();
        if self.json {
            say_json(&json!({
                "hub": hub, "name": about.name, "node": node, "epoch": epoch, "data": root, "revision": manifest.revision,
                "backup_made_at": millrace_host::times::rfc3339(manifest.made_at),
            }))?;
        } else {
            let run = beginning::run_command(&self.data, &about.addresses)?;
            say(&format!(
                "hub {} ({hub}) is restored in {root} as {node} of a new cluster, epoch {epoch}\n\nNext:\n  \
                 {run}\n  millrace-hub token create --data {root} --hub    # for each further hub, \
                 which joins with an empty directory\n\nHubs of the old cluster are refused. Stop them, or agents go on with both.\n",
                about.name,
            ))?;
        }
        Ok(Exit::Ok)
    }
}

/// Make a new cluster of one stopped hub alone, when a majority of the others is lost for good.
///
/// The hub keeps its readings, its certificate, and everything that the cluster decided. Its epoch rises, and every other hub
/// of before is refused: they join again with empty directories. Never do this while the others may come back.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  systemctl stop millrace-hub && millrace-hub force-new-cluster --data /var/lib/millrace-hub --yes && systemctl start millrace-hub"
)]
pub(super) struct ForceNewCluster {
    /// The stopped hub's data directory.
    #[arg(long, value_name = "DIR", env = "MILLRACE_HUB_DATA", default_value = DATA_DEFAULT)]
    data: PathBuf,
    /// The others are lost for good: I know that what only they decided is lost with them.
    #[arg(long)]
    yes: bool,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl ForceNewCluster {
    pub(super) fn perform(self) -> Result<Exit, Failure> {
        if !self.yes {
            let message = "a new cluster leaves every other hub out for good";
            let hint = "when a majority is lost for good, say --yes; while it may come back, wait: readings go on meanwhile";
            return Err(Failure::new(Exit::Usage, message).hint(hint));
        }
        let Forced { node, epoch, aside } = force(&Places::new(&self.data), Clock::system().wall())?;
        let root = self.data.display().to_string();
        if self.json {
            let aside = aside.display().to_string();
            say_json(&json!({ "node": node, "epoch": epoch, "data": root, "aside": aside }))?;
        } else {
            say(&format!(
                "the hub in {root} is {node} of a new cluster of one, epoch {epoch}\nits former decisions stand in {}\n\nNext:\n  \
                 millrace-hub run --data {root}\n  millrace-hub token create --data {root} --hub    # for each further hub\n",
                aside.display(),
            ))?;
        }
        Ok(Exit::Ok)
    }
}

//! `millrace-hub backup`: a copy of everything that a new cluster can be made from.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use millrace_host::terminal::{bytes, say, say_json};
use millrace_host::{Clock, Exit, Failure};
use millrace_hub_control::Dump;
use millrace_link::Identity;
use serde_json::json;

use super::{Here, Which};
use crate::backup::making::{Making, Origin};
use crate::backup::manifest::Manifest;
use crate::backup::{forcing, restoring};
use crate::cluster::seat;
use crate::hub;
use crate::places::Places;

/// Back up a hub, running or not: its readings, the cluster's decisions and the CA, with a manifest of hashes.
///
/// The directory is made new. It holds the CA's key: whoever has it can enrol devices.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub backup /backup/hub-a-2026-11-28\n  millrace-hub backup --data ./hub /tmp/backup --json\n  millrace-hub backup --check /backup/hub-a-2026-11-28    # read it against its manifest"
)]
pub(super) struct Backup {
    #[command(flatten)]
    here: Here,
    /// Where the backup goes.
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// Make nothing: read the backup in DIR against its manifest.
    #[arg(long)]
    check: bool,
}

impl Backup {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let manifest = if self.check { checked(&self.to)? } else { self.make().await? };
        if self.here.json {
            say_json(&json!({
                "directory": self.to.display().to_string(), "hub": manifest.hub, "name": manifest.name,
                "node": manifest.node, "epoch": manifest.epoch, "revision": manifest.revision,
                "made_at": millrace_host::times::rfc3339(manifest.made_at), "bytes": manifest.bytes(),
                "files": manifest.files,
            }))?;
        } else {
            let done = if self.check { "is whole" } else { "is made" };
            say(&format!(
                "the backup in {} {done}: {} of hub {} (epoch {}, decisions up to revision {})\n",
                self.to.display(),
                bytes(manifest.bytes()),
                manifest.name,
                manifest.epoch,
                manifest.revision,
            ))?;
        }
        Ok(Exit::Ok)
    }

    async fn make(&self) -> Result<Manifest, Failure> {
        let which = self.here.which();
        let places = which.places();
        // Held while the hub is stopped, so that none starts meanwhile.
        let running = which.runs().await?;
        let lock = if running {
            None
        } else {
            Some(hub::open_sightings(&places).map_err(|error| hub::registry_failure(&error))?)
        };
        let origin = origin(&places)?;
        let mut making = Making::begin(&self.to)?;
        making.readings(&places, progress())?;
        let dump = match &lock {
            None => asked(&which).await?,
            Some(_) => forcing::salvage(&places)?,
        };
        making.decisions(&dump)?;
        making.names(&places)?;
        making.finish(origin, &dump, Clock::system().wall())
    }
}

async fn asked(which: &Which) -> Result<Dump, Failure> {
    let bytes = which.client()?.bytes("/v1/dump").await?;
    Dump::decode(&bytes).map_err(|error| Failure::new(Exit::Data, error.to_string()))
}

fn checked(directory: &Path) -> Result<Manifest, Failure> {
    restoring::verified(directory, |file| tell(&format!("reading {}", file.name)))
        .inspect(|_| clear())
        .inspect_err(|_| clear())
}

fn origin(places: &Places) -> Result<Origin, Failure> {
    let seat = seat::known(places)?;
    if seat.witness {
        let failure = Failure::new(Exit::Usage, "this hub is a witness: it keeps no readings and no CA");
        return Err(failure.hint("back up a hub that keeps readings"));
    }
    let identity = Identity::load(&places.identity()).map_err(|_| hub::identity::missing(places))?;
    let hub = identity.own().hub().ok_or_else(|| hub::identity::missing(places))?;
    Ok(Origin { hub, name: identity.own().name.clone(), node: seat.node, epoch: seat.epoch })
}

/// Tells how far the copy of the readings is, on a terminal.
fn progress() -> impl FnMut(u64, u64) {
    let mut told = None;
    move |left, all| {
        let percent = (all.saturating_sub(left) * 100).checked_div(all).unwrap_or(100);
        if told.replace(percent) != Some(percent) {
            tell(&format!("copying the readings: {percent} %"));
        }
        if left == 0 {
            clear();
        }
    }
}

pub(super) fn tell(what: &str) {
    if std::io::stderr().is_terminal() {
        // Fails only when nobody reads it.
        let _ = write!(std::io::stderr(), "\r\u{1b}[K{what}");
    }
}

pub(super) fn clear() {
    tell("");
}

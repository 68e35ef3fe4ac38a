//! rsync of the same records as a file: 32 bytes for each. What it sends of the file itself is not counted.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use tokio::time::Instant;

use super::holder::{Fault, different};
use super::{Case, Cost};

fn write(path: &Path, case: Case, seqs: &BTreeSet<u64>, whole: bool) -> anyhow::Result<()> {
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    for seq in 1..=case.records {
        let other = !whole && seqs.contains(&seq);
        if other && case.fault != Fault::Damaged {
            continue;
        }
        let mut bytes = [0; 32];
        fastrand::Rng::with_seed(seq * 2 + u64::from(other)).fill(&mut bytes);
        file.write_all(&bytes)?;
    }
    Ok(file.flush()?)
}

/// What it costs to bring the file up to the whole one; `None` where rsync is not installed.
pub(super) fn measure(case: Case) -> anyhow::Result<Option<Cost>> {
    if Command::new("rsync").arg("--version").output().is_err() {
        return Ok(None);
    }
    let seqs: BTreeSet<u64> = different(case).into_iter().collect();
    let dir = tempfile::tempdir()?;
    let (whole, other) = (dir.path().join("whole"), dir.path().join("other"));
    write(&whole, case, &seqs, true)?;
    write(&other, case, &seqs, false)?;
    let began = Instant::now();
    let run = Command::new("rsync")
        .args(["--no-whole-file", "--ignore-times", "--stats"])
        .args([&whole, &other])
        .output()
        .context("rsync")?;
    let seconds = began.elapsed().as_secs_f64();
    if !run.status.success() {
        bail!("rsync: {}", String::from_utf8_lossy(&run.stderr));
    }
    let said = String::from_utf8_lossy(&run.stdout);
    let figure = |name: &str| -> anyhow::Result<u64> {
        let line = said.lines().find(|line| line.starts_with(name)).context("rsync says something else")?;
        let digits: String = line.chars().skip(name.len()).filter(char::is_ascii_digit).collect();
        Ok(digits.parse()?)
    };
    let bytes = figure("Total bytes sent:")? + figure("Total bytes received:")?;
    let bytes = bytes.saturating_sub(figure("Literal data:")?);
    Ok(Some(Cost { bytes, seconds, ..Cost::default() }))
}

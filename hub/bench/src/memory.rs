//! What a process takes, as the kernel counts it.

use anyhow::Context;
use millrace_demo::Process;

/// Resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(crate) struct Memory {
    /// Now, with the pages of its program file.
    pub(crate) resident: f64,
    /// At its highest since the process began.
    pub(crate) peak: f64,
    /// Now, without files.
    pub(crate) anonymous: f64,
}

/// What `process` takes.
pub(crate) fn of(process: &Process) -> anyhow::Result<Memory> {
    let pid = process.pid().context("the process does not run")?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    parse(&text).context("the kernel tells no memory figures")
}

fn parse(text: &str) -> Option<Memory> {
    let kib = |key: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()
    };
    let bytes = |key| kib(key).map(|kib| kib * 1024.0);
    Some(Memory { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")?, anonymous: bytes("RssAnon:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_page_is_read() {
        let page = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\nRssAnon:\t     512 kB\n";
        let memory = parse(page).unwrap();
        assert!((memory.resident - 1_048_576.0).abs() < 1.0 && (memory.peak - 2_097_152.0).abs() < 1.0);
        assert!(parse("Name:\tx\n").is_none());
    }
}

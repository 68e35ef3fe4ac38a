//! The time of processors that a process takes, as the kernel counts it.

use anyhow::Context;
use millrace_demo::Process;

/// Of `/proc/PID/stat` on Linux, whatever the kernel counts with inside.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of one processor that `process` has used, inside the kernel and outside.
pub(crate) fn seconds(process: &Process) -> anyhow::Result<f64> {
    let pid = process.pid().context("the process does not run")?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&text).context("the kernel tells no times")
}

fn parse(text: &str) -> Option<f64> {
    // The name may hold anything but ends with the last parenthesis; user and system time are the 14th and 15th field.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<f64>().ok()?, fields.next()?.parse::<f64>().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_whatever_the_process_is_called() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 8 0 1 2 3";
        assert!((parse(line).unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(parse("7 (x) S 1"), None);
    }
}

//! Systemd: readiness, status, watchdog and credentials, each a no-op where systemd is not.
//!
//! Promise: a failure to notify never stops a daemon; it is logged once per message.
//! Absent: socket activation and file descriptor passing, which Millrace does not use.
//!
//! | module | what it gives |
//! |---|---|
//! | `vigil` | [`Vigil`]: the pure decision whether the watchdog may be fed |
//! | `watchdog` | [`Watchdog`], [`Progress`]: the handles and the task around it |

mod vigil;
mod watchdog;

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use sd_notify::NotifyState;

pub use vigil::{StageName, Verdict, Vigil};
pub use watchdog::{Progress, Watchdog};

/// The most white space that still counts as a blank credential; the unit's default is one line break.
const BLANK_BYTES_MAX: usize = 16;

/// The daemon is up and serves: `systemctl start` returns now.
pub fn ready() {
    send("READY", &[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    send("STATUS", &[NotifyState::Status(&one_line(line))]);
}

/// The daemon has begun to stop.
pub fn stopping() {
    send("STOPPING", &[NotifyState::Stopping]);
}

/// The daemon has begun to read its config again; call [`ready`] when it is done.
pub fn reloading() {
    // Not the library's own reading of the clock: on 32-bit machines it overflows after 36 minutes of uptime.
    let now = i128::from(crate::clock::kernel_monotonic_us());
    send("RELOADING", &[NotifyState::Reloading, NotifyState::MonotonicUsec(now)]);
}

fn send(what: &'static str, state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(what, %error, "cannot notify systemd");
    }
}

/// A line break in a status would end the message and start another variable.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// The file of a credential that the unit names with `LoadCredential=name:…`, or `None` when the
/// service manager gave none of that name. A blank one counts as none: it is the default with which the
/// unit makes the credential optional. Only the name of one file is looked up, never a path.
#[must_use]
pub fn credential(name: &str) -> Option<PathBuf> {
    credential_in(Path::new(&std::env::var_os("CREDENTIALS_DIRECTORY")?), name)
}

fn credential_in(directory: &Path, name: &str) -> Option<PathBuf> {
    let mut parts = Path::new(name).components();
    let (Some(Component::Normal(file)), None) = (parts.next(), parts.next()) else {
        return None;
    };
    let path = directory.join(file);
    let mut start = [0_u8; BLANK_BYTES_MAX];
    let read = File::open(&path).and_then(|mut file| file.read(&mut start)).ok()?;
    let blank = start.iter().take(read).all(u8::is_ascii_whitespace);
    (path.is_file() && !(blank && read < BLANK_BYTES_MAX)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_plain_name_only() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("credentials");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("mqtt-password"), "secret").unwrap();
        std::fs::write(dir.path().join("other"), "").unwrap();
        assert_eq!(credential_in(&inside, "mqtt-password"), Some(inside.join("mqtt-password")));
        std::fs::write(inside.join("blank"), "\n").unwrap();
        std::fs::write(inside.join("empty"), "").unwrap();
        for name in ["../other", "/etc/passwd", "", ".", "missing", "blank", "empty"] {
            assert_eq!(credential_in(&inside, name), None, "{name}");
        }
    }

    #[test]
    fn a_status_stays_one_line() {
        assert_eq!(one_line("up\nWATCHDOG=1"), "up WATCHDOG=1");
    }
}

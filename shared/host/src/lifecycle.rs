//! Lifecycle: how a daemon learns that it must stop or read its config again, and how it says why it ended.
//!
//! Promise: the first SIGTERM or SIGINT asks for an orderly end, the second ends the process at once;
//! SIGHUP asks for a reload; exit codes mean the same in every program of Millrace.
//! Absent: no order of shutting down; each daemon has its own.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells everything in a process that the end has come. Clones share one state.
#[derive(Debug, Clone)]
pub struct Shutdown {
    sender: Arc<watch::Sender<bool>>,
    receiver: watch::Receiver<bool>,
}

impl Shutdown {
    /// A shutdown that only [`Shutdown::trigger`] starts: for tests and for parts that end by themselves.
    #[must_use]
    pub fn manual() -> Self {
        let (sender, receiver) = watch::channel(false);
        Self { sender: Arc::new(sender), receiver }
    }

    /// A shutdown that SIGTERM and SIGINT start, and the stream of SIGHUPs. Needs a tokio runtime.
    ///
    /// A second SIGTERM or SIGINT ends the process with 128 plus the signal's number, without waiting for
    /// anything: what was acknowledged is flushed already.
    ///
    /// # Errors
    /// When the operating system refuses a signal handler.
    pub fn install() -> io::Result<(Self, Reload)> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let reload = Reload::install()?;
        let shutdown = Self::manual();
        let trigger = shutdown.clone();
        tokio::spawn(async move {
            let mut received = 0_u8;
            loop {
                let number = tokio::select! {
                    Some(()) = terminate.recv() => SignalKind::terminate().as_raw_value(),
                    Some(()) = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
                    else => return,
                };
                received += 1;
                if received > 1 {
                    tracing::warn!(signal = number, "second signal: ending at once");
                    std::process::exit(128 + number);
                }
                tracing::info!(signal = number, "stopping");
                trigger.trigger();
            }
        });
        Ok((shutdown, reload))
    }

    /// Starts the shutdown. Further calls change nothing.
    pub fn trigger(&self) {
        self.sender.send_replace(true);
    }

    /// Whether the shutdown has started.
    #[must_use]
    pub fn is_triggered(&self) -> bool {
        *self.receiver.borrow()
    }

    /// Waits until the shutdown starts; returns at once when it has.
    pub async fn triggered(&self) {
        // The sender lives in `self`, so waiting can end in one way only.
        let _ = self.receiver.clone().wait_for(|started| *started).await;
    }
}

/// The stream of reload requests (SIGHUP). Requests that arrive during a reload are joined into one.
#[derive(Debug)]
pub struct Reload(tokio::signal::unix::Signal);

impl Reload {
    fn install() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next request.
    pub async fn requested(&mut self) {
        if self.0.recv().await.is_none() {
            // The runtime takes no more signals: nobody will ever ask again.
            std::future::pending::<()>().await;
        }
    }
}

/// Why a program ended. The numbers are those of BSD's `sysexits.h`, so that scripts and service
/// managers can tell a wrong config (do not retry) from a busy disk (do).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Ok = 0,
    /// What was asked for is not there. `grep` and `diff` use it in the same sense.
    Absent = 1,
    /// The command line is wrong.
    Usage = 64,
    /// Stored or given data is damaged or contradicts itself; `verify` uses it for its findings.
    Data = 65,
    /// Something that is needed does not answer: a hub, a broker, the daemon itself.
    Unavailable = 69,
    /// A fault in the program.
    Internal = 70,
    /// Disk or network failed; the store is poisoned and a restart verifies it.
    Io = 74,
    /// Try again later; nothing is wrong that a person must correct.
    Temporary = 75,
    /// The operating system or a hub refuses.
    Permission = 77,
    /// The config is wrong.
    Config = 78,
}

impl Exit {
    /// Every code, in the order of the numbers.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::Absent,
        Self::Usage,
        Self::Data,
        Self::Unavailable,
        Self::Internal,
        Self::Io,
        Self::Temporary,
        Self::Permission,
        Self::Config,
    ];

    /// The number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// One line for help texts and manuals.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "all is well",
            Self::Absent => "what was asked for is not there",
            Self::Usage => "the command line is wrong",
            Self::Data => "data is damaged or contradicts itself",
            Self::Unavailable => "something that is needed does not answer",
            Self::Internal => "a fault in the program; please report it",
            Self::Io => "disk or network failed; a restart verifies the store",
            Self::Temporary => "try again later",
            Self::Permission => "the operating system or the hub refuses",
            Self::Config => "the config is wrong",
        }
    }

    /// The code that fits an I/O error.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission,
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Self::Unavailable,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {
                Self::Temporary
            }
            io::ErrorKind::InvalidData => Self::Data,
            _ => Self::Io,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trigger_reaches_every_clone_early_and_late() {
        let shutdown = Shutdown::manual();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.triggered().await }
        });
        assert!(!shutdown.is_triggered());
        shutdown.clone().trigger();
        waiting.await.unwrap();
        shutdown.triggered().await;
        assert!(shutdown.is_triggered());
    }

    #[tokio::test]
    async fn signals_of_this_process_ask_for_reload_and_end() {
        let (shutdown, mut reload) = Shutdown::install().unwrap();
        let kill = |name: &str| {
            let status = std::process::Command::new("kill")
                .args(["-s", name, &std::process::id().to_string()])
                .status()
                .unwrap();
            assert!(status.success());
        };
        kill("HUP");
        reload.requested().await;
        assert!(!shutdown.is_triggered());
        kill("TERM");
        shutdown.triggered().await;
    }

    #[test]
    fn exit_codes_keep_their_numbers() {
        let numbers: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(numbers, [0, 1, 64, 65, 69, 70, 74, 75, 77, 78]);
        assert!(Exit::ALL.iter().all(|exit| !exit.meaning().is_empty()));
    }

    #[test]
    fn io_errors_find_their_code() {
        let code = |kind| Exit::from_io(&io::Error::from(kind));
        assert_eq!(code(io::ErrorKind::PermissionDenied), Exit::Permission);
        assert_eq!(code(io::ErrorKind::ConnectionRefused), Exit::Unavailable);
        assert_eq!(code(io::ErrorKind::StorageFull), Exit::Io);
    }
}

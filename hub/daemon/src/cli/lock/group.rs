//! The command that runs while a lock is held, with everything that it starts.
//!
//! Promise: when it is to end, its whole process group is told to (SIGTERM), and whatever of it is left after a grace is killed.
//! Absent: when that is. What leaves the group on purpose (`setsid`) is not followed.

use std::io::IsTerminal as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use millrace_host::{Exit, Failure};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout_at};

/// How often to look whether anything of the group is left.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A command that runs.
pub(super) struct Group {
    child: Child,
    /// The group, named after its first process.
    id: Option<Pid>,
    over: bool,
}

impl Group {
    /// Starts `program` in a process group of its own. There it cannot read from a terminal, so it is given nothing to read then.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) fn start(program: &str, arguments: &[String], fence: u64) -> Result<Self, Failure> {
        let input = if std::io::stdin().is_terminal() { Stdio::null() } else { Stdio::inherit() };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("MILLRACE_FENCE", fence.to_string())
            .process_group(0)
            .kill_on_drop(true)
            .stdin(input);
        let child = command.spawn().map_err(|error| {
            Failure::new(Exit::Usage, format!("`{program}` does not start: {error}")).hint("check its name")
        })?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, id, over: false })
    }

    /// Waits until the command itself has ended. What it left behind goes on.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub(super) async fn wait(&mut self) -> Result<ExitStatus, Failure> {
        let status = self.child.wait().await.map_err(|error| Failure::internal(&error))?;
        self.over = true;
        Ok(status)
    }

    /// Ends it with all that it started: asks at once, and kills what is left `grace` later.
    pub(super) async fn end(mut self, grace: Duration) {
        let until = Instant::now() + grace;
        self.signal(Signal::TERM);
        // How it ended does not matter any more.
        let _ = timeout_at(until, self.child.wait()).await;
        while self.is_there() && Instant::now() < until {
            sleep(LOOK_AGAIN.min(until.saturating_duration_since(Instant::now()))).await;
        }
        self.signal(Signal::KILL);
        self.over = true;
        let _ = self.child.wait().await;
    }

    fn is_there(&self) -> bool {
        self.id.is_some_and(|id| test_kill_process_group(id).is_ok())
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id
            && let Err(error) = kill_process_group(id, signal)
        {
            // Nothing of it is left, as a rule.
            tracing::debug!(%error, "the command's process group takes no signal");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.over {
            self.signal(Signal::KILL);
        }
    }
}

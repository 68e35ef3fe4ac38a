//! The command that runs while a lock is held, with everything that it starts.
//!
//! ```text
//!  lock ──fork──▶ this program, once more ──"kill me when the lock's process dies"──exec──▶ the command
//! ```
//!
//! Promise: when it is to end, its whole process group is told to, and whatever of it is left after a grace is killed. When this
//! process is killed, so is the command.
//! Absent: when that is. What leaves the group on purpose (`setsid`) is not followed, nor is what the command started ended when
//! this process is killed: the operating system tells only a child (`PR_SET_PDEATHSIG`, prctl(2)).

use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use millrace_host::{Exit, Failure};
use rustix::process::{
    Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal, test_kill_process_group,
};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout_at};

/// How often to look whether anything of the group is left.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// This program, also when its file was replaced by a newer one.
const ITSELF: &str = "/proc/self/exe";

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
        let mut command = Command::new(ITSELF);
        command
            .args(["lock", "--guarded-by", &std::process::id().to_string(), "-", "--", program])
            .args(arguments)
            .env("MILLRACE_FENCE", fence.to_string())
            .process_group(0)
            .kill_on_drop(true)
            .stdin(input);
        let child = command.spawn().map_err(|error| unstarted(program, &error))?;
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

    /// Ends it with all that it started: passes `signal` on at once, and kills what is left `grace` later. How the command itself
    /// ended, as far as the operating system says.
    pub(super) async fn end(mut self, signal: Signal, grace: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + grace;
        self.signal(signal);
        let _ = timeout_at(until, self.child.wait()).await;
        while self.is_there() && Instant::now() < until {
            sleep(LOOK_AGAIN.min(until.saturating_duration_since(Instant::now()))).await;
        }
        self.signal(Signal::KILL);
        self.over = true;
        self.child.wait().await.ok()
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

/// Becomes the command: from now on this process is killed as soon as `guard`, its parent, has ended. Returns only when it fails.
pub(super) fn become_command(guard: u32, command: &[String]) -> Failure {
    let Some((program, arguments)) = command.split_first() else {
        return Failure::new(Exit::Usage, "no command is given");
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        tracing::warn!(%error, "the command will outlive this lock when that is killed");
    }
    // It may have ended before it was asked for.
    let parent = getppid().and_then(|parent| u32::try_from(parent.as_raw_nonzero().get()).ok());
    if parent != Some(guard) {
        return Failure::new(Exit::Temporary, "the process that held the lock has ended");
    }
    unstarted(program, &std::process::Command::new(program).args(arguments).exec())
}

fn unstarted(program: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("`{program}` does not start: {error}")).hint("check its name")
}

//! One child process: started, watched, signalled, started again; its words go into a log file.
//!
//! Promise: no child outlives its [`Process`]; when a child ends early the error shows the end of its log.
//! Absent: what the process is (`hub`, `agent`).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::PlantError;
use crate::patience::{LOOK_EVERY, Look, until};

/// A program opens its store, verifies it and binds: well under a second, but a machine with two cores that runs
/// several plants at once may need many.
pub const START_LIMIT: Duration = Duration::from_secs(30);

/// A program that was asked to stop finishes what is under way.
pub const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 25;

/// What a program writes into `runtime.json` when it is ready.
#[derive(Debug, Clone, Deserialize)]
pub struct Runtime {
    /// Its process id.
    pub pid: u32,
    /// Where it answers HTTP.
    pub http: String,
    /// Where an agent's embedded broker listens.
    #[serde(default)]
    pub mqtt: Option<String>,
    /// Where a hub listens for agents.
    #[serde(default)]
    pub quic: Option<String>,
}

/// A child process and how to start it.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    data: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// A process that is not started yet. `data` is its data directory, where `runtime.json` appears.
    #[must_use]
    pub fn new(name: &str, program: &Path, arguments: &[&str], data: &Path, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: arguments.iter().map(OsString::from).collect(),
            environment: Vec::new(),
            data: data.to_owned(),
            log: log.to_owned(),
            child: None,
        }
    }

    /// Sets an environment variable for every later start.
    pub fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.push((name.into(), value.into()));
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its words go.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, ends early, or is not ready within [`START_LIMIT`].
    pub async fn start(&mut self) -> Result<Runtime, PlantError> {
        self.spawn()?;
        self.ready().await
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&mut self) -> Result<(), PlantError> {
        let mut log = self.open_log()?;
        writeln!(log, "--- {} starts ---", self.name).map_err(PlantError::file(&self.log))?;
        let errors = log.try_clone().map_err(PlantError::file(&self.log))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|source| PlantError::Spawn { name: self.name.clone(), source })?;
        self.child = Some(child);
        Ok(())
    }

    fn open_log(&self) -> Result<File, PlantError> {
        OpenOptions::new().create(true).append(true).open(&self.log).map_err(PlantError::file(&self.log))
    }

    /// Waits until `runtime.json` of this very child is there.
    ///
    /// # Errors
    /// When it ends before, or takes longer than [`START_LIMIT`].
    pub async fn ready(&mut self) -> Result<Runtime, PlantError> {
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        loop {
            // A file of an earlier life stays behind after SIGKILL; its pid tells it apart.
            if let Some(runtime) = self.runtime().filter(|runtime| Some(runtime.pid) == self.pid()) {
                return Ok(runtime);
            }
            if let Some(status) = self.exit_status() {
                return Err(self.early_exit(status, "its runtime.json"));
            }
            if tokio::time::Instant::now() >= deadline {
                let what = format!("{} to be ready", self.name);
                return Err(PlantError::Patience { what, limit: START_LIMIT, last: self.log_tail() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn runtime(&self) -> Option<Runtime> {
        serde_json::from_slice(&fs::read(self.data.join("runtime.json")).ok()?).ok()
    }

    fn early_exit(&self, status: ExitStatus, what: &str) -> PlantError {
        PlantError::Exited {
            name: self.name.clone(),
            status: status.to_string(),
            what: what.to_owned(),
            log: self.log.clone(),
            tail: self.log_tail(),
        }
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.split_at(lines.len().saturating_sub(TAIL_LINES)).1.join("\n")
    }

    /// How it ended, when it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.is_some() && self.exit_status().is_none()
    }

    /// Fails when it does not run.
    ///
    /// # Errors
    /// How it ended, with the end of its log.
    pub fn must_run(&mut self) -> Result<(), PlantError> {
        match self.exit_status() {
            Some(status) => Err(self.early_exit(status, "nothing: it should run")),
            None => Ok(()),
        }
    }

    /// Sends SIGTERM and waits until it has ended.
    ///
    /// # Errors
    /// When it cannot be signalled, or still runs after [`STOP_LIMIT`].
    pub async fn terminate(&mut self) -> Result<ExitStatus, PlantError> {
        self.signal(Signal::TERM)?;
        self.ended(STOP_LIMIT).await
    }

    /// Sends SIGKILL and waits until it has ended.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub async fn kill(&mut self) -> Result<(), PlantError> {
        self.signal(Signal::KILL)?;
        self.ended(STOP_LIMIT).await.map(|_| ())
    }

    /// Halts it (SIGSTOP): it keeps its sockets and does nothing.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn halt(&self) -> Result<(), PlantError> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn go_on(&self) -> Result<(), PlantError> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), PlantError> {
        let failed = |detail: String| PlantError::Signal { name: self.name.clone(), detail };
        let child = self.child.as_ref().ok_or_else(|| failed("it does not run".into()))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| failed(format!("{} is no process id", child.id())))?;
        // The child is not reaped before `ended`, so its id cannot belong to another process yet.
        kill_process(pid, signal).map_err(|errno| failed(errno.to_string()))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn ended(&mut self, limit: Duration) -> Result<ExitStatus, PlantError> {
        let what = format!("the end of {}", self.name);
        let child = &mut self.child;
        let found = until(&what, limit, || {
            let status = child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            async move { Ok(status.map_or_else(|| Look::NotYet("it runs".into()), Look::Found)) }
        })
        .await?;
        self.child = None;
        Ok(found)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself, which is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How a command ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

/// Runs a command to its end, however it ends. `shown` is the command line for people.
///
/// # Errors
/// When it cannot be started, or runs longer than [`START_LIMIT`].
pub async fn tried(program: &Path, arguments: &[&str], shown: &str) -> Result<Said, PlantError> {
    let endless = |_| PlantError::Command {
        command: shown.to_owned(),
        status: format!("no end within {START_LIMIT:?}"),
        said: String::new(),
    };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(START_LIMIT, command.output())
        .await
        .map_err(endless)?
        .map_err(|source| PlantError::Spawn { name: shown.to_owned(), source })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}

/// Runs a command to its end and returns what it wrote to stdout. `shown` is the command line for people.
///
/// # Errors
/// When it cannot be started, ends with an error, or runs longer than [`START_LIMIT`].
pub async fn run(program: &Path, arguments: &[&str], shown: &str) -> Result<String, PlantError> {
    let said = tried(program, arguments, shown).await?;
    if said.code == Some(0) {
        return Ok(said.out);
    }
    let status = said.code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
    Err(PlantError::Command { command: shown.to_owned(), status, said: said.err })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_that_ends_early_shows_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("shell.log");
        let script = "echo the disk is on fire >&2; exit 3";
        let mut shell = Process::new("shell", Path::new("/bin/sh"), &["-c", script], dir.path(), &log);
        let error = shell.start().await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("the disk is on fire"), "{error}");
    }

    #[tokio::test]
    async fn a_child_is_ready_when_its_own_runtime_file_is_there_and_can_be_killed() {
        let dir = tempfile::tempdir().unwrap();
        let old = r#"{"pid":1,"http":"127.0.0.1:1"}"#;
        std::fs::write(dir.path().join("runtime.json"), old).unwrap();
        let script = format!(
            r#"printf '{{"pid":%s,"http":"127.0.0.1:9","mqtt":null}}' $$ > {}/runtime.json; sleep 60 & wait"#,
            dir.path().display()
        );
        let log = dir.path().join("shell.log");
        let mut shell = Process::new("shell", Path::new("/bin/sh"), &["-c", &script], dir.path(), &log);
        let runtime = shell.start().await.unwrap();
        assert_eq!((runtime.http.as_str(), Some(runtime.pid)), ("127.0.0.1:9", shell.pid()));
        assert!(shell.is_running());
        shell.kill().await.unwrap();
        assert!(!shell.is_running() && shell.halt().is_err());
    }
}

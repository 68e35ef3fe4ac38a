//! `millrace-hub lock` and `millrace-hub elect`: holding a lock, or leading, for as long as this process lives.
//!
//! ```text
//!  grant a lease ──▶ wait in the row ──▶ held: fence ──▶ run the command, or wait ──▶ give up, end the lease
//!     ▲  └── keep it ([`keeping`]) ──▶ lost while waiting: a new one ─┐    └──▶ lost: end the command, exit 75
//!     └───────────────────────────────────────────────────────────┘
//! ```
//!
//! Promise: the command, with everything that it started, is gone before the lease is over, counted from when its last renewal was
//! asked for; at once when the hub says that the lease is over already. Whatever the lock protects must refuse a fence below the
//! highest that it has seen: a process can be paused between looking and doing.

mod group;
mod keeping;

use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use millrace_host::Exit;
use millrace_host::config::Span;
use millrace_host::terminal::{note, say, say_json_line};
use millrace_hub_control::kv::limits::{TTL_MS_MAX, TTL_MS_MIN};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::signal::unix;

use super::Which;
use super::look::number;
use crate::client::{Client, encoded};
use group::Group;
use keeping::Keeping;
use millrace_host::Failure;

/// Pause before a place in the row is asked for again where the cluster could not decide.
const AGAIN: Duration = Duration::from_millis(500);
/// Longest name of a lock or an election, in bytes, as the hub takes it.
const NAME_BYTES_MAX: usize = 1_024;

/// Hold a lock while a command runs, or until this process is told to end.
///
/// The fence is printed (to standard error when a command runs: its output is its own), and the command finds it in MILLRACE_FENCE:
/// hand it on with everything that the lock protects. When the lock is lost the command and everything that it started get SIGTERM,
/// and SIGKILL a twentieth of --ttl later; the exit code is then 75, and otherwise the command's own. SIGTERM and SIGINT are passed
/// on to it; what has not ended 10 s later, or when the lock would be lost, is killed. The command runs in a process group of its own
/// and cannot read from a terminal. When this process itself is killed (SIGKILL), so is the command, but not what the command
/// started: only the fence protects from that.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub lock nightly-report -- ./report.sh\n  millrace-hub lock line-2 --ttl 30s"
)]
pub(super) struct Lock {
    /// The lock's name.
    #[arg(value_parser = name)]
    name: String,
    /// How long the lock outlives this process when that is killed or cut off: 1 s to 366 days.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = ttl)]
    ttl: Span,
    /// What others see of who holds it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    value: String,
    /// Give up at once when somebody else holds it, with exit code 75.
    #[arg(long)]
    try_once: bool,
    /// What to run while it is held.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Become the command, which ends with this process.
    #[arg(long, hide = true)]
    guarded_by: Option<u32>,
    #[command(flatten)]
    which: Which,
}

/// Campaign to lead: print when this process leads, and go on leading until it is told to end.
///
/// `millrace-hub elect NAME --show` prints who leads.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub elect scheduler --value node-a.example:9000\n  millrace-hub elect scheduler --show --json"
)]
pub(super) struct Elect {
    /// The election's name.
    #[arg(value_parser = name)]
    name: String,
    /// What others are to know of the leader.
    #[arg(long, value_name = "TEXT", default_value = "")]
    value: String,
    /// How long it counts as the leader when it is killed or cut off: 1 s to 366 days.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = ttl)]
    ttl: Span,
    /// Only show who leads.
    #[arg(long)]
    show: bool,
    #[command(flatten)]
    which: Which,
}

fn name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=NAME_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes")),
    }
}

fn ttl(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(|error| format!("{error}"))?;
    let (min, max) = (Duration::from_millis(TTL_MS_MIN), Duration::from_millis(TTL_MS_MAX));
    if (min..=max).contains(&span.duration()) { Ok(span) } else { Err("it is 1 s to 366 days".to_owned()) }
}

/// What is held, for people.
#[derive(Clone, Copy)]
enum Kind {
    Lock,
    Election,
}

impl Kind {
    fn held(self, name: &str, fence: u64) -> String {
        match self {
            Self::Lock => format!("{name} is held, fence {fence}"),
            Self::Election => format!("leads {name}, fence {fence}"),
        }
    }

    fn lost(self, why: &str) -> Failure {
        let (what, hint) = match self {
            Self::Lock => ("the lock is lost", "whatever it protects refuses the old fence; start again"),
            Self::Election => {
                ("this process leads no more", "whatever follows it refuses the old fence; start again")
            }
        };
        Failure::new(Exit::Temporary, format!("{what}: {why}")).hint(hint)
    }
}

/// What is wanted.
struct Wish<'a> {
    client: Client,
    kind: Kind,
    name: &'a str,
    value: &'a str,
    ttl: Span,
    wait: bool,
    json: bool,
    command: &'a [String],
}

/// How it came to an end.
enum Held {
    /// This process was told to end before anything was held.
    Never(Signal),
    /// This process was told to end, and there was no command.
    Told,
    /// The command has ended.
    Ran(ExitStatus),
    /// The lease is over, or about to be: there is nothing to give up.
    Lost(Failure),
}

/// What tells this process to end. One that comes between two looks is not lost.
struct Told {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Told {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| unix::signal(kind).map_err(|error| Failure::io("no signal handlers", &error));
        let (interrupt, terminate) =
            (listen(unix::SignalKind::interrupt())?, listen(unix::SignalKind::terminate())?);
        Ok(Self { interrupt, terminate })
    }

    async fn signal(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
        }
    }
}

impl Wish<'_> {
    /// Waits for the lock with this lease; what the hub says when it is held.
    async fn acquire(&self, lease: u64) -> Result<Value, Failure> {
        let path = format!("/v1/locks/{}", encoded(self.name));
        loop {
            let asked = json!({ "lease": lease, "value": self.value, "wait": self.wait });
            match self.client.post(&path, &asked).await {
                Ok(answer) if answer.get("held") == Some(&Value::Bool(true)) => return Ok(answer),
                Ok(_) if self.wait => {}
                Ok(_) => {
                    let what = format!("`{}` is held by somebody else", self.name);
                    return Err(Failure::new(Exit::Temporary, what).hint("leave out --try-once to wait"));
                }
                // The place in the row stays.
                Err(failure) if self.wait && failure.exit == Exit::Temporary => {
                    tracing::debug!(%failure, "the hubs cannot say yet who holds it");
                    tokio::time::sleep(AGAIN).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Waits for the lock, holds it, and gives it up.
    async fn hold(&self) -> Result<Held, Failure> {
        let mut told = Told::listen()?;
        let mut keeping = Keeping::begin(self.client.clone(), self.ttl).await?;
        let held = loop {
            let why = tokio::select! {
                held = self.acquire(keeping.lease()) => match held {
                    Err(failure) if self.wait && failure.exit == Exit::Usage && keeping.is_over().await => {
                        failure.message
                    }
                    held => break held,
                },
                why = keeping.keep() => why,
                signal = told.signal() => {
                    keeping.end(self.name).await;
                    return Ok(Held::Never(signal));
                }
            };
            // Nothing was held, so nothing is lost but the place in the row.
            note(&format!("note: waiting for {} with a new lease, the old one is over: {why}", self.name));
            keeping = tokio::select! {
                again = self.begin_again() => again?,
                signal = told.signal() => return Ok(Held::Never(signal)),
            };
        };
        let ended = match held {
            Ok(held) => self.work(&held, &mut keeping, &mut told).await,
            Err(failure) => Err(failure),
        };
        match ended {
            Ok(Held::Lost(failure)) => Err(failure),
            ended => {
                keeping.end(self.name).await;
                ended
            }
        }
    }

    /// A new lease, as soon as the hubs can grant one.
    async fn begin_again(&self) -> Result<Keeping, Failure> {
        loop {
            match Keeping::begin(self.client.clone(), self.ttl).await {
                Err(failure) if self.wait && failure.exit == Exit::Temporary => {
                    tracing::debug!(%failure, "no new lease is granted yet");
                    tokio::time::sleep(AGAIN).await;
                }
                begun => return begun,
            }
        }
    }

    /// Says that the lock is held, and runs the command.
    async fn work(&self, held: &Value, keeping: &mut Keeping, told: &mut Told) -> Result<Held, Failure> {
        let fence = number(held, "fence");
        let said = if self.json { held.to_string() } else { self.kind.held(self.name, fence) };
        let Some((program, arguments)) = self.command.split_first() else {
            if self.json {
                say_json_line(held)?;
            } else {
                say(&format!("{said}\n"))?;
            }
            return tokio::select! {
                why = keeping.keep() => Ok(Held::Lost(self.kind.lost(&why))),
                _ = told.signal() => Ok(Held::Told),
            };
        };
        note(&said);
        let mut group = Group::start(program, arguments, fence)?;
        tokio::select! {
            status = group.wait() => status.map(Held::Ran),
            why = keeping.keep() => {
                group.end(Signal::TERM, keeping.grace(true)).await;
                Ok(Held::Lost(self.kind.lost(&why)))
            }
            signal = told.signal() => {
                let ended = group.end(signal, keeping.grace(false)).await;
                Ok(ended.map_or(Held::Never(signal), Held::Ran))
            }
        }
    }
}

/// Ends this process with the code of a process that this signal ended, as a shell would give it.
fn exit_as_ended_by(signal: i32) -> ! {
    std::process::exit(128 + signal)
}

impl Lock {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        if let Some(guard) = self.guarded_by {
            return Err(group::become_command(guard, &self.command));
        }
        let wish = Wish {
            client: self.which.client()?,
            kind: Kind::Lock,
            name: &self.name,
            value: &self.value,
            ttl: self.ttl,
            wait: !self.try_once,
            json: self.which.json,
            command: &self.command,
        };
        match wish.hold().await? {
            Held::Told => Ok(Exit::Ok),
            Held::Lost(failure) => Err(failure),
            Held::Ran(status) if status.success() => Ok(Exit::Ok),
            // `lock … && next` must not go on: the command has not run.
            Held::Never(signal) => exit_as_ended_by(signal.as_raw()),
            // The command's own code, as a shell would give it.
            Held::Ran(status) => {
                use std::os::unix::process::ExitStatusExt as _;
                match status.code() {
                    Some(code) => std::process::exit(code),
                    None => exit_as_ended_by(status.signal().unwrap_or(0)),
                }
            }
        }
    }
}

impl Elect {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let client = self.which.client()?;
        if self.show {
            let answer = client.get(&format!("/v1/locks/{}", encoded(&self.name))).await?;
            let holder = answer.get("holder").cloned().unwrap_or_default();
            return super::kv::answered(&self.which, &answer, || match holder.is_null() {
                true => "nobody leads\n".to_owned(),
                false => {
                    format!(
                        "{} leads, fence {}\n",
                        super::look::shown(&holder, "value"),
                        number(&holder, "fence")
                    )
                }
            });
        }
        let wish = Wish {
            client,
            kind: Kind::Election,
            name: &self.name,
            value: &self.value,
            ttl: self.ttl,
            wait: true,
            json: self.which.json,
            command: &[],
        };
        wish.hold().await?;
        Ok(Exit::Ok)
    }
}

//! `millrace-hub lock` and `millrace-hub elect`: holding a lock, or leading, for as long as this process lives.
//!
//! ```text
//!  grant a lease ──▶ wait in the row ──▶ held: fence ──▶ run the command, or wait ──▶ give up, end the lease
//!        └── renew it every third of its life ──▶ not heard for a whole life: lost ──▶ end the command, exit 75
//! ```
//!
//! Promise: the command, with everything that it started, is gone before the lease is over, counted from when its last renewal was
//! asked for; at once when the hub says that the lease is over already. Whatever the lock protects must refuse a fence below the
//! highest that it has seen: a process can be paused between looking and doing.

mod group;

use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use millrace_host::Exit;
use millrace_host::config::Span;
use millrace_host::terminal::{say, say_json_line};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Which;
use super::look::number;
use crate::client::{Client, encoded};
use group::Group;
use millrace_host::Failure;

/// How often a lease is renewed within its life.
const RENEWALS: u32 = 3;
/// What is left of a lease's life when it counts as lost: the command must be gone before it is over.
const MARGIN: u32 = 10;
/// The part of a lease's life that a command gets to end by itself once the lock is lost: half of what is left then.
const GRACE: u32 = 2 * MARGIN;
/// How long a command may take to end when nothing is lost and this process was told to end: its lease lives on meanwhile, and so
/// at most until the lease would count as lost.
const FAREWELL: Duration = Duration::from_secs(10);
/// Shortest pause between two tries to renew.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Hold a lock while a command runs, or until this process is told to end.
///
/// The fence is printed, and the command finds it in MILLRACE_FENCE: hand it on with everything that the lock protects. When
/// the lock is lost the command and everything that it started get SIGTERM, and SIGKILL a twentieth of --ttl later; the exit code is
/// then 75, and otherwise the command's own. The command runs in a process group of its own and cannot read from a terminal.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub lock nightly-report -- ./report.sh\n  millrace-hub lock line-2 --ttl 30s"
)]
pub(super) struct Lock {
    /// The lock's name.
    name: String,
    /// How long the lock outlives this process when that is killed or cut off.
    #[arg(long, value_name = "TIME", default_value = "10s")]
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
    name: String,
    /// What others are to know of the leader.
    #[arg(long, value_name = "TEXT", default_value = "")]
    value: String,
    /// How long it counts as the leader when it is killed or cut off.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    ttl: Span,
    /// Only show who leads.
    #[arg(long)]
    show: bool,
    #[command(flatten)]
    which: Which,
}

/// A lease that is kept alive.
struct Keeping {
    client: Client,
    lease: u64,
    ttl: Duration,
    /// When it is over, at the earliest.
    over: Instant,
}

impl Keeping {
    async fn begin(client: Client, ttl: Span) -> Result<Self, Failure> {
        let asked = Instant::now();
        let granted = client.post("/v1/leases", &json!({ "ttl": ttl })).await?;
        let ttl = Duration::from_millis(number(&granted, "ttl_ms"));
        Ok(Self { client, lease: number(&granted, "lease"), ttl, over: asked + ttl })
    }

    /// Renews it again and again; ends when it is lost, with why.
    async fn keep(&mut self) -> Failure {
        let pause = (self.ttl / RENEWALS).max(PAUSE_MIN);
        loop {
            let lost = self.over - self.ttl / MARGIN;
            sleep_until((Instant::now() + pause).min(lost)).await;
            let asked = Instant::now();
            let path = format!("/v1/leases/{}/renew", self.lease);
            let why = match timeout_at(lost, self.client.post(&path, &json!({}))).await {
                Ok(Ok(_)) => {
                    self.over = asked + self.ttl;
                    continue;
                }
                Ok(Err(failure)) if failure.exit == Exit::Usage => failure.message,
                Ok(Err(failure)) if Instant::now() < lost => {
                    tracing::debug!(%failure, "the lease is not renewed yet");
                    tokio::time::sleep(PAUSE_MIN).await;
                    continue;
                }
                Ok(Err(failure)) => failure.message,
                Err(_) => "the hub did not renew its lease in time".to_owned(),
            };
            return Failure::new(Exit::Temporary, format!("the lock is lost: {why}"))
                .hint("whatever it protects refuses the old fence; start again");
        }
    }

    /// How long a command may take to end by itself.
    fn grace(&self, lost: bool) -> Duration {
        let short = self.ttl / GRACE;
        if lost {
            return short;
        }
        let safe = self.over.saturating_duration_since(Instant::now()).saturating_sub(self.ttl / MARGIN);
        FAREWELL.min(safe).max(short)
    }

    async fn end(&self, name: &str) {
        // What is not given up ends with the lease.
        let _ = self.client.delete(&format!("/v1/locks/{}?lease={}", encoded(name), self.lease)).await;
        let _ = self.client.delete(&format!("/v1/leases/{}", self.lease)).await;
    }
}

/// Waits for the lock; what the hub says when it is held.
async fn acquire(client: &Client, name: &str, lease: u64, value: &str, wait: bool) -> Result<Value, Failure> {
    let path = format!("/v1/locks/{}", encoded(name));
    loop {
        let asked = json!({ "lease": lease, "value": value, "wait": wait });
        let answer = client.post(&path, &asked).await?;
        if answer.get("held") == Some(&Value::Bool(true)) {
            return Ok(answer);
        }
        if !wait {
            let failure = Failure::new(Exit::Temporary, format!("`{name}` is held by somebody else"));
            return Err(failure.hint("leave out --try-once to wait"));
        }
    }
}

/// How a lock was held to its end.
enum Held {
    /// This process was told to end.
    Told,
    /// The command has ended.
    Ran(ExitStatus),
    /// The lease is over, or about to be: there is nothing to give up.
    Lost(Failure),
}

async fn told_to_end() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |error: std::io::Error| Failure::io("no signal handlers", &error);
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn hold(
    client: Client,
    which: &Which,
    (name, value): (&str, &str),
    (ttl, wait): (Span, bool),
    command: &[String],
) -> Result<Held, Failure> {
    let mut keeping = Keeping::begin(client.clone(), ttl).await?;
    let held = tokio::select! {
        held = acquire(&client, name, keeping.lease, value, wait) => held.map(Some),
        lost = keeping.keep() => return Err(lost),
        told = told_to_end() => told.map(|()| None),
    };
    let ended = match held {
        Ok(Some(held)) => work(which, (name, &held), &mut keeping, command).await,
        Ok(None) => Ok(Held::Told),
        Err(failure) => Err(failure),
    };
    match ended {
        Ok(Held::Lost(failure)) => Err(failure),
        ended => {
            keeping.end(name).await;
            ended
        }
    }
}

/// Says that the lock is held, and runs the command.
async fn work(
    which: &Which,
    (name, held): (&str, &Value),
    keeping: &mut Keeping,
    command: &[String],
) -> Result<Held, Failure> {
    let fence = number(held, "fence");
    if which.json {
        say_json_line(held)?;
    } else {
        say(&format!("{name} is held, fence {fence}\n"))?;
    }
    let Some((program, arguments)) = command.split_first() else {
        return tokio::select! {
            lost = keeping.keep() => Ok(Held::Lost(lost)),
            told = told_to_end() => told.map(|()| Held::Told),
        };
    };
    let mut group = Group::start(program, arguments, fence)?;
    let ended = tokio::select! {
        status = group.wait() => return status.map(Held::Ran),
        lost = keeping.keep() => Ok(Held::Lost(lost)),
        told = told_to_end() => told.map(|()| Held::Told),
    };
    group.end(keeping.grace(matches!(ended, Ok(Held::Lost(_))))).await;
    ended
}

impl Lock {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let client = self.which.client()?;
        let (who, how) = ((self.name.as_str(), self.value.as_str()), (self.ttl, !self.try_once));
        match hold(client, &self.which, who, how, &self.command).await? {
            Held::Told => Ok(Exit::Ok),
            Held::Lost(failure) => Err(failure),
            Held::Ran(status) if status.success() => Ok(Exit::Ok),
            // The command's own code, as a shell would give it.
            Held::Ran(status) => {
                use std::os::unix::process::ExitStatusExt as _;
                let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
                std::process::exit(code)
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
        let who = (self.name.as_str(), self.value.as_str());
        hold(client, &self.which, who, (self.ttl, true), &[]).await?;
        Ok(Exit::Ok)
    }
}

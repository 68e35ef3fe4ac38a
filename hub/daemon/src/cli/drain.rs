//! `millrace-hub drain`: move the agents away before the hub stops.

use std::time::Duration;

use clap::Args;
use millrace_host::config::Span;
use millrace_host::terminal::{note, say, say_json};
use millrace_host::{Exit, Failure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Here;
use super::look::number;
use crate::http::DrainRequest;

/// How often to look how many sessions are left.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Send this hub's agents to other hubs, and take none.
///
/// It goes on receiving from other hubs and answers everybody; only agents go. It ends with --off, or when the hub stops.
/// Exit code 0 when no session is left, or was not waited for; 75 when some are left, or when no other hub would take them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub drain --wait 30s && systemctl restart millrace-hub\n  millrace-hub drain --off\n  millrace-hub drain --data ./hub --json"
)]
pub(super) struct Drain {
    #[command(flatten)]
    here: Here,
    /// Take agents again.
    #[arg(long)]
    off: bool,
    /// Wait for at most so long until no session is left.
    #[arg(long, value_name = "TIME", conflicts_with = "off")]
    wait: Option<Span>,
    /// Drain although there is no other hub: agents keep their readings until a hub takes them again.
    #[arg(long, conflicts_with = "off")]
    force: bool,
}

/// What there is to say when nobody else would take the agents.
fn nowhere_to_go() -> Failure {
    let message = "there is no other hub that takes agents: they would have nowhere to go";
    Failure::new(Exit::Temporary, message).hint(
        "let another hub join or start it, or stop this one without draining; --force turns the agents away all the same",
    )
}

/// How many hubs other than `me` take agents, as `GET /v1/route` lists them.
fn others(route: &Value, me: &Value) -> usize {
    let hubs = route.get("hubs").and_then(Value::as_array).into_iter().flatten();
    hubs.filter(|hub| hub.get("hub") != Some(me) && hub.get("draining") == Some(&Value::Bool(false))).count()
}

impl Drain {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let which = self.here.which();
        let client = which.client()?;
        if !self.off && !self.force {
            let (status, route) = (client.get("/v1/status").await?, client.get("/v1/route").await?);
            if others(&route, status.get("hub").unwrap_or(&Value::Null)) == 0 {
                return Err(nowhere_to_go());
            }
        }
        let asked = json!(DrainRequest { on: !self.off });
        let answer = client.post("/v1/drain", &asked).await?;
        let others = number(&answer, "others");
        let mut left = number(&answer, "sessions");
        if !self.off && others == 0 {
            note(
                "note: there is no other hub that takes agents: they wait until one does, and keep their readings",
            );
        }
        let draining = answer.get("draining") == Some(&Value::Bool(true));
        let deadline = Instant::now() + self.wait.map(Span::duration).unwrap_or_default();
        while !self.off && left > 0 && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
            let now = number(&client.get("/v1/status").await?, "sessions");
            if now != left && !which.json {
                note(&format!("{now} sessions left"));
            }
            left = now;
        }
        if which.json {
            say_json(&json!({ "draining": draining, "sessions": left, "others": others }))?;
        } else {
            say(&format!("{}\n", sentence(self.off, draining, left)))?;
        }
        let waited_in_vain = self.wait.is_some() && left > 0;
        Ok(if waited_in_vain { Exit::Temporary } else { Exit::Ok })
    }
}

fn sentence(off: bool, draining: bool, left: u64) -> String {
    match (off, left) {
        (true, _) if draining => {
            "nobody asks it to drain any more, but the hub is not well and takes no agents: see `millrace-hub status`"
                .to_owned()
        }
        (true, left) => format!("the hub takes agents again; {left} sessions"),
        (false, 0) => "the hub drains, and no session is left".to_owned(),
        (false, left) => format!("the hub drains; {left} sessions left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_says_how_many_are_left() {
        assert_eq!(sentence(false, true, 3), "the hub drains; 3 sessions left");
        assert_eq!(sentence(false, true, 0), "the hub drains, and no session is left");
        assert!(sentence(true, false, 0).contains("again"));
        assert!(sentence(true, true, 0).contains("not well"));
        let route = json!({ "hubs": [
            { "hub": "01", "draining": false }, { "hub": "02", "draining": true }, { "hub": "03", "draining": false },
        ] });
        assert_eq!(others(&route, &json!("01")), 1, "neither this one nor one that drains takes them");
        assert_eq!(json!(DrainRequest { on: true }), json!({ "on": true }));
    }
}

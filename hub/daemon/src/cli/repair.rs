//! `millrace-hub repair`: compare this hub's copies with others now, and mend what differs.
//!
//! Promise: exit code 0 only when everybody with whom a comparison began has answered that it is equal, and no hub of the cluster was left
//! out.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use millrace_host::config::Span;
use millrace_host::terminal::{count, note, say, say_json, visible};
use millrace_host::{Exit, Failure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Here;
use super::backup::{clear, tell};
use super::look::{number, shown, text};
use crate::client::encoded;
use crate::http::{REPAIRS_MAX, RepairRequest};

/// How often to look whether it is over.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Compare what this hub has with the other hubs and with the devices connected here, and mend what differs.
///
/// This happens by itself whenever a connection is back, every `repair.interval`, and by `repair.schedule`. What differs is looked at
/// twice, twelve seconds apart, because records may be on their way.
///
/// Exit code 0 when everybody who was to be compared with was compared with and is equal; 75 when something differed and is being mended
/// (`millrace-hub repairs` follows it), when a comparison is not over or ended early, or when a hub of the cluster is not connected and
/// was left out; 69 when nothing was compared: whoever was named is not connected, or nobody is. With --dry-run 75 also when something
/// differs: it was only looked at, and nothing was done about it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub repair\n  millrace-hub repair --hub hub-b --dry-run\n  millrace-hub repair --device press-7 --json"
)]
pub(super) struct Repair {
    #[command(flatten)]
    here: Here,
    /// Only with this device, which must be connected here.
    #[arg(long, value_name = "ID|NAME")]
    device: Option<String>,
    /// Only with this hub.
    #[arg(long, value_name = "NAME", conflicts_with = "device")]
    hub: Option<String>,
    /// With all hubs and all devices that are connected here; the same as naming none.
    #[arg(long, conflicts_with_all = ["device", "hub"])]
    all: bool,
    /// Say what differs, and do nothing about it. Exit code 75 when something does.
    #[arg(long)]
    dry_run: bool,
    /// How long to wait for the end.
    #[arg(long, value_name = "TIME", default_value = "10m")]
    wait: Span,
}

impl Repair {
    pub(super) async fn perform(self) -> Result<Exit, Failure> {
        let which = self.here.which();
        let client = which.client()?;
        let asked =
            RepairRequest { device: self.device.clone(), hub: self.hub.clone(), dry_run: self.dry_run };
        let mut outcome = Outcome::of(&client.post("/v1/repair", &json!(asked)).await?, self.dry_run);
        let deadline = Instant::now() + self.wait.duration();
        while !outcome.over && Instant::now() < deadline {
            sleep(LOOK_AGAIN).await;
            outcome.take_in(&client.get(&outcome.question()).await?);
            tell(&format!("{} of {} comparisons to go", outcome.open.len(), outcome.partners));
        }
        clear();
        if which.json {
            say_json(&outcome.shown())?;
        } else {
            outcome.reports.iter().try_for_each(|report| say(&line(report)))?;
            outcome.notes().iter().for_each(|line| note(line));
        }
        if outcome.partners == 0 {
            return Err(outcome.nothing());
        }
        Ok(outcome.exit())
    }
}

/// What became of the comparisons that this command asked for.
#[derive(Debug, Default)]
struct Outcome {
    hub: String,
    /// Whether this command only looks. Somebody else's may mend meanwhile.
    dry_run: bool,
    /// With how many they began.
    partners: usize,
    /// Those of whom no report has come, by the words of their reports; with the beginning of a comparison that is not meant.
    open: BTreeMap<String, Open>,
    /// Hubs that are not connected.
    unreached: Vec<String>,
    /// The number of the newest report that was seen.
    after: u64,
    /// Nothing is awaited any more.
    over: bool,
    reports: Vec<Value>,
}

/// A comparison that is awaited.
#[derive(Debug)]
struct Open {
    name: String,
    /// When one began that somebody else had asked for: its report comes first.
    under_way: String,
}

impl Outcome {
    /// As a hub answers that was asked for comparisons.
    fn of(begun: &Value, dry_run: bool) -> Self {
        let list = |key: &str| begun.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let open = list("partners").into_iter().map(|one| {
            let under_way = text(&one, "under_way").to_owned();
            (text(&one, "partner").to_owned(), Open { name: partner(&one), under_way })
        });
        let open: BTreeMap<String, Open> = open.collect();
        Self {
            hub: text(begun, "hub").to_owned(),
            dry_run,
            partners: open.len(),
            over: open.is_empty(),
            open,
            unreached: list("unreached").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            after: number(begun, "after"),
            reports: Vec::new(),
        }
    }

    /// Where the reports stand that have come since.
    fn question(&self) -> String {
        let (hub, after) = (encoded(&self.hub), self.after);
        format!("/v1/repairs?hub={hub}&kind=compared&trigger=demand&after={after}&limit={REPAIRS_MAX}")
    }

    /// Takes in what has come. When the hub waits for no comparison any more, no further report will.
    fn take_in(&mut self, answer: &Value) {
        let reports = answer.get("reports").and_then(Value::as_array);
        for report in reports.into_iter().flatten().rev() {
            self.after = self.after.max(number(report, "number"));
            let of = text(report, "partner");
            let only_looked = report.get("dry_run").and_then(Value::as_bool).unwrap_or_default();
            let like_mine = only_looked == self.dry_run;
            if like_mine && self.open.get(of).is_some_and(|open| open.under_way != text(report, "at")) {
                self.open.remove(of);
                self.reports.push(report.clone());
            }
        }
        self.over = self.open.is_empty() || number(answer, "demanded") == 0;
    }

    fn equal(&self) -> bool {
        let equal = |report: &Value| report.get("equal") == Some(&Value::Bool(true));
        self.partners > 0 && self.open.is_empty() && self.reports.iter().all(equal)
    }

    fn exit(&self) -> Exit {
        match self.partners {
            0 => Exit::Unavailable,
            _ if self.equal() && self.unreached.is_empty() => Exit::Ok,
            _ => Exit::Temporary,
        }
    }

    fn unanswered(&self) -> Vec<&str> {
        self.open.values().map(|open| open.name.as_str()).collect()
    }

    fn shown(&self) -> Value {
        json!({
            "hub": self.hub, "over": self.over, "equal": self.equal(), "partners": self.partners,
            "unanswered": self.unanswered(), "unreached": self.unreached, "reports": self.reports,
        })
    }

    /// What stands beside the reports.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.open.is_empty() {
            let who = visible(&self.unanswered().join(", ")).into_owned();
            notes.push(if self.over {
                format!("{who}: not compared: the connection was lost, or nothing of it is here yet")
            } else {
                format!("{who}: the comparison is not over: `millrace-hub repairs` follows it")
            });
        }
        if !self.unreached.is_empty() && self.partners > 0 {
            let who = visible(&self.unreached.join(", ")).into_owned();
            notes.push(format!("{who}: not compared: not connected; `millrace-hub members` says why"));
        }
        notes
    }

    /// Nobody was there.
    fn nothing(&self) -> Failure {
        let unavailable = |message: String| Failure::new(Exit::Unavailable, message);
        if self.unreached.is_empty() {
            return unavailable(
                "nothing was compared: no other hub, and no device connected here".to_owned(),
            )
            .hint("connect a device, or let another hub join: `millrace-hub token create --hub`");
        }
        let who = self.unreached.join(", ");
        unavailable(format!("nothing was compared: {who} not connected, and no device connected here"))
            .hint("`millrace-hub members` says why")
    }
}

/// With whom, for people.
fn partner(report: &Value) -> String {
    let name = shown(report, "name");
    if name.is_empty() { shown(report, "partner") } else { format!("device {name}") }
}

/// One report in a sentence.
fn line(report: &Value) -> String {
    let partner = partner(report);
    if let Some(why) = report.get("ended").and_then(Value::as_str) {
        return format!("{partner}: ended early: {why}\n");
    }
    let (questions, bytes) = (number(report, "questions"), number(report, "bytes"));
    let plural = if questions == 1 { "" } else { "s" };
    let cost = format!("{} question{plural}, {} bytes", count(questions), count(bytes));
    let unread = match number(report, "unread") {
        0 => String::new(),
        1 => "1 journal could not be read now, and is compared again soon".to_owned(),
        several => format!("{} journals could not be read now, and are compared again soon", count(several)),
    };
    if number(report, "differing") == 0 && !unread.is_empty() {
        return format!("{partner}: {unread} ({cost})\n");
    }
    if number(report, "differing") == 0 {
        return format!("{partner}: equal ({cost})\n");
    }
    let journals = match number(report, "differing") {
        1 => "1 journal differs".to_owned(),
        several => format!("{} journals differ", count(several)),
    };
    let found = [
        ("pulled", "records are lacking here"),
        ("pushed", "records are lacking there"),
        ("sealed", "segments are to be sealed here"),
        ("contested", "segments or records are different at both"),
    ];
    let found = found.into_iter().filter(|(key, _)| number(report, key) > 0);
    let found: Vec<String> =
        found.map(|(key, what)| format!("{} {what}", count(number(report, key)))).collect();
    let found: Vec<String> = found.into_iter().chain((!unread.is_empty()).then_some(unread)).collect();
    let is_device = !shown(report, "name").is_empty();
    let done = if report.get("dry_run") == Some(&Value::Bool(true)) {
        "nothing was done"
    } else if is_device && number(report, "pulled") == 0 && number(report, "pushed") > 0 {
        "it fetches them when its road and its disk allow: `millrace-agent status` there"
    } else {
        "`millrace-hub repairs` follows the mending"
    };
    format!("{partner}: {journals}: {}; {done} ({cost})\n", found.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(partners: &[&str], unreached: &[&str]) -> Outcome {
        let partners = partners.iter().map(|partner| json!({ "partner": partner, "under_way": null }));
        let partners: Vec<Value> = partners.collect();
        Outcome::of(
            &json!({ "hub": "hub-a", "after": 7, "partners": partners, "unreached": unreached }),
            false,
        )
    }

    fn said(number: u64, partner: &str, equal: bool) -> Value {
        json!({ "number": number, "at": "t", "partner": partner, "equal": equal })
    }

    #[test]
    fn all_is_well_only_when_everybody_has_answered_that_it_is_equal() {
        let mut both = begun(&["hub-b", "device 07"], &[]);
        assert_eq!((both.exit(), both.over), (Exit::Temporary, false));
        both.take_in(&json!({ "demanded": 1, "reports": [said(9, "hub-c", false), said(8, "hub-b", true)] }));
        assert_eq!((both.exit(), both.over, both.after), (Exit::Temporary, false, 9));
        assert!(both.question().contains("after=9&"), "{}", both.question());
        both.take_in(&json!({ "demanded": 4, "reports": [said(10, "device 07", true)] }));
        assert_eq!((both.exit(), both.over, both.notes()), (Exit::Ok, true, vec![]));

        let mut differs = begun(&["hub-b"], &[]);
        differs.take_in(&json!({ "demanded": 0, "reports": [said(8, "hub-b", false)] }));
        assert_eq!((differs.exit(), differs.over, differs.equal()), (Exit::Temporary, true, false));

        let mut left = begun(&["hub-b", "device 07"], &[]);
        left.take_in(&json!({ "demanded": 0, "reports": [said(8, "hub-b", true)] }));
        assert_eq!((left.exit(), left.over), (Exit::Temporary, true));
        assert!(left.notes()[0].starts_with("device 07: not compared"), "{:?}", left.notes());
    }

    #[test]
    fn who_is_not_connected_is_named_and_comparing_with_nobody_is_no_success() {
        let mut away = begun(&["hub-b"], &["hub-c"]);
        away.take_in(&json!({ "demanded": 1, "reports": [said(8, "hub-b", true)] }));
        assert_eq!((away.exit(), away.equal(), away.over), (Exit::Temporary, true, true));
        assert!(away.notes()[0].starts_with("hub-c: not compared"), "{:?}", away.notes());
        assert_eq!(away.shown()["unreached"], json!(["hub-c"]));

        let alone = begun(&[], &[]);
        assert_eq!((alone.exit(), alone.over, alone.equal()), (Exit::Unavailable, true, false));
        assert!(alone.nothing().message.contains("no other hub"), "{}", alone.nothing());
        let cut_off = begun(&[], &["hub-b"]);
        assert!(cut_off.nothing().message.contains("hub-b"), "{}", cut_off.nothing());
    }

    #[test]
    fn the_report_of_a_comparison_that_was_under_way_before_is_not_the_answer() {
        let partners = json!([{ "partner": "hub-b", "under_way": "t" }]);
        let mut mine = Outcome::of(&json!({ "hub": "hub-a", "after": 7, "partners": partners }), false);
        mine.take_in(&json!({ "demanded": 1, "reports": [said(8, "hub-b", true)] }));
        assert!(!mine.over && mine.reports.is_empty());
        let later = json!({ "number": 9, "at": "u", "partner": "hub-b", "equal": true });
        mine.take_in(&json!({ "demanded": 0, "reports": [later] }));
        assert_eq!(mine.exit(), Exit::Ok);
    }

    #[test]
    fn the_report_of_one_that_mends_is_no_answer_for_one_that_only_looks() {
        let mut mine = Outcome::of(&json!({ "partners": [{ "partner": "hub-b" }] }), true);
        let with = |number: u64, dry_run: bool| json!({ "number": number, "at": "t", "partner": "hub-b", "equal": true, "dry_run": dry_run });
        mine.take_in(&json!({ "demanded": 1, "reports": [with(8, false)] }));
        assert!(!mine.over && mine.reports.is_empty());
        mine.take_in(&json!({ "demanded": 0, "reports": [with(9, true)] }));
        assert_eq!((mine.exit(), mine.reports.len()), (Exit::Ok, 1));
    }

    #[test]
    fn a_report_is_one_sentence() {
        let equal = json!({ "partner": "hub-b", "differing": 0, "questions": 1, "bytes": 90 });
        assert_eq!(line(&equal), "hub-b: equal (1 question, 90 bytes)\n");
        let other =
            json!({ "partner": "hub-b", "differing": 1, "pulled": 1_024, "questions": 4, "bytes": 300 });
        assert_eq!(
            line(&other),
            "hub-b: 1 journal differs: 1.02k records are lacking here; `millrace-hub repairs` follows the mending \
             (4 questions, 300 bytes)\n"
        );
        let dry = json!({
            "partner": "device 07", "name": "press-7", "differing": 2, "pulled": 1, "pushed": 9, "dry_run": true,
            "questions": 4, "bytes": 300,
        });
        assert_eq!(
            line(&dry),
            "device press-7: 2 journals differ: 1 records are lacking here, 9 records are lacking there; nothing was \
             done (4 questions, 300 bytes)\n"
        );
        let lost = json!({
            "partner": "device 07", "name": "press-7", "differing": 1, "pushed": 9, "questions": 2, "bytes": 90,
        });
        assert_eq!(
            line(&lost),
            "device press-7: 1 journal differs: 9 records are lacking there; it fetches them when its road and its \
             disk allow: `millrace-agent status` there (2 questions, 90 bytes)\n"
        );
        let unread = json!({ "partner": "hub-b", "unread": 2, "questions": 2, "bytes": 90 });
        assert_eq!(
            line(&unread),
            "hub-b: 2 journals could not be read now, and are compared again soon (2 questions, 90 bytes)\n"
        );
        let ended = json!({ "partner": "hub-b", "ended": "it lies" });
        assert_eq!(line(&ended), "hub-b: ended early: it lies\n");
    }
}

//! Attesting: asks the present hub whether it has the very same records, and makes a receipt of what it says.
//!
//! Promise: one exchange at a time, nothing kept between two; never writes. The receipt that is handed out has been checked as anybody
//! would check it. Absent: what is stated (the engine's `attesting`), what the hub compares.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use millrace_agent_engine::attesting::{Account, account, is_spoken_of};
use millrace_host::Clock;
use millrace_host::http::Problem;
use millrace_journal::{OpenError, Options, ReadError, Reader};
use millrace_link::receipt::{Receipt, ReceiptError, Signed, checked};
use millrace_model::receipt::Party;
use millrace_model::{DeviceId, JournalId, Seq};
use millrace_wire::attesting::Portion;
use millrace_wire::limits::{ATTEST_SPANS_BYTES_MAX, JOURNALS_MAX};
use millrace_wire::{Attest, Attested, Finding};
use serde_json::{Value, json};

use super::uplink::{Met, Unmet, Uplink};

/// Page cache of the connection that reads: the tails of three journals.
const CACHE_BYTES: u64 = 256 << 10;

/// Looks at a journal that changes while its rows are read.
const LOOKS_MAX: usize = 4;

/// Questions of one exchange: the second one begins where the hub's copy does.
const QUESTIONS_MAX: usize = 2;

/// Asks, and makes receipts.
pub struct Attesting {
    device: DeviceId,
    reader: Mutex<Reader>,
    uplink: Arc<Uplink>,
    clock: Clock,
    /// Held by the exchange that is under way.
    turn: tokio::sync::Mutex<()>,
    asked: AtomicU64,
}

/// What this device can state at one moment.
#[derive(Default)]
struct View {
    accounts: Vec<(JournalId, Account)>,
    left_out: u64,
}

impl Attesting {
    /// Over the store at `path`, which must be there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(
        path: &Path,
        options: &Options,
        device: DeviceId,
        uplink: Arc<Uplink>,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let options = Options { page_cache_bytes: CACHE_BYTES, ..options.clone() };
        let reader = Mutex::new(Reader::open(path, &options)?);
        Ok(Self {
            device,
            reader,
            uplink,
            clock,
            turn: tokio::sync::Mutex::default(),
            asked: AtomicU64::new(1),
        })
    }

    /// One exchange with the present hub: what was found, and a receipt for what is equal.
    ///
    /// # Errors
    /// When there is no hub to ask, or no answer that holds.
    pub async fn attest(self: Arc<Self>) -> Result<Value, Problem> {
        let Ok(_turn) = self.turn.try_lock() else {
            return Err(later("another comparison with the hub is under way"));
        };
        let mut floors = BTreeMap::new();
        let mut questions = 0;
        loop {
            questions += 1;
            let view = self.view(floors.clone()).await?;
            let attest = Attest {
                number: self.asked.fetch_add(1, Ordering::Relaxed),
                at: self.clock.wall(),
                stated: view.accounts.iter().map(|(_, account)| account.stated.clone()).collect(),
                left_out: view.left_out,
            };
            let met = self.uplink.attest(attest.clone()).await.map_err(unmet)?;
            if !met.answer.refused.is_empty() {
                return Err(later(format!("the hub {} does not say: {}", met.name, met.answer.refused)));
            }
            if met.answer.findings.len() != attest.stated.len() {
                return Err(broken(&"its answer is about something else"));
            }
            let begin_later =
                view.accounts.iter().zip(&met.answer.findings).filter_map(|((journal, _), found)| {
                    if let Finding::Floor(floor) = found { Some((*journal, *floor)) } else { None }
                });
            let later: BTreeMap<JournalId, Seq> = begin_later.collect();
            if later.is_empty() || questions >= QUESTIONS_MAX {
                let receipt = self.receipt(&attest, &met)?;
                return Ok(shown(&view, &met, receipt));
            }
            floors.extend(later);
        }
    }

    async fn view(self: &Arc<Self>, floors: BTreeMap<JournalId, Seq>) -> Result<View, Problem> {
        let attesting = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let reader = attesting.reader.lock().unwrap_or_else(PoisonError::into_inner);
            view(&reader, &floors)
        });
        let read = read.await.map_err(|error| Problem::internal(&error))?;
        read.map_err(|error| {
            let hint = "`millrace-agent verify` reads everything that is stored here";
            let message = format!("this device's journal cannot be read: {error}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", message, hint)
        })
    }

    /// The receipt for what the hub found equal, signed by both and checked; `None` when nothing is.
    fn receipt(&self, attest: &Attest, met: &Met) -> Result<Option<Receipt>, Problem> {
        let Attested { at, findings, signature, certificate, .. } = &met.answer;
        let Some(statement) = attest.statement(self.device, (met.hub, *at), findings) else {
            return Ok(None);
        };
        let identity = self.uplink.identity();
        let theirs = Signed::from_parts(certificate, signature);
        // Nothing is signed here before the hub's own signature holds over what this device made of its answer.
        checked(&statement, Party::Hub(met.hub), &theirs, identity.ca_pem())
            .map_err(|error| broken(&error))?;
        let mine = identity.sign(&statement).map_err(|error| Problem::internal(&error))?;
        let receipt = Receipt::new(statement, [mine, theirs]);
        match receipt.check(identity.ca_pem()) {
            Ok(_) => Ok(Some(receipt)),
            Err(error @ ReceiptError::Expired { .. }) => {
                let hint = "set this device's clock, or see its certificate in `millrace-agent status`";
                Err(Problem::new(StatusCode::CONFLICT, "clock", error.to_string(), hint))
            }
            Err(error) => Err(Problem::internal(&error)),
        }
    }
}

fn view(reader: &Reader, floors: &BTreeMap<JournalId, Seq>) -> Result<View, ReadError> {
    let mut view = View::default();
    let mut spans_bytes = 0;
    let states = reader.journals()?;
    for state in states.iter().filter(|state| state.head > 0) {
        let found = if is_spoken_of(state) && view.accounts.len() < JOURNALS_MAX {
            stated(reader, &state.journal, floors.get(&state.journal).copied().unwrap_or_default())?
        } else {
            None
        };
        match found {
            Some(account) if spans_bytes + account.stated.present.len() <= ATTEST_SPANS_BYTES_MAX => {
                spans_bytes += account.stated.present.len();
                view.accounts.push((state.journal, account));
            }
            _ => view.left_out += 1,
        }
    }
    Ok(view)
}

fn stated(reader: &Reader, journal: &JournalId, floor: Seq) -> Result<Option<Account>, ReadError> {
    let now = || Ok(reader.journals()?.into_iter().find(|state| state.journal == *journal));
    for _ in 0..LOOKS_MAX {
        let Some(state) = now()? else { return Ok(None) };
        let found = account(&state, floor, |about| reader.tell(journal, about), now)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What was found, for people and scripts.
fn shown(view: &View, met: &Met, receipt: Option<Receipt>) -> Value {
    let journals = view.accounts.iter().zip(&met.answer.findings).map(|((journal, account), finding)| {
        let mut row = json!({
            "lane": journal.lane, "incarnation": journal.incarnation, "floor": account.stated.floor,
            "head": account.head, "stated": account.stated.head, "waiting": account.waiting.count(),
        });
        let found = match finding {
            Finding::Equal(count) => json!({ "verdict": "equal", "count": count }),
            Finding::Floor(floor) => json!({ "verdict": "begins-later", "hub_floor": floor }),
            Finding::Differs { hub_lacks, device_lacks } => json!({
                "verdict": "differs", "hub_lacks": portion(hub_lacks), "device_lacks": portion(device_lacks),
            }),
            Finding::Unknown => json!({ "verdict": "unknown" }),
            Finding::Unreadable => json!({ "verdict": "unreadable" }),
        };
        if let (Value::Object(row), Value::Object(found)) = (&mut row, found) {
            row.extend(found);
        }
        row
    });
    let receipt = receipt.and_then(|receipt| receipt.to_json().ok());
    json!({
        "hub": met.name,
        "hub_id": met.hub,
        "journals": journals.collect::<Vec<_>>(),
        "not_compared": view.left_out,
        "receipt": receipt.and_then(|text| serde_json::from_str::<Value>(&text).ok()),
    })
}

fn portion(portion: &Portion) -> Value {
    let ranges = portion.ranges.iter().map(|range| json!([range.first(), range.last()]));
    json!({ "count": portion.count, "ranges": ranges.collect::<Vec<_>>() })
}

fn later(why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, "later", why, "try again in a few seconds")
}

fn broken(why: &dyn std::fmt::Display) -> Problem {
    let message = format!("the hub's answer does not hold, and nothing was signed: {why}");
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "broken",
        message,
        "look whose hub that is: `millrace-agent routes`",
    )
}

fn unmet(why: Unmet) -> Problem {
    match why {
        Unmet::Alone => Problem::unavailable(
            "this device has no session with a hub",
            "`millrace-agent status` says why; ask again when it has one",
        ),
        Unmet::Incomplete(name) => later(format!(
            "the hub {name} does not keep this device's readings, or is not done filling its own store"
        )),
        Unmet::Silent => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "silent",
            "the hub did not answer",
            "try again; see `millrace-agent status` and the hub's version",
        ),
    }
}

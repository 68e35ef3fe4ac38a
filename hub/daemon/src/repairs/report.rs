//! Reports: what people are told of one repair or comparison, as it is kept, shown and sent to other hubs.
//!
//! Promise: [`Numbered::check`] bounds what another hub may have kept here. Fields are only added.
//! Absent: where they are kept.

use millrace_host::times::{parse, rfc3339};
use millrace_hub_engine::{Findings, Mend, Partner, RoundReport};
use millrace_model::{DeviceId, JournalId, Wall};
use serde::{Deserialize, Serialize};

/// Bytes of one report of another hub, as JSON: one that names all of 64 sources takes 1 KiB. A longer one is refused.
pub const REPORT_BYTES_MAX: usize = 2 << 10;

/// The largest number: every reader of JSON reads it exactly (RFC 8259, section 6).
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Something that was mended, or a comparison that found something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Report {
    /// A journal had lost records and has them again, or never will.
    Mended(Mended),
    /// This hub and another holder compared what they have.
    Compared(Compared),
}

/// A report, and which of its hub's it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Numbered {
    /// Greater than those of all earlier reports of the same hub, and never used again; 0: its hub numbers none.
    #[serde(default)]
    pub number: u64,
    /// It.
    #[serde(flatten)]
    pub report: Report,
}

/// One journal that had lost records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mended {
    /// When the loss was noticed.
    pub at: String,
    /// Which journal.
    pub journal: JournalId,
    /// Records that were lost.
    pub lost: u64,
    /// Records that came again.
    pub fetched: u64,
    /// Records that nobody has any more: they are declared as lost.
    #[serde(default)]
    pub declared: u64,
    /// Bytes of the runs that brought them.
    pub bytes: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Who brought them: hubs by their numbers, or `the device`.
    pub sources: Vec<String>,
}

/// One round of comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// When it began.
    pub at: String,
    /// With whom: see [`partner`].
    pub partner: String,
    /// Why: `demand`, `recheck`, `reconnect` or `interval`.
    pub trigger: String,
    /// Whether nothing was to be done.
    pub dry_run: bool,
    /// What it found.
    #[serde(flatten)]
    pub found: Findings,
    /// How long it took.
    pub took_ms: u64,
    /// Whether everything is equal.
    pub equal: bool,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<String>,
}

/// With whom a comparison is: a hub by its number, a device by its id.
#[must_use]
pub fn partner(partner: Partner, device: Option<DeviceId>) -> String {
    match (partner, device) {
        (Partner::Hub(node), _) => format!("hub {node}"),
        (Partner::Agent(_), Some(device)) => format!("device {device}"),
        (Partner::Agent(link), None) => format!("connection {link}"),
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl From<&Mend> for Mended {
    fn from(mend: &Mend) -> Self {
        Self {
            at: rfc3339(mend.at),
            journal: mend.journal,
            lost: mend.lost,
            fetched: mend.fetched,
            declared: mend.declared,
            bytes: mend.bytes,
            took_ms: millis(mend.took),
            sources: mend.sources.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&RoundReport> for Compared {
    fn from(round: &RoundReport) -> Self {
        Self {
            at: rfc3339(round.at),
            partner: partner(round.partner, round.device),
            trigger: round.trigger.name().to_owned(),
            dry_run: round.dry_run,
            found: round.findings,
            took_ms: millis(round.took),
            equal: round.findings.differing == 0 && round.findings.unread == 0 && round.ended.is_none(),
            ended: round.ended.clone(),
        }
    }
}

impl Report {
    /// When it began.
    #[must_use]
    pub fn at(&self) -> &str {
        match self {
            Self::Mended(mended) => &mended.at,
            Self::Compared(compared) => &compared.at,
        }
    }

    /// `mended` or `compared`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Mended(_) => "mended",
            Self::Compared(_) => "compared",
        }
    }

    /// Why it was compared.
    #[must_use]
    pub fn trigger(&self) -> Option<&str> {
        match self {
            Self::Mended(_) => None,
            Self::Compared(compared) => Some(&compared.trigger),
        }
    }
}

impl Numbered {
    /// Whether another hub may have it kept here.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let bytes = serde_json::to_vec(self).map_err(|error| error.to_string())?.len();
        if bytes > REPORT_BYTES_MAX {
            return Err(format!("a report of {bytes} bytes: at most {REPORT_BYTES_MAX} are kept"));
        }
        if !(1..=NUMBER_MAX).contains(&self.number) {
            return Err(format!("{} is no number of a report", self.number));
        }
        // Reports are shown in the order of their times.
        let at = self.report.at();
        if parse(at, Wall(0)).map(rfc3339).as_deref() != Ok(at) {
            return Err("a report without a time".to_owned());
        }
        Ok(())
    }
}

//! Which reports a request for repairs is about.
//!
//! Promise: pure; what a request asks for is looked for in everything that is known before its limit counts.

use millrace_host::http::Problem;

use crate::repairs::report::NUMBER_MAX;
use crate::repairs::{KEPT_MAX, Numbered};

/// Reports of an answer when nothing else is asked for.
const LIMIT_DEFAULT: usize = 200;

/// Reports of an answer at most: all that one hub keeps of its own.
pub(crate) const LIMIT_MAX: usize = KEPT_MAX;

const KNOWN: &str = "hub, kind, trigger, after, limit";

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Filter {
    /// Only of the hub with this name.
    pub(super) hub: Option<String>,
    kind: Option<String>,
    trigger: Option<String>,
    /// Only those with a greater number.
    after: u64,
    /// So many, the newest.
    pub(super) limit: usize,
}

impl Filter {
    /// What `pairs` ask for.
    pub(super) fn read(pairs: &[(String, String)]) -> Result<Self, Problem> {
        let mut filter = Self { hub: None, kind: None, trigger: None, after: 0, limit: LIMIT_DEFAULT };
        for (key, value) in pairs {
            match key.as_str() {
                "hub" => filter.hub = Some(value.clone()),
                "kind" => filter.kind = Some(one_of("kind", value, &["mended", "compared"])?),
                "trigger" => {
                    let known = ["demand", "recheck", "reconnect", "interval"];
                    filter.trigger = Some(one_of("trigger", value, &known)?);
                }
                "after" => filter.after = number("after", value, 0, NUMBER_MAX)?,
                "limit" => {
                    let most = u64::try_from(LIMIT_MAX).unwrap_or(u64::MAX);
                    filter.limit = usize::try_from(number("limit", value, 1, most)?).unwrap_or(LIMIT_MAX);
                }
                unknown => {
                    let message = format!("there is no parameter `{unknown}`");
                    return Err(Problem::bad_request(message, format!("known are {KNOWN}")));
                }
            }
        }
        Ok(filter)
    }

    /// Whether it is about this report of the hub with this name.
    pub(super) fn takes(&self, hub: &str, of: &Numbered) -> bool {
        self.hub.as_ref().is_none_or(|name| name == hub)
            && self.kind.as_ref().is_none_or(|kind| kind == of.report.kind())
            && self.trigger.as_ref().is_none_or(|trigger| of.report.trigger() == Some(trigger))
            && (self.after == 0 || of.number > self.after)
    }
}

fn one_of(key: &str, value: &str, known: &[&str]) -> Result<String, Problem> {
    if known.contains(&value) {
        return Ok(value.to_owned());
    }
    Err(Problem::bad_request(format!("`{value}` is no {key}"), format!("known are {}", known.join(", "))))
}

fn number(key: &str, value: &str, least: u64, most: u64) -> Result<u64, Problem> {
    let fits = value.parse().ok().filter(|number| (least..=most).contains(number));
    fits.ok_or_else(|| {
        let message = format!("`{value}` is no number for {key}");
        Problem::bad_request(message, format!("write {least} to {most}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repairs::tests::{compared, mended};

    fn read(words: &str) -> Result<Filter, Problem> {
        let pairs = words.split_whitespace().filter_map(|word| word.split_once('='));
        Filter::read(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn a_filter_takes_what_it_names_and_nothing_else() {
        let (mended, demanded) = (mended(7), compared(8, "demand"));
        for (words, takes) in [
            ("", [true, true]),
            ("hub=hub-1", [true, true]),
            ("hub=hub-2", [false, false]),
            ("kind=mended", [true, false]),
            ("trigger=demand", [false, true]),
            ("trigger=recheck", [false, false]),
            ("after=7 limit=1", [false, true]),
            ("after=8", [false, false]),
        ] {
            let filter = read(words).unwrap();
            assert_eq!([&mended, &demanded].map(|one| filter.takes("hub-1", one)), takes, "{words}");
        }
    }

    #[test]
    fn what_is_not_understood_is_answered_with_the_fix() {
        for words in [
            "hubs=a",
            "kind=broken",
            "trigger=fear",
            "after=-1",
            "after=9007199254740992",
            "limit=0",
            "limit=1001",
        ] {
            let body: serde_json::Value = serde_json::from_str(&read(words).unwrap_err().body()).unwrap();
            assert!(body["error"]["hint"].as_str().is_some_and(|hint| hint.contains(' ')), "{words}: {body}");
        }
    }
}

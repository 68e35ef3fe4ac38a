//! A receipt as people see it: who, when, what, and where it is kept; the same at an agent and at a hub.
//!
//! Absent: whether it holds (`millrace-link` says).

use std::io;
use std::path::Path;
use std::time::Duration;

use millrace_model::receipt::{Holder, Party, Statement, Subject};
use serde_json::json;

use super::{Align, Table, duration, note, say, say_json, visible};
use crate::times::rfc3339;
use crate::{Exit, Failure, files};

/// Two clocks further apart than an exchange can take: worth a word.
const APART: Duration = Duration::from_secs(60);

/// What a statement says. `names` are its holders' names, as their certificates have them.
#[must_use]
pub fn receipt_page(statement: &Statement, [name, other_name]: [&str; 2]) -> String {
    let [one, other] = statement.holders;
    let (first, second) = (said(one, name), said(other, other_name));
    let mut page = format!("{first}\n{second}\nhave the very same records:\n");
    match &statement.about {
        Subject::Journals(journals) => {
            let mut table = Table::new(&[
                ("lane", Align::Left),
                ("incarnation", Align::Left),
                ("from", Align::Right),
                ("to", Align::Right),
                ("records", Align::Right),
                ("digest", Align::Left),
                ("rows", Align::Left),
            ]);
            for standing in journals {
                table.row([
                    standing.journal.lane.to_string(),
                    standing.journal.incarnation.to_string(),
                    standing.floor.to_string(),
                    standing.head.to_string(),
                    standing.count.to_string(),
                    standing.root.map_or_else(|| "–".to_owned(), |root| root.to_string()),
                    format!("{:016x}", standing.tail),
                ]);
            }
            page += &table.to_string();
        }
        Subject::Partitions(shared) => {
            let partitions: u32 = shared.partitions.iter().map(|byte| byte.count_ones()).sum();
            let [mine, theirs] = shared.counts;
            page += &format!(
                "{partitions} partitions, digest {}\n{} journals and {} records at the first, {} and {} at the second \
                 (each above its own floors)\n",
                shared.root, mine.journals, mine.records, theirs.journals, theirs.records
            );
        }
    }
    if statement.left_out > 0 {
        let what = match statement.about {
            Subject::Journals(_) => "journals of this device",
            Subject::Partitions(_) => "partitions that both keep",
        };
        page += &format!("it says nothing of {} other {what}\n", statement.left_out);
    }
    let apart = Duration::from_micros(one.at_us.0.abs_diff(other.at_us.0));
    if apart > APART {
        page += &format!("their clocks are {} apart: at least one of them is wrong\n", duration(apart));
    }
    page
}

/// Says of a receipt that was checked that it holds: its page, or JSON. `names` and `serials` are those of its holders' certificates.
///
/// # Errors
/// When standard output takes nothing.
pub fn say_receipt_holds(
    statement: &Statement,
    names: [&str; 2],
    serials: [&str; 2],
    json: bool,
) -> Result<(), Failure> {
    if json {
        return say_json(
            &json!({ "holds": true, "statement": statement, "names": names, "serials": serials }),
        );
    }
    say(&format!("{}the receipt holds\n", receipt_page(statement, names)))
}

/// What a check of files ends with that did not find that a receipt holds: [`Exit::Config`] when what it was to be checked with cannot be
/// used (`InvalidInput`), [`Exit::Data`] when it does not hold (`InvalidData`), otherwise as the disk failed.
#[must_use]
pub fn receipt_failure(error: &io::Error, json: bool) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidInput => Failure::new(Exit::Config, error.to_string())
            .hint("name it with --ca, or the data directory of a machine of that cluster with --data"),
        io::ErrorKind::InvalidData => {
            if json {
                // The answer is the same on standard error; when nobody reads this one, nothing is lost.
                let _ = say_json(&json!({ "holds": false, "why": error.to_string() }));
            }
            Failure::new(Exit::Data, format!("the receipt does not hold: {error}"))
        }
        _ => Failure::new(Exit::from_io(error), error.to_string()),
    }
}

/// Puts the text of a receipt into a file.
///
/// # Errors
/// When the file cannot be written.
pub fn keep_receipt(path: &Path, text: &str) -> Result<(), Failure> {
    files::replace(path, text.as_bytes())
        .map_err(|error| Failure::io(&format!("{} cannot be written", path.display()), &error))
}

/// Says beside the answer where the receipt is, or why there is none, or how `program` can keep and check it.
pub fn note_receipt(output: Option<&Path>, is_there: bool, program: &str) {
    match (output, is_there) {
        (Some(path), true) => note(&format!("the receipt is in {}", path.display())),
        (Some(_), false) => note("nothing is equal, so there is no receipt"),
        (None, true) => {
            note(&format!("keep the receipt with -o FILE; `{program} verify-receipt FILE` checks it"));
        }
        (None, false) => {}
    }
}

fn said(Holder { who, at_us }: Holder, name: &str) -> String {
    let kind = match who {
        Party::Device(_) => "device",
        Party::Hub(_) => "hub",
    };
    let id = match who {
        Party::Device(id) => id.to_string(),
        Party::Hub(id) => id.to_string(),
    };
    format!("{kind} {} ({id}), at {} by its clock", visible(name), rfc3339(at_us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_model::receipt::{Count, Shared, Standing, Verdict};
    use millrace_model::{DeviceId, HubId, Incarnation, JournalId, Lane, NodeHash, Wall};

    #[test]
    fn whether_the_receipt_the_ca_or_the_disk_is_at_fault_is_told_by_the_exit_code() {
        use io::ErrorKind::{InvalidData, InvalidInput, IsADirectory, NotFound, PermissionDenied};
        for (kind, exit) in [
            (InvalidData, Exit::Data),
            (InvalidInput, Exit::Config),
            (NotFound, Exit::Io),
            (IsADirectory, Exit::Io),
            (PermissionDenied, Exit::Permission),
        ] {
            let failure = receipt_failure(&io::Error::new(kind, "why"), false);
            assert_eq!((failure.exit, failure.hint.contains("--ca")), (exit, exit == Exit::Config));
            assert!(failure.message.ends_with("why"), "{failure}");
        }
    }

    #[test]
    fn a_receipt_says_who_when_and_what_and_obeys_no_name() {
        let device = DeviceId::from_bytes([7; 16]);
        let journal = JournalId { device, incarnation: Incarnation::new(0xabc), lane: Lane::Normal };
        let standing = Standing { journal, floor: 3, head: 9, count: 7, root: None, tail: 0xff };
        let hub = |byte, at| Holder { who: Party::Hub(HubId::from_bytes([byte; 16])), at_us: Wall(at) };
        let statement = Statement {
            verdict: Verdict::Equal,
            holders: [Holder { who: Party::Device(device), at_us: Wall(0) }, hub(1, 90_000_000)],
            about: Subject::Journals(vec![standing]),
            left_out: 2,
        };
        let page = receipt_page(&statement, ["press\u{1b}[2J", "hub-1"]);
        assert!(!page.contains('\u{1b}'), "{page}");
        for part in [
            "device press\\u{1b}[2J (0707",
            "hub hub-1 (0101",
            "1970-01-01T00:01:30",
            "normal",
            "00000000000000ff",
            "nothing of 2 other journals",
            "1m 30s apart",
        ] {
            assert!(page.contains(part), "`{part}` is not in\n{page}");
        }
        let shared = Shared {
            partitions: [1; 32],
            root: NodeHash([5; 16]),
            counts: [Count { journals: 2, records: 1_000 }, Count { journals: 2, records: 900 }],
        };
        let statement = Statement {
            holders: [hub(1, 0), hub(2, 0)],
            about: Subject::Partitions(shared),
            left_out: 0,
            ..statement
        };
        let page = receipt_page(&statement, ["hub-1", "hub-2"]);
        assert!(page.contains("32 partitions") && page.contains("2 journals and 1000 records"), "{page}");
        assert!(!page.contains("apart") && !page.contains("nothing of"), "{page}");
    }
}

//! Receiving: what a peer sent is verified, compared with what is here, and stored when it adds something.
//!
//! Promise: of a run that contradicts anything here, nothing is stored and nothing here is changed. A whole segment is
//! stored byte for byte as it came. What an author gets back of its own comes the same way.
//! Absent: whether the peer may send this at all (the hub's reception).

use millrace_model::hash::RecordChecker;
use millrace_model::limits::{RANGES_MAX, SEGMENT_RECORDS_MAX};
use millrace_model::notice::Gap;
use millrace_model::store::Outcome;
use millrace_model::{
    JournalId, Kind, RangeSet, Record, RecordCheck, Run, SegmentHash, SegmentName, Seq, SeqRange, block,
    canon,
};

use crate::append::SEQ_MAX;
use crate::codec;
use crate::error::Fault;
use crate::row::JournalRow;
use crate::seal::{misfit, store_named, well_formed};
use crate::segment::{self, NewSegment};
use crate::work::Work;
use crate::{declared, gaps, load, quarantine, tail};

/// A run that says what its name says.
struct Checked {
    range: SeqRange,
    records: Vec<Record>,
    checks: Vec<RecordCheck>,
    /// The segment that it is all of.
    whole: Option<SegmentName>,
    /// The segment that it is a part of.
    part_of: Option<(SegmentName, SeqRange)>,
}

/// What comparing found.
#[derive(Default)]
struct Comparison {
    stored: RangeSet,
    duplicate: RangeSet,
    conflict: RangeSet,
    refused: Option<String>,
    gaps: Vec<Gap>,
    /// Of what was stored, how many were never counted here.
    counted: u64,
    /// Of what was stored, how many the author had counted as evicted.
    recovered: u64,
}

pub(crate) fn receive(work: &mut Work<'_>, run: &Run) -> Result<Outcome, Fault> {
    let authored = work.row(&run.journal).is_some_and(|row| row.own)
        || work.writing.is_some_and(|writing| writing.device == run.journal.device);
    if authored {
        return Ok(refused(run.journal, "this store is the author of that journal".into()));
    }
    let found = take(work, run)?;
    if !found.gaps.is_empty() {
        work.change(&run.journal, |_, row| {
            declared::count_unnumbered(row, &found.gaps);
            Ok(())
        })?;
        declared::note(work, run.journal.device, &found.gaps)?;
    }
    Ok(received(run.journal, found))
}

/// Verifies a run, compares it with what is here, and stores what of it is news, as at a replica.
fn take(work: &mut Work<'_>, run: &Run) -> Result<Comparison, Fault> {
    match known_segment(work, run)? {
        Some(range) => Ok(Comparison { duplicate: RangeSet::from(range), ..Comparison::default() }),
        None => match check(work, run) {
            Err(why) => Ok(Comparison { refused: Some(why), ..Comparison::default() }),
            Ok(checked) => admit(work, run, &checked),
        },
    }
}

fn received(journal: JournalId, found: Comparison) -> Outcome {
    let Comparison { stored, duplicate, conflict, refused, gaps, .. } = found;
    Outcome::Received { journal, stored, duplicate, conflict, refused, gaps }
}

fn refused(journal: JournalId, why: String) -> Outcome {
    received(journal, Comparison { refused: Some(why), ..Comparison::default() })
}

/// The author gets back what a hub kept: of an older life of its own, which is here as at a replica, or what damage took of the present one.
/// It takes nothing else: what it declares as lost was heard by the hubs long ago.
pub(crate) fn restore(work: &mut Work<'_>, run: &Run) -> Result<Outcome, Fault> {
    let JournalId { device, incarnation, .. } = run.journal;
    let head = work.row(&run.journal).map_or(0, |row| row.head);
    let why = match (work.writing, work.row(&run.journal)) {
        (None, _) => "a store without an author restores nothing",
        (Some(writing), _) if writing.device != device => "that journal is another device's",
        (Some(writing), _) if writing.incarnation == incarnation => {
            if run.range().is_some_and(|range| range.last() <= head) {
                return Ok(restored(run.journal, take(work, run)?));
            }
            "nothing was written here under these numbers yet"
        }
        (_, Some(row)) if row.own => {
            "that journal was written here, and is dealt with as what was rolled back"
        }
        _ => {
            let found = take(work, run)?;
            work.change(&run.journal, |_, row| {
                row.retired = true;
                Ok(())
            })?;
            return Ok(restored(run.journal, found));
        }
    };
    Ok(restored(run.journal, Comparison { refused: Some(why.into()), ..Comparison::default() }))
}

fn restored(journal: JournalId, found: Comparison) -> Outcome {
    let Comparison { stored, duplicate, conflict, refused, counted, recovered, .. } = found;
    Outcome::Restored { journal, stored, counted, recovered, duplicate, conflict, refused }
}

/// The range of a whole segment that is here under the very same name: nothing needs to be expanded to know it.
fn known_segment(work: &Work<'_>, run: &Run) -> Result<Option<SeqRange>, Fault> {
    let (Some(row), Some(name), true) = (work.row(&run.journal), run.segment, run.is_whole_segment()) else {
        return Ok(None);
    };
    let Some(range) = well_formed(&name).filter(|range| row.present.covers(*range)) else {
        return Ok(None);
    };
    Ok(segment::at(work.conn, row, name.first)?.filter(|found| found.name == name).map(|_| range))
}

fn check(work: &Work<'_>, run: &Run) -> Result<Checked, String> {
    let range = run.range().filter(|range| range.first() > 0 && range.last() <= SEQ_MAX);
    let range = range.ok_or("the run has no records, or impossible numbers")?;
    if run.count as usize > SEGMENT_RECORDS_MAX {
        return Err(format!("{} records are more than a segment may have", run.count));
    }
    let name = match run.segment {
        None => None,
        Some(name) => {
            let named = well_formed(&name).ok_or("the name of the segment is malformed")?;
            if named.intersection(range) != Some(range) {
                return Err(format!("the records {range} are not part of the segment {named}"));
            }
            Some((name, named))
        }
    };
    let block = codec::expand(run.encoding, &run.body).map_err(|error| error.to_string())?;
    let whole = name.filter(|(_, named)| *named == range).map(|(name, _)| name);
    if let Some(name) = whole
        && SegmentHash::of(&run.journal, name.ordinal, name.first, &block) != name.hash
    {
        return Err("the records do not hash to the name of their segment".into());
    }
    let records = block::decode(&block).map_err(|error| error.to_string())?;
    if records.len() as u64 != range.count() {
        return Err(format!("the body holds {} records, the run says {}", records.len(), run.count));
    }
    let part_of = if whole.is_some() { None } else { name };
    Ok(Checked { range, checks: checks_needed(work, run, range, &records), records, whole, part_of })
}

/// The checks of all records when something is here to compare them with or they become rows; else only of the last.
fn checks_needed(work: &Work<'_>, run: &Run, range: SeqRange, records: &[Record]) -> Vec<RecordCheck> {
    let checker = RecordChecker::new(&run.journal);
    let fresh = work
        .row(&run.journal)
        .is_none_or(|row| row.present.within(range).is_empty() && row.floor <= range.first());
    let skipped = if fresh && run.is_whole_segment() { records.len().saturating_sub(1) } else { 0 };
    let mut bytes = Vec::new();
    let rest = (range.first()..).zip(records).skip(skipped).map(|(seq, record)| {
        bytes.clear();
        canon::encode_into(record, &mut bytes);
        checker.check(seq, &bytes)
    });
    std::iter::repeat_n(RecordCheck(0), skipped).chain(rest).collect()
}

fn admit(work: &mut Work<'_>, run: &Run, checked: &Checked) -> Result<Comparison, Fault> {
    if !work.create(run.journal, false)? {
        let refused = Some("its device has too many journals here".to_owned());
        return Ok(Comparison { refused, ..Comparison::default() });
    }
    let found = work.change(&run.journal, |work, row| {
        let mut found = compare(work, row, checked)?;
        if found.conflict.is_empty() {
            found.refused = store(work, row, run, checked, &found.stored)?;
        }
        if found.refused.is_some() || !found.conflict.is_empty() {
            found.stored = RangeSet::new();
            return Ok(found);
        }
        // Everything that ever came is acked: what damage took was told before.
        let news = found.stored.difference(&row.acked);
        found.gaps = (checked.range.first()..)
            .zip(&checked.records)
            .filter(|(seq, record)| record.kind == Kind::GAP && news.contains(*seq))
            .filter_map(|(_, record)| Gap::from_record(record))
            .collect();
        (found.counted, found.recovered) = count(row, checked, &found.stored);
        if found.recovered > 0 {
            gaps::retract(work.conn, row, &news)?;
        }
        if found.counted < found.stored.count() {
            quarantine::settle(work.conn, row, &found.stored)?;
        }
        Ok(found)
    })?;
    Ok(found.unwrap_or_default())
}

/// Sorts the records of a run into news, duplicates and contradictions.
fn compare(work: &Work<'_>, row: &JournalRow, checked: &Checked) -> Result<Comparison, Fault> {
    let mut found = Comparison::default();
    let mut kept = checked.range;
    if let Some(below) = SeqRange::new(1, row.floor - 1).and_then(|below| below.intersection(checked.range)) {
        found.duplicate.insert(below);
        match SeqRange::new(below.last() + 1, checked.range.last()) {
            Some(rest) => kept = rest,
            None => return Ok(found),
        }
    }
    found.stored = RangeSet::from(kept).difference(&row.present);
    // Of its own last record an author knows the check, also when the record is gone.
    if row.own && found.stored.contains(row.head) && sent_check(checked, row.head) != Some(row.head_check) {
        found.conflict.insert(SeqRange::only(row.head));
    }
    for here in row.present.within(kept).iter() {
        for (seq, check) in checks_here(work, row, here)? {
            let same = sent_check(checked, seq) == Some(check);
            let set = if same { &mut found.duplicate } else { &mut found.conflict };
            set.insert(SeqRange::only(seq));
        }
    }
    Ok(found)
}

/// The check of a record of the run; of some runs only the last is known.
fn sent_check(checked: &Checked, seq: Seq) -> Option<RecordCheck> {
    let at = usize::try_from(seq.checked_sub(checked.range.first())?).ok()?;
    checked.checks.get(at).copied()
}

/// The checks of the records here in `range`, from rows and segments, verified.
pub(crate) fn checks_here(
    work: &Work<'_>,
    row: &JournalRow,
    range: SeqRange,
) -> Result<Vec<(Seq, RecordCheck)>, Fault> {
    crate::load::checks(work.conn, row, range, SEGMENT_RECORDS_MAX)
}

/// Stores what is news; `Some` says why the whole run is refused, and then nothing was stored.
fn store(
    work: &mut Work<'_>,
    row: &mut JournalRow,
    run: &Run,
    checked: &Checked,
    news: &RangeSet,
) -> Result<Option<String>, Fault> {
    let mut after = row.present.clone();
    after.extend(news);
    if after.range_count() > RANGES_MAX {
        return Ok(Some(format!("the journal would have more than {RANGES_MAX} holes")));
    }
    if let Some(name) = checked.whole
        && checked.range.first() >= row.floor
    {
        if let Some(why) = misfit(work, row, &name, checked.range)? {
            return Ok(Some(why));
        }
        let walls = segment::walls(&checked.records);
        let new = NewSegment { name, range: checked.range, walls, encoding: run.encoding, body: &run.body };
        segment::insert(work.conn, row, &new)?;
        if row.tail_rows > 0 {
            tail::delete(work.conn, row, checked.range)?;
        }
        return Ok(None);
    }
    if let Some((name, named)) = checked.part_of
        && !news.is_empty()
        && after.covers(named)
    {
        return complete(work, row, checked, &name, named);
    }
    insert_rows(work, row, checked, news)?;
    Ok(None)
}

/// The last missing part of a segment has come: it is sealed together with the rows that are here.
fn complete(
    work: &mut Work<'_>,
    row: &mut JournalRow,
    checked: &Checked,
    name: &SegmentName,
    named: SeqRange,
) -> Result<Option<String>, Fault> {
    if let Some(why) = misfit(work, row, name, named)? {
        return Ok(Some(why));
    }
    let mut all = std::collections::BTreeMap::new();
    // A row that is noted and gone is damage here, and not the sender's fault.
    for here in row.present.within(named).iter() {
        load::rows(work.conn, row, here, |found| {
            all.insert(found.seq, found.record);
            Ok(true)
        })?;
    }
    all.extend((checked.range.first()..).zip(checked.records.iter().cloned()));
    let records: Vec<Record> = all.into_values().collect();
    if records.len() as u64 == named.count() && store_named(work, row, name, named, &records)? {
        return Ok(None);
    }
    Ok(Some("together with what is here, the records do not hash to the name of their segment".into()))
}

fn insert_rows(
    work: &Work<'_>,
    row: &mut JournalRow,
    checked: &Checked,
    news: &RangeSet,
) -> Result<(), Fault> {
    let mut bytes = Vec::new();
    for ((seq, record), check) in (checked.range.first()..).zip(&checked.records).zip(&checked.checks) {
        if news.contains(seq) {
            bytes.clear();
            canon::encode_into(record, &mut bytes);
            tail::insert(work.conn, row, seq, record, *check, &bytes)?;
        }
    }
    Ok(())
}

/// Counts what was stored; returns how many of it were never counted before, and how many had been counted as evicted.
fn count(row: &mut JournalRow, checked: &Checked, stored: &RangeSet) -> (u64, u64) {
    row.present.extend(stored);
    // It is not lost after all. Whoever brings it one by one may leave more holes than there is room for: then the old word stands.
    let declared = row.declared.difference(stored);
    if declared.range_count() <= RANGES_MAX {
        row.declared = declared;
    }
    if checked.range.last() > row.head
        && let Some(check) = checked.checks.last()
    {
        (row.head, row.head_check) = (checked.range.last(), *check);
    }
    // What was here once and got lost by damage has been counted already.
    let news = row.acknowledge(stored);
    // What an author wrote has been counted, too: as evicted when damage took it before a hub's ack came.
    let recovered = if row.own { news.min(row.evicted) } else { 0 };
    row.evicted -= recovered;
    let counted = news - recovered;
    row.ingested += counted;
    (counted, recovered)
}

//! The oldest segments of each journal, for deciding what goes first when room is needed.
//!
//! Promise: reads rows of segments only, never their bodies. Absent: the decision.

use millrace_model::store::SegmentInfo;
use rusqlite::Connection;

use crate::error::Fault;
use crate::row::JournalRow;
use crate::segment;

/// Adds the `limit` oldest segments of a journal to `found`.
pub(crate) fn oldest(
    conn: &Connection,
    row: &JournalRow,
    limit: usize,
    found: &mut Vec<SegmentInfo>,
) -> Result<(), Fault> {
    let mut from = row.floor;
    for _ in 0..limit {
        let Some(segment) = segment::next(conn, row, from)? else { break };
        found.push(SegmentInfo {
            journal: row.journal,
            name: segment.name,
            max_wall: segment.max_wall,
            stored_bytes: segment.size,
            unacked: if row.own { row.unacked_in(segment.range) } else { 0 },
        });
        from = segment.range.last() + 1;
    }
    Ok(())
}

//! What is checked when a log opens: everything.
//!
//! Promise: a log that passes has every entry from its purge to its head, each as it was written, in order.
//! Absent: a log of which everything was exchanged for an older one. Who keeps a position elsewhere (the state does) compares.

use bytes::Bytes;
use rusqlite::Connection;

use super::chain::Chain;
use super::entry::LogHead;
use super::error::LogOpenError;
use super::log::{Position, note};
use crate::schema::{signed, unsigned};

/// Reads the whole log and says where it stands.
pub(crate) fn position(conn: &Connection) -> Result<Position, LogOpenError> {
    examine(conn).map_err(|what| LogOpenError::Damaged { what })
}

fn examine(conn: &Connection) -> Result<Position, String> {
    let heading = |name| -> Result<Option<LogHead>, String> {
        let Some(bytes) = note(conn, name)? else { return Ok(None) };
        LogHead::from_bytes(&bytes).map(Some).ok_or_else(|| format!("what is noted as its {name} is cut off"))
    };
    let (noted, purged) = (heading("head")?, heading("purged")?);
    let mut position = Position {
        head: purged,
        purged,
        vote: note(conn, "vote")?.map(Bytes::from),
        committed: note(conn, "committed")?.map(Bytes::from),
        bytes: 0,
    };
    let failed = |error: rusqlite::Error| error.to_string();
    let mut rows =
        conn.prepare("SELECT place, term, chain, payload FROM entry ORDER BY place").map_err(failed)?;
    let mut rows = rows.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let index = unsigned(row.get(0).map_err(failed)?);
        let term = unsigned(row.get(1).map_err(failed)?);
        let chain: Vec<u8> = row.get(2).map_err(failed)?;
        let payload = row.get_ref(3).and_then(|value| Ok(value.as_blob()?)).map_err(failed)?;
        let before = position.head;
        let expected = before.map_or(0, |head| head.index + 1);
        if index != expected {
            return Err(format!("entry {expected} is missing, {index} stands in its place"));
        }
        if before.is_some_and(|head| head.term > term) {
            return Err(format!("entry {index} is of term {term}, older than the one before it"));
        }
        let next = before.map_or(Chain::GENESIS, |head| head.chain).after(index, term, payload);
        if Some(next) != Chain::from_slice(&chain) {
            return Err(format!("entry {index} is not the one that was written after {}", describe(before)));
        }
        position.bytes += payload.len() as u64;
        position.head = Some(LogHead { index, term, chain: next });
    }
    if position.head != noted {
        return Err(format!(
            "it should end with {}, and ends with {}",
            describe(noted),
            describe(position.head)
        ));
    }
    Ok(position)
}

fn describe(head: Option<LogHead>) -> String {
    head.map_or_else(|| "nothing".to_owned(), |head| format!("entry {} of term {}", head.index, head.term))
}

/// The chain at the entry before `index`, where one is known.
pub(crate) fn chain_before(conn: &Connection, index: u64) -> Result<Option<Chain>, String> {
    let Some(before) = index.checked_sub(1) else { return Ok(Some(Chain::GENESIS)) };
    if let Some(purged) = note(conn, "purged")?.as_deref().and_then(LogHead::from_bytes)
        && purged.index == before
    {
        return Ok(Some(purged.chain));
    }
    let found: Result<Vec<u8>, _> = conn
        .prepare_cached("SELECT chain FROM entry WHERE place = ?1")
        .and_then(|mut asked| asked.query_row([signed(before)], |row| row.get(0)));
    match found {
        Ok(bytes) => Ok(Chain::from_slice(&bytes)),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

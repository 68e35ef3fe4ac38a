//! Snapshots: all rows of a state and the position that they stand at, as a file.
//!
//! ```text
//! snapshot := "MRsn" version:u8 length:u32 position chunk* end
//! chunk    := length:u32 (of all rows, at least 1) row* chain:32
//! row      := key_length:u32 value_length:u32 key value
//! end      := 0:u32 rows:u64 bytes:u64 chain:32
//! ```
//! Numbers are big-endian; each chain is over everything before it. Rows stand in the order of their keys.
//!
//! Promise: written and read with memory for one chunk; a file that is cut off, changed or extended is refused.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use bytes::Bytes;

use super::chain::Chain;
use super::error::SnapshotError;

/// Largest row, key and value together: the largest entry, with room for what is stored beside it.
pub const ROW_BYTES_MAX: usize = 2 << 20;

/// A chunk is closed when it is larger than this.
const CHUNK_BYTES: usize = 256 << 10;
const POSITION_BYTES_MAX: usize = 1 << 20;
const MAGIC: &[u8; 4] = b"MRsn";
const VERSION: u8 = 1;

/// What a snapshot holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotSummary {
    /// The position that the rows stand at.
    pub position: Bytes,
    /// How many rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Hash over everything.
    pub chain: Chain,
}

/// Writes a snapshot, row by row.
#[derive(Debug)]
pub struct SnapshotWriter {
    file: BufWriter<File>,
    chunk: Vec<u8>,
    summary: SnapshotSummary,
}

impl SnapshotWriter {
    /// Begins a snapshot of a state that stands at `position`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin(file: File, position: &[u8]) -> Result<Self, SnapshotError> {
        let mut file = BufWriter::new(file);
        file.write_all(MAGIC)?;
        file.write_all(&[VERSION])?;
        file.write_all(&length(position.len()).to_be_bytes())?;
        file.write_all(position)?;
        let chain = Chain::GENESIS.and(&[VERSION]).and(position);
        let position = Bytes::copy_from_slice(position);
        Ok(Self { file, chunk: Vec::new(), summary: SnapshotSummary { position, rows: 0, bytes: 0, chain } })
    }

    /// Adds a row; keys must rise.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        self.chunk.extend_from_slice(&length(key.len()).to_be_bytes());
        self.chunk.extend_from_slice(&length(value.len()).to_be_bytes());
        self.chunk.extend_from_slice(key);
        self.chunk.extend_from_slice(value);
        self.summary.rows += 1;
        self.summary.bytes += (key.len() + value.len()) as u64;
        if self.chunk.len() > CHUNK_BYTES { self.close_chunk() } else { Ok(()) }
    }

    fn close_chunk(&mut self) -> Result<(), SnapshotError> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.summary.chain = self.summary.chain.and(&self.chunk);
        self.file.write_all(&length(self.chunk.len()).to_be_bytes())?;
        self.file.write_all(&self.chunk)?;
        self.file.write_all(self.summary.chain.as_bytes())?;
        self.chunk.clear();
        Ok(())
    }

    /// Ends it and flushes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<SnapshotSummary, SnapshotError> {
        self.close_chunk()?;
        let counts = [self.summary.rows.to_be_bytes(), self.summary.bytes.to_be_bytes()].concat();
        self.summary.chain = self.summary.chain.and(&counts);
        self.file.write_all(&0_u32.to_be_bytes())?;
        self.file.write_all(&counts)?;
        self.file.write_all(self.summary.chain.as_bytes())?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(self.summary)
    }
}

/// Lengths here are far below 4 GiB: rows and positions have limits.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Verifies the snapshot at `path` and says what it holds.
///
/// # Errors
/// When it is damaged, too new, or unreadable.
pub fn inspect_snapshot(path: &Path) -> Result<SnapshotSummary, SnapshotError> {
    inspect_snapshot_file(File::open(path)?)
}

/// As [`inspect_snapshot`], of a file that is open, from its beginning: whatever gets its name meanwhile.
///
/// # Errors
/// As [`inspect_snapshot`].
pub fn inspect_snapshot_file(mut file: File) -> Result<SnapshotSummary, SnapshotError> {
    file.rewind()?;
    read_snapshot(file, |_, _| Ok(()))
}

/// Verifies the snapshot that begins here and calls `visit` with every row of a chunk that verified.
pub(crate) fn read_snapshot(
    file: File,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), SnapshotError>,
) -> Result<SnapshotSummary, SnapshotError> {
    let mut file = BufReader::new(file);
    let position = read_head(&mut file)?;
    let mut chain = Chain::GENESIS.and(&[VERSION]).and(&position);
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    let mut last: Vec<u8> = Vec::new();
    loop {
        let size = number(&mut file)?;
        if size == 0 {
            break;
        }
        if size > CHUNK_BYTES + ROW_BYTES_MAX + 8 {
            return Err(SnapshotError::Damaged(format!("a chunk of {size} bytes")));
        }
        let chunk = exactly(&mut file, size)?;
        chain = chain.and(&chunk);
        if exactly(&mut file, 32)? != chain.as_bytes() {
            return Err(SnapshotError::Damaged(format!("the chunk after row {rows} does not verify")));
        }
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            let (key, value, behind) =
                split_row(rest).ok_or_else(|| SnapshotError::Damaged(format!("row {rows} is cut off")))?;
            if rows > 0 && key <= last.as_slice() {
                return Err(SnapshotError::Damaged(format!("row {rows} is out of order")));
            }
            visit(key, value)?;
            last = key.to_vec();
            rows += 1;
            bytes += (key.len() + value.len()) as u64;
            rest = behind;
        }
    }
    let counts = exactly(&mut file, 16)?;
    chain = chain.and(&counts);
    let whole = counts == [rows.to_be_bytes(), bytes.to_be_bytes()].concat()
        && exactly(&mut file, 32)? == chain.as_bytes()
        && file.read(&mut [0])? == 0;
    if !whole {
        return Err(SnapshotError::Damaged("its end does not verify".into()));
    }
    Ok(SnapshotSummary { position, rows, bytes, chain })
}

fn read_head(file: &mut impl Read) -> Result<Bytes, SnapshotError> {
    if exactly(file, 4)? != MAGIC {
        return Err(SnapshotError::Damaged("it is no snapshot".into()));
    }
    let found = exactly(file, 1)?.first().copied().unwrap_or_default();
    if found != VERSION {
        return Err(SnapshotError::TooNew { found, known: VERSION });
    }
    let size = number(file)?;
    if size > POSITION_BYTES_MAX {
        return Err(SnapshotError::Damaged(format!("a position of {size} bytes")));
    }
    Ok(Bytes::from(exactly(file, size)?))
}

fn split_row(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key_length, rest) = bytes.split_first_chunk::<4>()?;
    let (value_length, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_be_bytes(*key_length) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*value_length) as usize)?;
    Some((key, value, rest))
}

fn exactly(file: &mut impl Read, size: usize) -> Result<Vec<u8>, SnapshotError> {
    let mut bytes = vec![0; size];
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(SnapshotError::Damaged("it is cut off".into()))
        }
        Err(error) => Err(error.into()),
    }
}

fn number(file: &mut impl Read) -> Result<usize, SnapshotError> {
    let bytes = exactly(file, 4)?;
    Ok(bytes.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)))
}

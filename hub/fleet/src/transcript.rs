//! What happened, as text and as a hash.
//!
//! Promise: two worlds of one seed have one hash. The last lines are always kept, so that a failure can be read without
//! running it again.

use std::collections::VecDeque;
use std::fmt;

use millrace_model::Moment;

/// Lines that are kept when nobody asked for all of them.
const KEPT: usize = 40;

/// A transcript.
#[derive(Debug)]
pub struct Transcript {
    hash: u64,
    lines: u64,
    last: VecDeque<String>,
    print: bool,
}

impl Transcript {
    /// An empty transcript; `print` writes every line to standard output at once.
    #[must_use]
    pub const fn new(print: bool) -> Self {
        // FNV-1a, 64 bits: fast, and good enough to tell two histories apart.
        Self { hash: 0xcbf2_9ce4_8422_2325, lines: 0, last: VecDeque::new(), print }
    }

    /// Something happened.
    pub fn note(&mut self, now: Moment, what: fmt::Arguments<'_>) {
        let (seconds, micros) = (now.0 / 1_000_000, now.0 % 1_000_000);
        let line = format!("{seconds:>4}.{micros:06} {what}");
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.lines += 1;
        if self.print {
            println!("{line}");
        }
        if self.last.len() >= KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// The hash of everything so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there were.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// The last lines.
    #[must_use]
    pub fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}

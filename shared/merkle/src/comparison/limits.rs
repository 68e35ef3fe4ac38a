//! How far one comparison may go.

/// What one comparison may cost. When one of these is used up it ends with what it found and says so; a comparison after the repair
/// finds the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Nodes and names that each holder is asked for. 16,384 nodes are a MiB of hashes.
    pub nodes_max: u64,
    /// Bytes of questions and answers, about. One answer may go over it.
    pub bytes_max: u64,
    /// Places and ranges that one difference may name.
    pub found_max: usize,
    /// Whether damage is looked for although records are missing. Without it, ranges that differ are all that is found: most of what the tree
    /// would show then is missing for that reason.
    pub both: bool,
    /// Whether hashes are looked for that the other one lacks: it compares nothing itself, so it cannot find them.
    pub gives: bool,
}

impl Limits {
    /// Enough for a thousand damaged segments of a journal with a hundred million records.
    pub const DEFAULT: Self =
        Self { nodes_max: 16 << 10, bytes_max: 4 << 20, found_max: 4_096, both: false, gives: false };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

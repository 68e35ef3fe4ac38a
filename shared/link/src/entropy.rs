//! Randomness for secrets and serial numbers, from the operating system. Keys come from the same source.
//!
//! Absent: randomness that decides (jitter, ids of sessions), which comes seeded from outside.

/// The operating system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no randomness: is getrandom blocked by a sandbox?")]
pub struct EntropyError;

/// `N` unpredictable bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).map_err(|_| EntropyError)?;
    Ok(bytes)
}

//! Entropy: seeds from the operating system, for the few places that need unpredictability.
//!
//! Promise: every value comes from the kernel's generator; there is no weaker fallback.
//! Absent: no generator of its own; what decides gets a seed and draws from that.

/// The kernel gave no random bytes.
///
/// Seen only where `/dev/urandom` and `getrandom(2)` are both forbidden, for example by a wrong
/// seccomp filter. The daemon cannot make a safe identity without them and must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the operating system gave no random bytes ({reason}); allow the getrandom system call for this service"
)]
pub struct NoEntropy {
    reason: getrandom::Error,
}

/// `N` random bytes.
///
/// # Errors
/// [`NoEntropy`] when the kernel refuses.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut out = [0_u8; N];
    getrandom::fill(&mut out).map_err(|reason| NoEntropy { reason })?;
    Ok(out)
}

/// 64 random bits, the seed that a daemon hands to everything that draws.
///
/// # Errors
/// [`NoEntropy`] when the kernel refuses.
pub fn seed_u64() -> Result<u64, NoEntropy> {
    Ok(u64::from_le_bytes(bytes()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seeds_differ() {
        assert_ne!(seed_u64().unwrap(), seed_u64().unwrap());
    }

    #[test]
    fn bytes_are_filled_to_the_end() {
        // 64 zero bytes by chance: once in 2^512 runs.
        assert_ne!(bytes::<64>().unwrap(), [0; 64]);
        assert_ne!(bytes::<64>().unwrap()[32..], [0; 32]);
    }
}

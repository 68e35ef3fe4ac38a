//! The join token: one line that an operator carries from a hub to a new machine.
//!
//! ```text
//! millrace1.<base 32>     of
//! ┌─────────┬──────────────┬────────────┬────────────┬───────┬───────────────────┐
//! │ version │ CA key hash  │ secret     │ expiry     │ name  │ addresses         │
//! │ 1 byte  │ 32           │ 16         │ 8, BE, s   │ text  │ n, n × text       │
//! ├─────────┴──────────────┴────────────┴────────────┼───────┴───────────────────┤
//! │ labels: n, n × (text key, text value)            │ check: 4 of BLAKE3        │
//! └──────────────────────────────────────────────────┴───────────────────────────┘
//! text = length (1 byte) and UTF-8; n = 1 byte; an empty name is "none"; check covers all before it
//! ```
//!
//! Promise: a mistyped token is refused before anything is dialed; `Debug` hides the secret.
//! Absent: whether the secret is still good. The hub decides that, by its own clock.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use millrace_model::Wall;

use crate::clock::wall_of_seconds;
use crate::entropy::{self, EntropyError};
use crate::{KeyHash, base32, ca};

const PREFIX: &str = "millrace1.";
const VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;

/// Hub addresses in one token.
pub const TOKEN_ADDRESSES_MAX: usize = 8;
/// Labels in one token.
pub const TOKEN_LABELS_MAX: usize = 16;
/// Bytes of a label's key or value.
pub const LABEL_BYTES_MAX: usize = 64;
/// Bytes of an address (`host:port`).
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Characters of a token's text; everything at its largest fits.
pub const TOKEN_CHARS_MAX: usize = 8_192;

/// The one-time secret of a join token. Whoever has it may enrol one machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct JoinSecret([u8; 16]);

impl JoinSecret {
    /// A new secret.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn fresh() -> Result<Self, EntropyError> {
        entropy::bytes().map(Self)
    }

    /// What a hub stores and compares instead of the secret itself. Comparing fingerprints tells an attacker
    /// nothing by its timing.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        blake3::derive_key("millrace 2026 join secret v1", &self.0)
    }

    pub(crate) fn to_text(self) -> String {
        base32::encode(&self.0)
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        base32::decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JoinSecret(hidden)")
    }
}

/// What a new machine needs to join a cluster. Its text form is `Display` and `FromStr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The hash of the key of the only CA that may answer.
    pub ca: KeyHash,
    /// Hubs to dial, as `host:port`.
    pub addresses: Vec<String>,
    /// The one-time secret.
    pub secret: JoinSecret,
    /// When the hub stops honouring it, in whole seconds.
    pub expires: Wall,
    /// The name that the machine will have, when the operator chose one.
    pub name: Option<String>,
    /// The labels that it will have, such as `site` and `line`.
    pub labels: BTreeMap<String, String>,
}

/// Why a text is no token, or a token cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token at all.
    #[error(
        "a join token begins with `{PREFIX}`: copy the whole line that `millrace-hub token create` printed"
    )]
    NotAToken,
    /// Made by a later version.
    #[error("this join token is of a later kind than this program knows: update this program")]
    Later,
    /// A character that cannot be in a token.
    #[error("a join token cannot contain {0:?}: copy the whole line again")]
    Letter(char),
    /// Something was mistyped or cut off.
    #[error("the join token is mistyped or cut off (its check does not match): copy the whole line again")]
    Check,
    /// The check matches and the content is still impossible.
    #[error("the join token is malformed: {0}")]
    Malformed(&'static str),
    /// A part exceeds its limit.
    #[error("a join token cannot carry this: {0}")]
    Limit(&'static str),
}

impl JoinToken {
    /// Checks that every part is within its limit, so that the text form can carry it.
    ///
    /// # Errors
    /// The first part that is not.
    pub fn check(&self) -> Result<(), TokenError> {
        let limit = |holds, what| if holds { Ok(()) } else { Err(TokenError::Limit(what)) };
        limit((1..=TOKEN_ADDRESSES_MAX).contains(&self.addresses.len()), "1 to 8 addresses")?;
        limit(self.addresses.iter().all(|address| valid_address(address)), "addresses as `host:port`")?;
        let name_fits = |name: &str| ca::valid_name(name) && name.len() <= usize::from(u8::MAX);
        limit(self.name.as_deref().is_none_or(name_fits), "a name of 1 to 64 printable characters")?;
        limit(valid_labels(&self.labels), "up to 16 labels of up to 64 bytes, keys not empty")?;
        limit(self.expires.unix_seconds() >= 0, "an expiry after 1970")
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.ca.as_bytes());
        bytes.extend_from_slice(&self.secret.0);
        bytes.extend_from_slice(&self.expires.unix_seconds().max(0).to_be_bytes());
        put_text(&mut bytes, self.name.as_deref().unwrap_or(""));
        bytes.push(count(self.addresses.len()));
        self.addresses.iter().for_each(|address| put_text(&mut bytes, address));
        bytes.push(count(self.labels.len()));
        for (key, value) in &self.labels {
            put_text(&mut bytes, key);
            put_text(&mut bytes, value);
        }
        let check = check_of(&bytes);
        bytes.extend_from_slice(&check);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, TokenError> {
        let content = bytes.len().checked_sub(CHECK_BYTES).and_then(|end| bytes.split_at_checked(end));
        let (content, check) = content.ok_or(TokenError::Check)?;
        if check_of(content) != check {
            return Err(TokenError::Check);
        }
        let mut rest = Reader(content);
        if rest.byte()? != VERSION {
            return Err(TokenError::Later);
        }
        let ca = KeyHash::from_bytes(rest.array()?);
        let secret = JoinSecret(rest.array()?);
        let expires = wall_of_seconds(i64::from_be_bytes(rest.array()?));
        let name = Some(rest.text()?).filter(|name| !name.is_empty());
        let addresses = (0..rest.byte()?).map(|_| rest.text()).collect::<Result<_, _>>()?;
        let labels = (0..rest.byte()?).map(|_| Ok((rest.text()?, rest.text()?))).collect::<Result<_, _>>()?;
        if !rest.0.is_empty() {
            return Err(TokenError::Malformed("bytes after its end"));
        }
        let token = Self { ca, addresses, secret, expires, name, labels };
        token.check()?;
        Ok(token)
    }
}

/// Whether `labels` are within the limits of a token and an enrolment.
#[must_use]
pub fn valid_labels(labels: &BTreeMap<String, String>) -> bool {
    let fits = |text: &str| text.len() <= LABEL_BYTES_MAX && !text.chars().any(char::is_control);
    labels.len() <= TOKEN_LABELS_MAX
        && labels.iter().all(|(key, value)| !key.is_empty() && fits(key) && fits(value))
}

fn valid_address(address: &str) -> bool {
    let split = address.rsplit_once(':');
    address.len() <= ADDRESS_BYTES_MAX
        && !address.chars().any(|letter| letter.is_control() || letter.is_whitespace())
        && split
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn check_of(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    blake3::Hasher::new().update(bytes).finalize_xof().fill(&mut check);
    check
}

/// Lengths were checked before; a token beyond its limits would fail its own check when read.
fn count(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(count(text.len()));
    bytes.extend_from_slice(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Result<&[u8], TokenError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TokenError::Malformed("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, TokenError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        self.take(N)?.try_into().map_err(|_| TokenError::Malformed("it ends early"))
    }

    fn text(&mut self) -> Result<String, TokenError> {
        let length = usize::from(self.byte()?);
        let text = std::str::from_utf8(self.take(length)?);
        text.map(str::to_owned).map_err(|_| TokenError::Malformed("a text is not UTF-8"))
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{PREFIX}{}", base32::encode(&self.to_bytes()))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > TOKEN_CHARS_MAX {
            return Err(TokenError::NotAToken);
        }
        let body =
            text.split_at_checked(PREFIX.len()).filter(|(start, _)| start.eq_ignore_ascii_case(PREFIX));
        let Some((_, body)) = body else {
            return Err(if later(text) { TokenError::Later } else { TokenError::NotAToken });
        };
        let bytes = base32::decode(body).map_err(TokenError::Letter)?;
        let letters = body.chars().filter(|letter| !letter.is_whitespace() && *letter != '-').count();
        // A letter too many at the end adds no byte, and would go unnoticed.
        if base32::encode(&bytes).len() != letters {
            return Err(TokenError::Check);
        }
        Self::from_bytes(&bytes)
    }
}

/// `millrace2.…` and the like.
fn later(text: &str) -> bool {
    text.strip_prefix("millrace")
        .and_then(|rest| rest.split_once('.'))
        .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            ca: KeyHash::from_bytes([7; 32]),
            addresses: vec!["hub-1.plant.example:7440".into(), "[2001:db8::1]:7440".into()],
            secret: JoinSecret([9; 16]),
            expires: wall_of_seconds(1_800_000_000),
            name: Some("press-7".into()),
            labels: BTreeMap::from([("site".into(), "Tübingen".into()), ("line".into(), "2".into())]),
        }
    }

    #[test]
    fn a_token_reads_back_what_it_says() {
        let token = token();
        assert_eq!(token.check(), Ok(()));
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        assert_eq!(format!("  {}\n", token.to_string().to_uppercase()).parse(), Ok(token.clone()));
        let plain = JoinToken { name: None, labels: BTreeMap::new(), ..token };
        assert_eq!(plain.to_string().parse(), Ok(plain));
    }

    #[test]
    fn every_single_mistyped_letter_is_noticed() {
        let text = token().to_string();
        for place in PREFIX.len()..text.len() {
            let mut typed = text.clone().into_bytes();
            typed[place] = if typed[place] == b'7' { b'8' } else { b'7' };
            // The last letter carries padding bits, which may not matter.
            let read = String::from_utf8(typed).unwrap().parse::<JoinToken>();
            assert!(read.is_err() || place + 1 == text.len(), "letter {place}");
        }
        assert_eq!(text[..text.len() - 9].parse::<JoinToken>(), Err(TokenError::Check));
        assert_eq!(format!("{text}x").parse::<JoinToken>(), Err(TokenError::Check), "a letter too many");
        assert_eq!(text.replacen('.', ".u", 1).parse::<JoinToken>(), Err(TokenError::Letter('u')));
    }

    #[test]
    fn what_is_no_token_is_told_apart_from_a_later_one() {
        assert_eq!("hunter2".parse::<JoinToken>(), Err(TokenError::NotAToken));
        assert_eq!("".parse::<JoinToken>(), Err(TokenError::NotAToken));
        assert_eq!("millrace2.abc".parse::<JoinToken>(), Err(TokenError::Later));
        assert_eq!("millrace1.".parse::<JoinToken>(), Err(TokenError::Check));
    }

    #[test]
    fn the_secret_does_not_show_in_debug() {
        let shown = format!("{:?}", token());
        assert!(shown.contains("hidden") && !shown.contains("9, 9"), "{shown}");
    }

    #[test]
    fn a_part_beyond_its_limit_is_refused() {
        let refused = |change: fn(&mut JoinToken)| {
            let mut token = token();
            change(&mut token);
            assert!(matches!(token.check(), Err(TokenError::Limit(_))), "{token:?}");
        };
        refused(|token| token.addresses.clear());
        refused(|token| token.addresses = vec!["hub".into()]);
        refused(|token| token.addresses = vec!["h:1".into(); 9]);
        refused(|token| token.name = Some("a\nb".into()));
        refused(|token| token.labels = BTreeMap::from([("k".into(), "v".repeat(65))]));
        refused(|token| token.expires = Wall(-1));
    }

    #[test]
    fn hostile_bytes_behind_a_right_check_are_refused() {
        let mut bytes = token().to_bytes();
        bytes.truncate(bytes.len() - CHECK_BYTES);
        for length in 0..bytes.len() {
            let mut cut = bytes[..length].to_vec();
            let check = check_of(&cut);
            cut.extend_from_slice(&check);
            assert!(JoinToken::from_bytes(&cut).is_err(), "cut at {length}");
        }
    }
}

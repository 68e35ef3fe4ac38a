//! What a record is about: an MQTT topic name, checked once, cheap to copy.
//!
//! Absent: topic filters with wildcards ([`Topic::matches`] takes one as text; MQTT 5.0, section 4.7).

use std::fmt;
use std::sync::Arc;

use crate::limits::TOPIC_BYTES_MAX;

/// A topic name: 1 to [`TOPIC_BYTES_MAX`] bytes of UTF-8 without wildcards and without U+0000.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

/// Why a text is no topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// No characters at all.
    #[error("a topic must not be empty")]
    Empty,
    /// More bytes than a topic may have.
    #[error("a topic has at most {TOPIC_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// A character that MQTT forbids in topic names.
    #[error("a topic must not contain `+`, `#` or U+0000, this one has {0:?}")]
    Forbidden(char),
}

impl Topic {
    /// The topic with this name.
    ///
    /// # Errors
    /// When the name is empty, too long, or has a wildcard or U+0000 in it.
    pub fn new(name: &str) -> Result<Self, TopicError> {
        if name.is_empty() {
            return Err(TopicError::Empty);
        }
        if name.len() > TOPIC_BYTES_MAX {
            return Err(TopicError::TooLong(name.len()));
        }
        // Bytes will do: none of the three is part of a longer character.
        match name.bytes().find(|byte| matches!(byte, b'+' | b'#' | 0)) {
            Some(forbidden) => Err(TopicError::Forbidden(char::from(forbidden))),
            None => Ok(Self(name.into())),
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an MQTT topic filter covers this topic; see [`covers`].
    #[must_use]
    pub fn matches(&self, filter: &str) -> bool {
        covers(filter, &self.0)
    }
}

/// Whether an MQTT topic filter covers a topic name (MQTT 5.0, section 4.7). Names that begin with `$` are not covered by
/// a filter that begins with a wildcard. A filter that is malformed covers whatever its levels cover.
#[must_use]
pub fn covers(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    if filter == "#" {
        return true;
    }
    let mut names = name.split('/');
    let mut patterns = filter.split('/');
    loop {
        match (patterns.next(), names.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(pattern), Some(name)) if pattern == name => {}
            _ => return false,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_and_emptiness_are_refused() {
        assert_eq!(Topic::new(""), Err(TopicError::Empty));
        assert_eq!(Topic::new("a/+"), Err(TopicError::Forbidden('+')));
        assert_eq!(Topic::new(&"x".repeat(1_025)), Err(TopicError::TooLong(1_025)));
    }

    #[test]
    fn filters_cover_topics_as_mqtt_says() {
        let topic = Topic::new("plant/press-7/temp").unwrap();
        for filter in ["#", "plant/#", "plant/+/temp", "plant/press-7/temp", "plant/press-7/temp/#", "+/+/+"]
        {
            assert!(topic.matches(filter), "{filter}");
        }
        for filter in ["plant", "plant/+", "+", "plant/press-7/temp/+", "robot/#", ""] {
            assert!(!topic.matches(filter), "{filter}");
        }
        let hidden = Topic::new("$millrace/open").unwrap();
        assert!(!hidden.matches("#"));
        assert!(hidden.matches("$millrace/#"));
    }
}

//! Topic filters: checking them, and which topics they cover.
//!
//! Promise: never panics, whatever the text (MQTT 5.0, sections 4.7.1 and 4.7.2).
//! Absent: shared subscriptions (`$share/…`), which are refused where they are asked for.

use std::fmt;

/// Why a text is no topic filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No characters at all.
    #[error("a topic filter must not be empty")]
    Empty,
    /// A length or character that MQTT forbids.
    #[error("topic filter `{0}` is longer than 65,535 bytes or contains U+0000")]
    Forbidden(String),
    /// A wildcard in the wrong place.
    #[error("topic filter `{0}`: `+` must stand alone in its level, `#` must be the whole last level")]
    Wildcard(String),
    /// `$share/…`.
    #[error("topic filter `{0}`: shared subscriptions are not supported")]
    Shared(String),
}

/// A checked topic filter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Filter(String);

impl Filter {
    /// The filter with this text.
    ///
    /// # Errors
    /// When MQTT forbids it, or when it asks for a shared subscription.
    pub fn new(text: &str) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.len() > usize::from(u16::MAX) || text.contains('\0') {
            return Err(FilterError::Forbidden(text.chars().take(64).collect()));
        }
        if text.starts_with("$share/") {
            return Err(FilterError::Shared(text.to_owned()));
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let misplaced_plus = level.contains('+') && level != "+";
            let misplaced_hash = level.contains('#') && (level != "#" || levels.peek().is_some());
            if misplaced_plus || misplaced_hash {
                return Err(FilterError::Wildcard(text.to_owned()));
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it covers this topic name. Topics that begin with `$` are not covered by a leading wildcard.
    #[must_use]
    pub fn covers(&self, topic: &str) -> bool {
        millrace_model::topic::covers(&self.0, topic)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// Whether MQTT allows this as the topic of a publication.
pub(crate) fn is_topic_name(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_cover_what_the_standard_says() {
        for (filter, topic, covered) in [
            ("#", "a/b", true),
            ("a/#", "a", true),
            ("a/#", "ab", false),
            ("a/+", "a/b", true),
            ("a/+", "a/", true),
            ("a/+", "a/b/c", false),
            ("+/b", "a/b", true),
            ("+", "/a", false),
            ("/+", "/a", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("ü/+", "ü/ß", true),
        ] {
            assert_eq!(Filter::new(filter).unwrap().covers(topic), covered, "{filter} on {topic}");
        }
    }

    #[test]
    fn malformed_filters_are_refused() {
        for text in ["", "a#", "a/#/b", "+a/b", "a/b+", "a\0b", "$share/group/a"] {
            assert!(Filter::new(text).is_err(), "{text:?}");
        }
    }
}

//! Transcripts: tests that are texts to read. Events stand in them, and what was asked for in answer.
//!
//! Lines with `#` are words for people, lines with `>` are events, and what follows an event, indented, is what the
//! subject said. The first event makes the subject. `MILLRACE_REWRITE=1` writes the files anew; read the difference.
//!
//! Promise: the same text gives the same transcript. A text that makes no sense is an error that names its line.
//! Absent: what events there are; each subject reads its own.

use std::path::Path;

use millrace_model::SeqRange;

/// What plays a transcript's events.
pub trait Subject: Sized {
    /// The name of the first event.
    const FIRST: &'static str;

    /// A new subject, from the words of the first event.
    fn begin(words: &[&str]) -> Self;

    /// One further event: its name, and the words behind it.
    fn event(&mut self, name: &str, words: &[&str]);

    /// What was said since it was asked last, a line each.
    fn said(&mut self) -> Vec<String>;
}

/// The transcript `text` with what the subject says now.
///
/// # Errors
/// When it begins with another event than [`Subject::FIRST`], or an event has no name.
pub fn play<S: Subject>(text: &str) -> Result<String, String> {
    let mut subject: Option<S> = None;
    let mut written = String::new();
    for (at, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.is_empty() {
            written.extend([line, "\n"]);
        }
        let Some(event) = line.strip_prefix("> ") else { continue };
        let words: Vec<&str> = event.split_whitespace().collect();
        let Some((name, words)) = words.split_first() else {
            return Err(format!("line {}: an event has no name", at + 1));
        };
        let subject = if *name == S::FIRST {
            subject.insert(S::begin(words))
        } else if let Some(subject) = &mut subject {
            subject.event(name, words);
            subject
        } else {
            return Err(format!("line {}: the first event must be `{}`, not `{name}`", at + 1, S::FIRST));
        };
        written.extend([line, "\n"]);
        for said in subject.said() {
            written.extend(["  ", &said, "\n"]);
        }
    }
    Ok(written)
}

/// Plays the file `name` of `directory` and compares; writes it anew when asked to.
///
/// # Errors
/// The first difference, or why the file cannot be read, written or played.
pub fn compare<S: Subject>(directory: &Path, name: &str) -> Result<(), String> {
    let path = directory.join(format!("{name}.txt"));
    let unusable = |error: std::io::Error| format!("{}: {error}", path.display());
    let expected = std::fs::read_to_string(&path).map_err(unusable)?;
    let found = play::<S>(&expected).map_err(|error| format!("{name}.txt: {error}"))?;
    if std::env::var_os("MILLRACE_REWRITE").is_some() {
        return std::fs::write(&path, &found).map_err(unusable);
    }
    for (at, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        if expected != found {
            return Err(format!("line {} of {name}.txt\nexpected: {expected}\n   found: {found}", at + 1));
        }
    }
    if found == expected {
        Ok(())
    } else {
        Err(format!("{name}.txt is longer or shorter than what was said"))
    }
}

/// Whether `names` are just the files of `directory`: a transcript that nobody plays tests nothing.
///
/// # Errors
/// The names on one side only.
pub fn all_are_played(directory: &Path, names: &[&str]) -> Result<(), String> {
    let entries =
        std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let files = entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned));
    let (files, mut unknown): (Vec<String>, Vec<String>) =
        files.partition(|file| names.contains(&file.as_str()));
    unknown
        .extend(names.iter().filter(|name| !files.iter().any(|file| file == *name)).map(|n| (*n).to_owned()));
    if unknown.is_empty() { Ok(()) } else { Err(format!("not played, or not there: {}", unknown.join(", "))) }
}

/// One named test for each transcript in `tests/transcripts` of the crate, and one that all of them are played.
#[macro_export]
macro_rules! transcripts {
    ($subject:ty: $($name:ident)*) => {
        fn directory() -> std::path::PathBuf {
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
        }

        $(
            #[test]
            fn $name() -> Result<(), String> {
                $crate::transcript::compare::<$subject>(&directory(), stringify!($name))
            }
        )*

        #[test]
        fn every_transcript_is_played() -> Result<(), String> {
            $crate::transcript::all_are_played(&directory(), &[$(stringify!($name)),*])
        }
    };
}

/// The value of `key=value` among the words of an event.
#[must_use]
pub fn value<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// The number in `key=number`; `None` when the key is not there.
///
/// # Panics
/// When the value is no number: the transcript is wrong.
#[must_use]
#[allow(clippy::panic, reason = "a test's text is wrong, and the test must say so")]
pub fn number(words: &[&str], key: &str) -> Option<u64> {
    value(words, key).map(|text| text.parse().unwrap_or_else(|_| panic!("`{key}={text}` is no number")))
}

/// The range `first-last`, or one number alone; `max` is the highest number.
///
/// # Panics
/// When it is none: the transcript is wrong.
#[must_use]
#[allow(clippy::panic, reason = "a test's text is wrong, and the test must say so")]
pub fn range(text: &str) -> SeqRange {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let seq = |text: &str| if text == "max" { Some(u64::MAX) } else { text.parse().ok() };
    let range = seq(first).zip(seq(last)).and_then(|(first, last)| SeqRange::new(first, last));
    range.unwrap_or_else(|| panic!("`{text}` is no range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Parrot(Vec<String>);

    impl Subject for Parrot {
        const FIRST: &'static str = "parrot";

        fn begin(words: &[&str]) -> Self {
            Self(vec![format!("hatched, {}", number(words, "age").unwrap_or(0))])
        }

        fn event(&mut self, name: &str, words: &[&str]) {
            self.0.push(format!("{name}! {}", words.len()));
        }

        fn said(&mut self) -> Vec<String> {
            std::mem::take(&mut self.0)
        }
    }

    #[test]
    fn what_was_said_is_replaced_and_the_rest_stays() {
        let text = "# A bird.\n\n> parrot age=3\n  something else\n> hello you two\n";
        let played = "# A bird.\n\n> parrot age=3\n  hatched, 3\n> hello you two\n  hello! 2\n";
        assert_eq!(play::<Parrot>(text).as_deref(), Ok(played));
        assert_eq!(play::<Parrot>(played).as_deref(), Ok(played));
        let wrong = play::<Parrot>("# x\n> hello\n").unwrap_err();
        assert_eq!(wrong, "line 2: the first event must be `parrot`, not `hello`");
    }

    #[test]
    fn a_difference_and_a_forgotten_file_are_named() {
        let directory = std::env::temp_dir().join(format!("millrace-transcripts-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("a_bird.txt"), "> parrot\n  hatched, 1\n").unwrap();
        let different = compare::<Parrot>(&directory, "a_bird").unwrap_err();
        assert!(
            different.contains("line 2 of a_bird.txt") && different.contains("found:   hatched, 0"),
            "{different}"
        );
        assert_eq!(all_are_played(&directory, &["a_bird"]), Ok(()));
        assert!(all_are_played(&directory, &[]).unwrap_err().contains("a_bird"));
        assert!(all_are_played(&directory, &["a_bird", "a_cat"]).unwrap_err().contains("a_cat"));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn ranges_are_one_number_or_two() {
        assert_eq!(range("7"), SeqRange::only(7));
        assert_eq!((range("3-9").first(), range("3-max").last()), (3, u64::MAX));
        assert_eq!(value(&["a=1", "bc=2"], "b"), None);
    }
}

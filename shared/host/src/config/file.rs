//! Reading a config file: text in, raw struct out, or one mistake with its line and fix.
//!
//! Promise: at most [`FILE_BYTES_MAX`] are read; the first mistake is reported with line, key and fix.
//! Absent: no defaults (serde's `default` attribute gives those) and no validation across keys.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::error::{ConfigError, Mistake};
use super::outline;

/// The largest config file that is read. The complete example is some 20 KiB; a file of more than a
/// mebibyte is a wrong path, not a config.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// How many edits a key may be away from a known one to be taken for a misspelling of it.
const MISSPELLING_EDITS_MAX: usize = 3;

/// A config file's text and name, kept to point at lines when validation finds a mistake later.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// A source that is not a file on disk, such as built-in defaults; `name` stands for the path.
    pub fn named(name: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: name.into(), text: text.into() }
    }

    /// The path that the text was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error for a value that is well formed but wrong: `key` is its full path (`mqtt.broker`,
    /// `subscribe.0.filter`), `fix` says what to write.
    pub fn mistake(&self, key: &str, problem: impl Into<String>, fix: impl Into<String>) -> ConfigError {
        let line = outline::line_of(&self.text, key);
        ConfigError::from(Box::new(Mistake {
            file: self.path.clone(),
            line,
            key: Some(key.to_owned()),
            text: line.and_then(|line| self.line_text(line)),
            problem: problem.into(),
            fix: fix.into(),
        }))
    }

    fn line_text(&self, line: usize) -> Option<String> {
        let text = self.text.lines().nth(line.checked_sub(1)?)?;
        Some(redacted(text))
    }
}

/// A raw config together with the text that it came from.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The raw values.
    pub raw: T,
    /// Where they came from, for [`Source::mistake`].
    pub source: Source,
}

/// Reads and parses the file at `path`.
///
/// # Errors
/// [`ConfigError`] when the file cannot be read, is too large, or says something that `T` does not know.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Loaded<T>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    let bytes = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    if bytes > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_owned(), bytes, limit: FILE_BYTES_MAX });
    }
    parse(Source::named(path, text))
}

/// Parses text that is already in memory.
///
/// # Errors
/// [`ConfigError::Wrong`] with the first mistake.
pub fn parse<T: DeserializeOwned>(source: Source) -> Result<Loaded<T>, ConfigError> {
    match toml::from_str(&source.text) {
        Ok(raw) => Ok(Loaded { raw, source }),
        Err(error) => Err(ConfigError::from(Box::new(explained(&source, &error)))),
    }
}

fn explained(source: &Source, error: &toml::de::Error) -> Mistake {
    let line = error.span().map(|span| {
        let before = source.text.get(..span.start).unwrap_or(&source.text);
        before.bytes().filter(|b| *b == b'\n').count() + 1
    });
    let message = error.message();
    let (mut problem, fix) = problem_and_fix(message);
    if line.and_then(|line| source.text.lines().nth(line.saturating_sub(1))).is_some_and(holds_secret) {
        "its value is not what this key takes (the value is not shown)".clone_into(&mut problem);
    }
    Mistake {
        file: source.path.clone(),
        line,
        key: line.and_then(|line| outline::path_at(&source.text, line)),
        text: line.and_then(|line| source.line_text(line)),
        problem,
        fix,
    }
}

/// Turns the parser's message into a problem and what to do about it.
fn problem_and_fix(message: &str) -> (String, String) {
    let names = quoted(message);
    if let (true, Some((unknown, known))) = (message.starts_with("unknown field"), names.split_first()) {
        let problem = format!("there is no key `{unknown}` here");
        let fix = match nearest(unknown, known) {
            Some(near) => format!("write `{near}`, or remove the line"),
            None if known.is_empty() => "remove the line; this table has no keys".to_owned(),
            None => format!("remove the line; known keys here are {}", known.join(", ")),
        };
        return (problem, fix);
    }
    if let (true, Some((unknown, known))) = (message.starts_with("unknown variant"), names.split_first()) {
        let problem = format!("`{unknown}` is none of the possible values");
        let fix = match nearest(unknown, known) {
            Some(near) => format!("write \"{near}\"; possible are {}", known.join(", ")),
            None => format!("write one of {}", known.join(", ")),
        };
        return (problem, fix);
    }
    if let (true, Some(key)) = (message.starts_with("missing field"), names.first()) {
        return (format!("the key `{key}` is missing"), format!("add `{key} = …` to this table"));
    }
    if let Some((problem, expected)) =
        message.split_once(", expected ").filter(|_| message.starts_with("invalid"))
    {
        return (problem.to_owned(), format!("write {expected}"));
    }
    if let Some((problem, example)) = message.split_once("; ") {
        return (problem.to_owned(), example.to_owned());
    }
    (message.to_owned(), "correct the line; strings stand in \"quotes\", tables in [brackets]".to_owned())
}

/// The names in back quotes, in order.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::osa_distance(unknown, name), *name))
        .filter(|(edits, name)| *edits <= MISSPELLING_EDITS_MAX && *edits < name.len())
        .min()
        .map(|(_, name)| name)
}

/// A line as it may be shown: the values of keys that hold secrets are hidden.
fn redacted(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) if holds_secret(line) => format!("{key}= (hidden)"),
        _ => line.to_owned(),
    }
}

fn holds_secret(line: &str) -> bool {
    let key = line.split_once('=').map_or("", |(key, _)| key);
    ["password", "secret", "token"].iter().any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde::Deserialize;

    use super::super::{ByteSize, Rate, Span};
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    enum Policy {
        DropOldest,
        Block,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Mqtt {
        broker: String,
        keep_alive: Option<Span>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Raw {
        mqtt: Option<Mqtt>,
        budget: Option<ByteSize>,
        rate: Option<Rate>,
        policy: Option<Policy>,
        password: Option<u32>,
    }

    fn load(text: &str) -> Result<Loaded<Raw>, ConfigError> {
        parse(Source::named("agent.toml", text))
    }

    fn mistake(text: &str) -> Mistake {
        load(text).unwrap_err().mistake().unwrap().clone()
    }

    #[test]
    fn units_and_tables_are_read() {
        let raw = load("budget = \"64MiB\"\nrate = \"256KiB/s\"\npolicy = \"block\"\n[mqtt]\nbroker = \"b\"\nkeep_alive = \"30s\"\n")
            .unwrap()
            .raw;
        assert_eq!(raw.budget, Some(ByteSize::mib(64)));
        assert_eq!(raw.rate.unwrap().limit(), Some(256 * 1024));
        assert_eq!(raw.policy, Some(Policy::Block));
        let mqtt = raw.mqtt.unwrap();
        assert_eq!((mqtt.broker.as_str(), mqtt.keep_alive), ("b", Some(Span::seconds(30))));
        assert_eq!(raw.password, None);
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_known_one() {
        let found = mistake("budget = 1\n\n[mqtt]\nbrokr = \"tcp://localhost\"\n");
        assert_eq!(found.line, Some(4));
        assert_eq!(found.key.as_deref(), Some("mqtt.brokr"));
        assert_eq!(found.text.as_deref(), Some("brokr = \"tcp://localhost\""));
        assert_eq!(found.problem, "there is no key `brokr` here");
        assert_eq!(found.fix, "write `broker`, or remove the line");
    }

    #[test]
    fn an_unknown_key_far_from_all_others_lists_them() {
        let found = mistake("[mqtt]\nbroker = \"b\"\ncolour = 1\n");
        assert_eq!(found.fix, "remove the line; known keys here are broker, keep_alive");
    }

    #[test]
    fn a_wrong_unit_names_its_line_and_an_example() {
        let found = mistake("\nbudget = \"64 moons\"\n");
        assert_eq!((found.line, found.key.as_deref()), (Some(2), Some("budget")));
        assert!(found.problem.contains("64 moons"), "{found}");
        assert!(found.fix.contains("\"64MiB\""), "{found}");
    }

    #[test]
    fn a_wrong_type_and_a_wrong_word_say_what_to_write() {
        assert!(mistake("budget = true\n").fix.contains("a size such as"), "{}", mistake("budget = true\n"));
        let found = mistake("policy = \"drop-oldst\"\n");
        assert_eq!(found.fix, "write \"drop-oldest\"; possible are drop-oldest, block");
        assert_eq!(mistake("[mqtt]\n").problem, "the key `broker` is missing");
    }

    #[test]
    fn broken_syntax_names_its_line() {
        let found = mistake("budget = 1\npolicy = block\n");
        assert_eq!(found.line, Some(2), "{found}");
        assert!(!found.fix.is_empty());
    }

    #[test]
    fn the_values_of_secrets_are_not_shown() {
        let shown = mistake("password = \"hunter2\"\n");
        assert_eq!(shown.text.as_deref(), Some("password = (hidden)"));
        assert!(!shown.to_string().contains("hunter2"), "{shown}");
    }

    #[test]
    fn validation_points_at_the_line_of_its_key() {
        let loaded = load("# head\n[mqtt]\nbroker = \"b\"\n").unwrap();
        let error = loaded.source.mistake("mqtt.broker", "no scheme", "write \"tcp://host:1883\"");
        assert_eq!(
            error.to_string(),
            "agent.toml, line 3, key `mqtt.broker`: no scheme\n     3 | broker = \"b\"\n  fix: write \"tcp://host:1883\""
        );
    }

    #[test]
    fn files_are_read_up_to_their_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.toml");
        std::fs::write(&path, "budget = \"1MiB\"\n").unwrap();
        assert_eq!(read::<Raw>(&path).unwrap().raw.budget, Some(ByteSize::mib(1)));

        let mut file = File::create(&path).unwrap();
        file.write_all(&vec![b'#'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]).unwrap();
        assert!(matches!(read::<Raw>(&path), Err(ConfigError::TooLarge { .. })));
        assert!(matches!(read::<Raw>(&dir.path().join("none")), Err(ConfigError::Unreadable { .. })));
    }
}

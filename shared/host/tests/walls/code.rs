//! Tells code from comments and strings, and what is shipped from what is only tested.
//!
//! Promise: line numbers are kept: what is not code becomes spaces.
//! Absent: a parser. Macros that build names are not seen through.

/// `text` with comments, strings and character literals blanked.
pub(crate) fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = blank_length(rest, out.chars().next_back());
        let (skipped, tail) = rest.split_at(if length == 0 { c.len_utf8() } else { length });
        if length == 0 {
            out.push(c);
        } else {
            out.extend(skipped.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = tail;
    }
    out
}

/// How many bytes at the start of `rest` are no code; 0 when it starts with code.
fn blank_length(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !in_word);
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &raw[hashes + 1..];
            let start = rest.len() - body.len();
            return body.find(&end).map_or(rest.len(), |at| start + at + end.len());
        }
    }
    if rest.starts_with('"') {
        return quoted(rest);
    }
    if rest.starts_with('\'') { character(rest) } else { 0 }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal, or 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            rest[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 3)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 0,
        },
        None => 0,
    }
}

/// The part of a file's code that is shipped: everything before `#[cfg(test)] mod … {`.
pub(crate) fn shipped(code: &str) -> &str {
    let mut at = 0;
    for line in code.split_inclusive('\n') {
        if line.trim() == "#[cfg(test)]" {
            let next =
                code[at + line.len()..].lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            if next.contains("mod ") && next.trim_end().ends_with('{') {
                return &code[..at];
            }
        }
        at += line.len();
    }
    code
}

/// The names of modules that `code` declares for tests alone (`#[cfg(test)] mod name;`).
pub(crate) fn test_modules(code: &str) -> Vec<String> {
    let lines: Vec<&str> = code.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let pairs = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]");
    pairs
        .filter_map(|pair| Some(pair[1].strip_prefix("mod ")?.strip_suffix(';')?.trim().to_owned()))
        .collect()
}

/// The lines (from 1) on which `word` stands in `code`. Where the word begins or ends with a letter,
/// it must be a whole word there: `rand::` is not found in `fastrand::`. After an underscore a word may
/// go on.
pub(crate) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let of_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut lines = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let whole = line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back().is_some_and(of_word);
            let after = line[at + word.len()..].chars().next().is_some_and(of_word);
            let part = before && word.starts_with(of_word) || after && word.ends_with(char::is_alphanumeric);
            !part
        });
        if whole {
            lines.push(index + 1);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_no_code() {
        let text =
            "a // todo\n/* b /* c */ d */ e\n\"f\\\" g\" h r#\"i \" j\"# k 'l' m '\\'' n 'static o '\"' p";
        let code = code(text);
        assert_eq!(code.lines().count(), text.lines().count());
        let words: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(words, ["a", "e", "h", "k", "m", "n", "'static", "o", "p"]);
    }

    #[test]
    fn what_follows_the_test_module_is_not_shipped() {
        assert_eq!(shipped("a\n#[cfg(test)]\nmod tests {\nb\n}\n"), "a\n");
        assert_eq!(shipped("#[cfg(test)]\nmod fixture;\nb\n"), "#[cfg(test)]\nmod fixture;\nb\n");
        assert_eq!(test_modules("#[cfg(test)]\nmod fixture;\nmod real;\n"), ["fixture"]);
    }

    #[test]
    fn words_are_found_whole() {
        assert_eq!(lines_with("fastrand::u8\nrand::random\n", "rand::"), [2]);
        assert_eq!(lines_with("Instants\nan Instant\nmyInstant\n", "Instant"), [2]);
        assert_eq!(lines_with("fn test_a()\nfn latest_b()\n", "fn test_"), [1]);
    }
}

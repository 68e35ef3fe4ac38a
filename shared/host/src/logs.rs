//! Logs: tracing, written the way its reader wants it.
//!
//! Promise: a terminal gets colours, journald gets priorities and no second time stamp, a collector
//! gets one JSON object per line. ERROR means that somebody must act, WARN that somebody should look
//! tomorrow, INFO a change of state.
//! Absent: no log files and no rotation; those are journald's.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::field::Field;
use tracing::metadata::LevelFilter;
use tracing::{Dispatch, Event, Level, Subscriber, dispatcher};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Full, Writer, debug_fn};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

/// The environment variable that overrides the configured level.
pub const LEVEL_VARIABLE: &str = "MILLRACE_LOG";

/// Libraries whose INFO is our DEBUG.
const QUIET: &str = "tokio_cron_scheduler=warn,quinn=warn,quinn_proto=warn,quinn_udp=error,rustls=warn,rumqttc=warn,openraft=off";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Text; for journald with priorities when it listens, else with time stamps.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What the config says about logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// A level (`info`) or directives (`info,millrace_link=debug`).
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is not one.
    #[error(
        "`{text}` (from {origin}) is not a log level: {reason}; write for example \"info\" or \
         \"info,millrace_link=debug\""
    )]
    Level {
        /// The text.
        text: String,
        /// The variable or the config.
        origin: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Something in this process has set up logging before.
    #[error("logging is already set up in this process")]
    Taken,
}

/// Where lines go, decided from the surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain { colours: bool },
    Journal,
    Json,
}

/// Sets up logging for the whole process. Lines go to standard error.
///
/// # Errors
/// [`LogError`] when the level is wrong or logging is set up already.
pub fn init(options: &LogOptions) -> Result<(), LogError> {
    let filter = filter(std::env::var(LEVEL_VARIABLE).ok().as_deref(), &options.level)?;
    let style = style(
        options.format,
        std::env::var_os("JOURNAL_STREAM").is_some(),
        crate::terminal::colours(io::stderr().is_terminal()),
    );
    dispatcher::set_global_default(dispatch(filter, style, io::stderr)).map_err(|_| LogError::Taken)
}

/// The configured level, or the variable's when it is set and not empty, with noisy libraries quieted.
/// Directives for those libraries that stand in either text win.
fn filter(variable: Option<&str>, configured: &str) -> Result<Targets, LogError> {
    let (text, origin) = match variable.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => (text, LEVEL_VARIABLE),
        None => (configured, "the config"),
    };
    let wrong = |reason: String| LogError::Level { text: text.to_owned(), origin, reason };
    // A filter takes any word for the name of a target; a level that is none must not pass.
    for directive in text.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level);
        if level.parse::<LevelFilter>().is_err() {
            return Err(wrong(format!("`{level}` is none of error, warn, info, debug, trace, off")));
        }
    }
    format!("{QUIET},{text}").parse::<Targets>().map_err(|error| wrong(error.to_string()))
}

fn style(format: LogFormat, journal: bool, colours: bool) -> Style {
    match (format, journal) {
        (LogFormat::Json, _) => Style::Json,
        (LogFormat::Text, true) => Style::Journal,
        (LogFormat::Text, false) => Style::Plain { colours },
    }
}

fn dispatch<W>(filter: Targets, style: Style, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let base = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(writer);
    let base = base.with_ansi(false);
    let fields = debug_fn(field).delimited(" ");
    match style {
        Style::Plain { colours } => {
            Dispatch::new(base.with_ansi(colours).fmt_fields(fields).finish().with(filter))
        }
        Style::Journal => {
            let line = Format::default().without_time().with_level(false).with_ansi(false);
            Dispatch::new(base.event_format(Prioritised(line)).fmt_fields(fields).finish().with(filter))
        }
        Style::Json => Dispatch::new(base.json().flatten_event(true).finish().with(filter)),
    }
}

/// One field of a line. Values come from peers too, so that nothing in them may be obeyed.
fn field(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = crate::terminal::visible(&value);
    match field.name() {
        "message" => write!(out, "{value}"),
        name => write!(out, "{name}={value}"),
    }
}

/// Text with the `<N>` prefix of sd-daemon(3), from which journald takes the priority of a line.
struct Prioritised(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for Prioritised
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(out, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, out, event)
    }
}

/// Syslog's number for a level. TRACE and DEBUG share 7: there is nothing below it.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(style: Style) -> String {
        said(style, || {
            tracing::warn!(lane = "urgent", "backlog grows");
            tracing::debug!("not at this level");
        })
    }

    fn said(style: Style, say: impl FnOnce()) -> String {
        let paper = Paper::default();
        let writer = {
            let paper = paper.clone();
            move || paper.clone()
        };
        let dispatch = dispatch(filter(None, "info").unwrap(), style, writer);
        dispatcher::with_default(&dispatch, say);
        String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn journald_gets_priorities_and_no_time() {
        let line = written(Style::Journal);
        assert_eq!(line, "<4>millrace_host::logs::tests: backlog grows lane=\"urgent\"\n");
    }

    #[test]
    fn what_a_peer_wrote_ends_no_line_and_changes_no_colour() {
        let hostile = "x\n<3>all is lost \u{1b}[31m\u{202e}";
        for style in [Style::Journal, Style::Plain { colours: false }] {
            let text = said(style, || tracing::info!(reason = %hostile, peer = hostile, "left: {hostile}"));
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains("left: x\\n<3>all") && !text.contains('\u{1b}'), "{text}");
            assert!(text.contains(" reason=x\\n<3>all is lost \\u{1b}[31m\\u{202e} peer=\"x\\n"), "{text}");
        }
    }

    #[test]
    fn a_collector_gets_one_object_per_line() {
        let text = written(Style::Json);
        let value: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(
            (&value["level"], &value["message"], &value["lane"]),
            (&"WARN".into(), &"backlog grows".into(), &"urgent".into())
        );
    }

    #[test]
    fn colours_are_for_terminals_only() {
        assert!(!written(Style::Plain { colours: false }).contains('\u{1b}'));
        assert!(written(Style::Plain { colours: true }).contains('\u{1b}'));
        assert_eq!(style(LogFormat::Text, true, true), Style::Journal);
        assert_eq!(style(LogFormat::Json, true, true), Style::Json);
        assert_eq!(style(LogFormat::Text, false, true), Style::Plain { colours: true });
    }

    #[test]
    fn the_variable_wins_over_the_config() {
        assert!(filter(Some("debug"), "nonsense").unwrap().to_string().contains("debug"));
        assert!(filter(Some(" "), "warn").unwrap().to_string().contains("warn"));
    }

    #[test]
    fn a_wrong_level_names_its_origin_and_an_example() {
        for (variable, configured, origin) in
            [(None, "loud", "the config"), (Some("a=loud"), "info", LEVEL_VARIABLE)]
        {
            let message = filter(variable, configured).unwrap_err().to_string();
            assert!(message.contains(origin) && message.contains("\"info\""), "{message}");
        }
    }
}

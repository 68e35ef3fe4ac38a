//! The hub's config: what may stand in the file ([`raw`]), what the program runs with ([`checked`]), and a complete
//! example whose values are the defaults.

pub mod checked;
pub mod raw;

use std::path::Path;

use millrace_host::config::{ConfigError, Source};

pub use checked::{Config, Preset, Quota, Repair, Retention, valid_address};
pub use raw::Raw;

/// A complete, commented file.
pub const EXAMPLE: &str = include_str!("../../../systemd/hub.toml");

/// Reads and checks the file at `path`.
///
/// # Errors
/// When it cannot be read, or the first mistake in it.
pub fn read(path: &Path) -> Result<Config, ConfigError> {
    Config::check(&millrace_host::config::read::<Raw>(path)?)
}

/// The defaults, with this data directory.
///
/// # Errors
/// When the directory's name is empty.
pub fn defaults(data: &Path) -> Result<Config, ConfigError> {
    let source = Source::named("--data", "");
    let mut loaded = millrace_host::config::parse::<Raw>(source)?;
    data.clone_into(&mut loaded.raw.data_dir);
    Config::check(&loaded)
}

#[cfg(test)]
mod tests {
    use millrace_hub_engine::WhenFull;

    use super::*;

    fn check(text: &str) -> Result<Config, ConfigError> {
        Config::check(&millrace_host::config::parse(Source::named("hub.toml", text))?)
    }

    fn keys(prefix: &str, value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(table) => {
                table.iter().for_each(|(key, value)| keys(&format!("{prefix}.{key}"), value, found));
            }
            _ => found.push(prefix.to_owned()),
        }
    }

    #[test]
    fn the_example_is_complete_and_equals_the_defaults() {
        let example = millrace_host::config::parse::<Raw>(Source::named("example", EXAMPLE)).unwrap().raw;
        assert_eq!(example, Raw::default());
        let written: toml::Table = EXAMPLE.parse().unwrap();
        let (mut named, mut known) = (Vec::new(), Vec::new());
        keys("", &serde_json::to_value(&written).unwrap(), &mut named);
        keys("", &serde_json::to_value(Raw::default()).unwrap(), &mut known);
        named.sort();
        known.sort();
        assert_eq!(named, known);
        assert_eq!(check(EXAMPLE).unwrap(), check("").unwrap());
    }

    #[test]
    fn the_defaults_are_those_of_the_engine() {
        let config = check("").unwrap();
        let engine = millrace_hub_engine::Config::new(millrace_model::HubId::from_bytes([0; 16]), "n", "r");
        assert_eq!(config.quota.device_journals, engine.device_journals_max);
        assert_eq!(config.quota.journal_holes, engine.journal_ranges_max);
        assert_eq!(config.quota.memory_bytes, engine.memory_budget_bytes);
        assert_eq!(config.quota.device_memory_bytes, engine.credit_max_bytes);
        assert_eq!(config.quota.device_bytes, engine.device_bytes_max);
        assert_eq!((config.retention.keep, config.retention.when_full), (engine.keep, engine.when_full));
        let repair = &config.repair;
        assert_eq!(
            (repair.interval, repair.batch_bytes),
            (engine.repair_interval, engine.repair_batch_bytes)
        );
        assert_eq!(repair.consistency_timeout, engine.consistency_timeout);
        assert_eq!(engine.idle_timeout, millrace_link::limits::HUB_IDLE_TIMEOUT);
    }

    #[test]
    fn retention_says_how_long_records_stay_and_what_goes_when_the_store_is_full() {
        let text =
            "[retention]\nkeep = \"365days\"\nwhen_full = \"drop-oldest\"\nkeep_at_least = \"7days\"\n";
        let retention = check(text).unwrap().retention;
        let days = |count: u64| std::time::Duration::from_secs(count * 86_400);
        assert_eq!(retention.keep, Some(days(365)));
        assert_eq!(retention.when_full, WhenFull::DropOldest { keep_at_least: days(7) });
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_with_line_and_fix() {
        for (text, key) in [
            ("[quic]\nlisten = \"here\"\n", "quic.listen"),
            ("[quic]\nadvertise = [\"hub\"]\n", "quic.advertise"),
            ("[http]\nreaders = 0\n", "http.readers"),
            ("[certificates]\nlife = \"1s\"\n", "certificates.life"),
            ("[quota]\ndevice_journals = 1000\n", "quota.device_journals"),
            ("[store]\nbudget = \"1KiB\"\n", "store.budget"),
            ("region = \"a\\u0007b\"\n", "region"),
            ("[retention]\nkeep = \"a while\"\n", "retention.keep"),
            ("[retention]\nkeep = \"1m\"\n", "retention.keep"),
            ("[retention]\nschedule = \"hourly\"\n", "retention.schedule"),
            ("[repair]\nschedule = \"nightly\"\n", "repair.schedule"),
            ("[repair]\ninterval = \"1s\"\n", "repair.interval"),
            ("[repair]\nmax_batch_size = \"1KiB\"\n", "repair.max_batch_size"),
            ("[scrub]\nwithin = \"1s\"\n", "scrub.within"),
            ("[scrub]\ntranquility = 100000\n", "scrub.tranquility"),
            (
                "[retention]\nkeep = \"7days\"\nwhen_full = \"drop-oldest\"\nkeep_at_least = \"8days\"\n",
                "retention.keep_at_least",
            ),
        ] {
            let error = check(text).unwrap_err();
            let mistake = error.mistake().unwrap();
            assert_eq!(mistake.key.as_deref(), Some(key), "{error}");
            assert!(mistake.line.is_some() && mistake.fix.contains("write"), "{error}");
        }
        assert!(check("[quik]\n").unwrap_err().to_string().contains("quic"));
    }
}

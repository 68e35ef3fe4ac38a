//! What the configuration means, after every bound was checked. Errors name file, line, key and fix.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_agent_engine::Policy;
use millrace_host::config::{ByteSize, ConfigError, Loaded, Source};
use millrace_host::logs::LogOptions;
use millrace_host::schedules::Zone;
use millrace_link::Road;
use millrace_model::{AckLevel, Lane};

use super::broker_url::BrokerUrl;
use super::raw;
use crate::mqtt::{BrokerTls, Filter, LanePattern, Subscription, Version};

/// The smallest budget: below it there is no room for a segment, its log and a reserve.
const BUDGET_BYTES_MIN: u64 = 4 << 20;

/// Shortest time for a pass of the scrub.
const SCRUB_MIN: Duration = Duration::from_secs(60);

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where identity and journals live.
    pub data_dir: PathBuf,
    /// How logs look.
    pub log: LogOptions,
    /// Where readings come from.
    pub mqtt: MqttSettings,
    /// Where they go.
    pub hub: HubSettings,
    /// How many bytes may go, and when.
    pub uplink: UplinkSettings,
    /// Bytes on disk.
    pub disk_budget_bytes: u64,
    /// Part of them that is kept free.
    pub disk_reserve_bytes: u64,
    /// How long acknowledged records stay.
    pub grace: Duration,
    /// Within which everything stored is read again.
    pub scrub_within: Duration,
    /// What each lane does when the budget is used up.
    pub policies: [Policy; Lane::ALL.len()],
    /// Bytes of history that a new disk gets back from the hubs.
    pub history_bytes: u64,
    /// Where health, status and metrics are served.
    pub http: SocketAddr,
}

/// Where readings come from.
#[derive(Clone, Debug)]
pub enum MqttSettings {
    /// From clients of the embedded broker.
    Embedded {
        /// Where it listens.
        listen: SocketAddr,
        /// Whether that may be beyond loopback without a login.
        open_to_the_network: bool,
        /// User name that clients must show, with where the password stands.
        login: Option<(String, Option<PathBuf>)>,
        /// Lanes by topic.
        lanes: Vec<LanePattern>,
    },
    /// From a broker beside us.
    Broker {
        /// Where it stands.
        url: BrokerUrl,
        /// MQTT 3.1.1 or 5.
        version: Version,
        /// The name of our session; the device's id when absent.
        client_id: Option<String>,
        /// User name, with where the password stands.
        login: Option<(String, Option<PathBuf>)>,
        /// TLS, when the URL says so.
        tls: Option<BrokerTls>,
        /// What we ask for.
        subscriptions: Vec<Subscription>,
    },
}

/// Where readings go.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// `host:port` of hubs; empty when those known from enrolment apply.
    pub addresses: Vec<String>,
    /// Whether hubs that no address names, and that hubs tell of, are dialled too.
    pub follow: bool,
    /// The region to be preferred, if one is.
    pub region: Option<String>,
    /// What the road to them is like.
    pub road: Road,
    /// How durable a record must be before it may be trimmed here.
    pub level: AckLevel,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            follow: true,
            region: None,
            road: Road::default(),
            level: AckLevel::Hub,
        }
    }
}

/// How many bytes may go, and when.
#[derive(Clone, Debug)]
pub struct UplinkSettings {
    /// Bytes per second outside of windows.
    pub rate: Option<u64>,
    /// Whether each byte costs money.
    pub metered: bool,
    /// How hours are meant.
    pub zone: Zone,
    /// Windows with another rate.
    pub windows: Vec<UplinkWindow>,
}

/// A window with its own rate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UplinkWindow {
    /// When it opens, as a cron expression.
    pub open: String,
    /// How long it stays open.
    pub length: Duration,
    /// Bytes per second while it is open.
    pub rate: Option<u64>,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The first mistake, with its line and fix.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::check(millrace_host::config::read(path)?)
    }

    /// What applies to a data directory without a file.
    ///
    /// # Errors
    /// Never for the defaults; the type is that of [`Self::check`].
    pub fn defaults(data_dir: &Path) -> Result<Self, ConfigError> {
        let raw = raw::File { data_dir: data_dir.to_owned(), ..raw::File::default() };
        Self::check(Loaded { raw, source: Source::named("the defaults", "") })
    }

    /// Checks a raw configuration.
    ///
    /// # Errors
    /// The first mistake, with its line and fix.
    pub fn check(loaded: Loaded<raw::File>) -> Result<Self, ConfigError> {
        let Loaded { raw, source } = loaded;
        let mqtt = mqtt(&raw, &source)?;
        let windows = windows(&raw.uplink, &source)?;
        if !raw.http.listen.ip().is_loopback() {
            let problem = "health, status and metrics have no login";
            return Err(source.mistake("http.listen", problem, "write an address of 127.0.0.1 or [::1]"));
        }
        let road = raw.hub.road.parse().map_err(|_| {
            let problem = format!("`{}` is no road", raw.hub.road);
            source.mistake("hub.road", problem, "write \"fibre\", \"cellular\" or \"satellite\"")
        })?;
        for (at, address) in raw.hub.addresses.iter().enumerate() {
            if !address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            {
                let problem = format!("`{address}` is no address of a hub");
                return Err(source.mistake(&format!("hub.addresses.{at}"), problem, "write \"host:port\""));
            }
        }
        if raw.hub.region.as_ref().is_some_and(|region| region.trim().is_empty()) {
            let fix = "write the region of a hub as `millrace-agent routes` shows it, or remove the line";
            return Err(source.mistake("hub.region", "a region has a name", fix));
        }
        if !raw.hub.follow && raw.hub.addresses.is_empty() {
            let problem = "without addresses of your own there is nobody to dial but those that hubs tell of";
            return Err(source.mistake(
                "hub.follow",
                problem,
                "name every hub in `addresses`, or remove the line",
            ));
        }
        let budget = raw.store.budget.as_u64();
        let reserve = raw.store.reserve.as_u64();
        if budget < BUDGET_BYTES_MIN {
            let problem = "it is too small to hold a journal and its log";
            return Err(source.mistake("store.budget", problem, "write at least \"4MiB\""));
        }
        if reserve.saturating_mul(2) > budget {
            let problem = "it takes more than half of the budget";
            return Err(source.mistake("store.reserve", problem, "make it smaller, or the budget larger"));
        }
        let scrub_within = raw.store.scrub.duration();
        if scrub_within < SCRUB_MIN {
            let problem = format!("{} is too short", raw.store.scrub);
            return Err(source.mistake("store.scrub", problem, "write at least \"60s\""));
        }
        let full = &raw.store.full;
        let policies = [
            policy("store.full.urgent", &full.urgent, &source)?,
            policy("store.full.normal", &full.normal, &source)?,
            policy("store.full.bulk", &full.bulk, &source)?,
        ];
        Ok(Self {
            data_dir: raw.data_dir,
            log: LogOptions { level: raw.log, format: raw.log_format },
            mqtt,
            hub: HubSettings {
                addresses: raw.hub.addresses,
                follow: raw.hub.follow,
                region: raw.hub.region,
                road,
                level: raw.hub.ack,
            },
            uplink: UplinkSettings {
                rate: raw.uplink.rate.limit(),
                metered: raw.uplink.metered,
                zone: raw.uplink.zone,
                windows,
            },
            disk_budget_bytes: budget,
            disk_reserve_bytes: reserve,
            grace: raw.store.grace.duration(),
            scrub_within,
            policies,
            history_bytes: history(&raw.restore.history, &source)?,
            http: raw.http.listen,
        })
    }
}

fn windows(uplink: &raw::Uplink, source: &Source) -> Result<Vec<UplinkWindow>, ConfigError> {
    let check = |(at, window): (usize, &raw::Window)| {
        millrace_host::schedules::Expression::new(&window.open).map_err(|error| {
            let fix = "write for example \"0 22 * * *\": every day at 22:00";
            source.mistake(&format!("uplink.window.{at}.open"), error.to_string(), fix)
        })?;
        if window.length.duration().is_zero() {
            let key = format!("uplink.window.{at}.for");
            return Err(source.mistake(
                &key,
                "a window of no length never opens",
                "write for example \"8h\"",
            ));
        }
        let (open, length) = (window.open.clone(), window.length.duration());
        Ok(UplinkWindow { open, length, rate: window.rate.limit() })
    };
    uplink.window.iter().enumerate().map(check).collect()
}

/// How much comes back. `all` is bounded by half of the budget, as everything is.
fn history(text: &str, source: &Source) -> Result<u64, ConfigError> {
    match text {
        "none" => Ok(0),
        "all" => Ok(u64::MAX),
        text => text.parse().map(ByteSize::as_u64).map_err(|_| {
            let problem = format!("`{text}` is no amount of history");
            source.mistake("restore.history", problem, "write for example \"256MiB\", \"none\" or \"all\"")
        }),
    }
}

fn policy(key: &str, text: &str, source: &Source) -> Result<Policy, ConfigError> {
    let keep = text.strip_prefix("thin:").and_then(|n| n.parse().ok());
    match (text, keep) {
        ("block", _) => Ok(Policy::Block),
        ("drop-oldest", _) => Ok(Policy::DropOldest),
        ("drop-newest", _) => Ok(Policy::DropNewest),
        (_, Some(keep @ 2..)) => Ok(Policy::Thin(keep)),
        _ => {
            let problem = format!("`{text}` is no policy");
            let fix = "write \"block\", \"drop-oldest\", \"drop-newest\", or \"thin:10\" to keep one in 10";
            Err(source.mistake(key, problem, fix))
        }
    }
}

fn mqtt(raw: &raw::File, source: &Source) -> Result<MqttSettings, ConfigError> {
    let mqtt = &raw.mqtt;
    let subscriptions = subscriptions(&raw.subscription, source)?;
    if mqtt.username.is_none() && mqtt.password_file.is_some() {
        let problem = "a password without a user name is never asked for";
        return Err(source.mistake("mqtt.password_file", problem, "add `username`, or remove the line"));
    }
    let login = mqtt.username.clone().map(|user| (user, mqtt.password_file.clone()));
    let open = !mqtt.listen.ip().is_loopback() && login.is_none() && !mqtt.open_to_the_network;
    if open && mqtt.broker.is_none() {
        let problem = "the embedded broker would listen beyond loopback without a login";
        let fix = "add `username` and `password_file`, or say `open_to_the_network = true`";
        return Err(source.mistake("mqtt.listen", problem, fix));
    }
    let Some(broker) = &mqtt.broker else {
        let pattern = |s: Subscription| LanePattern { filter: s.filter, lane: s.lane };
        let lanes = subscriptions.into_iter().map(pattern).collect();
        let (listen, open_to_the_network) = (mqtt.listen, mqtt.open_to_the_network);
        return Ok(MqttSettings::Embedded { listen, open_to_the_network, login, lanes });
    };
    let url = BrokerUrl::parse(broker).map_err(|problem| {
        source.mistake("mqtt.broker", problem, "write for example \"mqtt://127.0.0.1:1883\"")
    })?;
    if subscriptions.is_empty() {
        let problem = "no subscription: nothing would ever arrive";
        return Err(source.mistake("subscription", problem, "add [[subscription]] with filter = \"#\""));
    }
    let client_files = match (&mqtt.certificate_file, &mqtt.key_file) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        _ => {
            let problem = "a certificate needs its key, and a key its certificate";
            return Err(source.mistake("mqtt.certificate_file", problem, "name both, or neither"));
        }
    };
    let tls = url.tls.then(|| BrokerTls { ca_file: mqtt.ca_file.clone(), client_files, server_name: None });
    let (version, client_id) = (mqtt.version, mqtt.client_id.clone());
    Ok(MqttSettings::Broker { url, version, client_id, login, tls, subscriptions })
}

fn subscriptions(raw: &[raw::Subscription], source: &Source) -> Result<Vec<Subscription>, ConfigError> {
    let mut checked: Vec<Subscription> = Vec::new();
    for (at, subscription) in raw.iter().enumerate() {
        let filter = Filter::new(&subscription.filter).map_err(|error| {
            let key = format!("subscription.{at}.filter");
            source.mistake(&key, error.to_string(), "write for example \"plant/+/temperature\" or \"#\"")
        })?;
        if subscription.qos > 2 {
            let key = format!("subscription.{at}.qos");
            return Err(source.mistake(&key, "there is no such quality of service", "write 0, 1 or 2"));
        }
        if checked.iter().any(|earlier| earlier.filter == filter) {
            let key = format!("subscription.{at}.filter");
            return Err(source.mistake(
                &key,
                "this filter stands in the file twice",
                "remove one of the two",
            ));
        }
        checked.push(Subscription { filter, qos: subscription.qos, lane: subscription.lane });
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Config, ConfigError> {
        Config::check(millrace_host::config::parse(Source::named("agent.toml", text))?)
    }

    #[test]
    fn an_empty_file_is_the_defaults_and_the_defaults_are_valid() {
        let config = check("").unwrap();
        assert!(matches!(config.mqtt, MqttSettings::Embedded { listen, .. } if listen.ip().is_loopback()));
        assert_eq!(config.history_bytes, 256 << 20);
        assert_eq!(config.policies, [Policy::Block, Policy::DropOldest, Policy::DropOldest]);
    }

    #[test]
    fn history_is_an_amount_or_none_or_all() {
        for (text, bytes) in [("none", 0), ("1MiB", 1 << 20), ("all", u64::MAX)] {
            let config = check(&format!("[restore]\nhistory = \"{text}\"")).unwrap();
            assert_eq!(config.history_bytes, bytes);
        }
    }

    #[test]
    fn each_mistake_is_named_with_its_line_and_a_fix() {
        let cases = [
            ("[store]\nbudget = \"1MiB\"", "store.budget", "at least"),
            ("[store]\nreserve = \"900MiB\"", "store.reserve", "smaller"),
            ("[store]\nscrub = \"1s\"", "store.scrub", "at least"),
            ("[store.full]\nbulk = \"thin:1\"", "store.full.bulk", "thin:10"),
            ("[restore]\nhistory = \"much\"", "restore.history", "none"),
            ("[hub]\nroad = \"motorway\"", "hub.road", "cellular"),
            ("[hub]\nfollow = false", "hub.follow", "addresses"),
            ("[hub]\nregion = \" \"", "hub.region", "routes"),
            ("[mqtt]\nlisten = \"0.0.0.0:1883\"", "mqtt.listen", "password_file"),
            ("[http]\nlisten = \"0.0.0.0:7480\"", "http.listen", "127.0.0.1"),
            ("[mqtt]\nbroker = \"tcp://x\"", "mqtt.broker", "mqtt://"),
            ("[mqtt]\nbroker = \"mqtt://x\"\nversion = \"4\"", "mqtt.version", "3.1.1"),
            ("[[subscription]]\nfilter = \"a/#/b\"", "subscription.0.filter", "plant/"),
            ("[[uplink.window]]\nopen = \"at noon\"\nfor = \"1h\"\nrate = \"1MiB/s\"", "open", "every day"),
        ];
        for (text, key, fix) in cases {
            let error = check(text).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(fix), "{text}\n{error}");
        }
    }
}

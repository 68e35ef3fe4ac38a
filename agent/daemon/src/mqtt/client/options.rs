//! What the subscriber must know: which broker, as whom, which topics.
//!
//! Absent: the configuration file; the daemon translates it.

use std::path::PathBuf;
use std::time::Duration;

use millrace_model::Lane;

use crate::mqtt::filter::Filter;
use crate::mqtt::login::Login;
use crate::mqtt::packet::Version;

/// One subscription and the lane of what it brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// Which topics. When two subscriptions cover a topic, the earlier one in the list gives the lane.
    pub filter: Filter,
    /// The highest quality of service that is asked for: 0, 1 or 2. The publisher's own may be lower.
    pub qos: u8,
    /// The lane of its records.
    pub lane: Lane,
}

/// TLS towards the broker. The files are read at each connection, so a renewed certificate needs no restart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BrokerTls {
    /// PEM file of the authorities to trust; without it the system's own, `/etc/ssl/certs/ca-certificates.crt`.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our certificate chain and its key, for brokers that ask for one.
    pub client_files: Option<(PathBuf, PathBuf)>,
    /// The name in the broker's certificate, when it is not the host that is dialled.
    pub server_name: Option<String>,
}

/// The subscriber's options. Start from [`BrokerOptions::new`] and change what must differ.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Host name or address of the broker.
    pub host: String,
    /// Its port; 1883 plain, 8883 with TLS by custom.
    pub port: u16,
    /// The name of our session at the broker. It must stay the same for ever and be nobody else's: the broker
    /// keeps what we did not acknowledge under it.
    pub client_id: String,
    /// MQTT 3.1.1 or 5.
    pub version: Version,
    /// User name and password.
    pub login: Option<Login>,
    /// TLS, or plain TCP without it.
    pub tls: Option<BrokerTls>,
    /// Seconds without traffic after which a ping is due; 5 to 65,535. Short finds a dead broker sooner.
    pub keep_alive_s: u16,
    /// How long an MQTT 5 broker keeps the session of an agent that is away. 3.1.1 brokers decide themselves.
    pub session_expiry: Duration,
    /// The subscriptions, at least one.
    pub subscriptions: Vec<Subscription>,
    /// Bytes of the largest packet that is taken at once. A larger one ends the connection, and the next
    /// connection is opened just wide enough for it, so that it can be refused and declared.
    pub packet_bytes_max: usize,
    /// Publications that may be on their way to the disk; full: the socket is not read. MQTT 5 brokers are told.
    pub window_publications: u16,
    /// Bytes that they may hold; full: the socket is not read.
    pub window_bytes: usize,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long `run` waits for open receipts when it is stopped.
    pub drain_timeout: Duration,
    /// Seed of the jitter; different on every device.
    pub seed: u64,
}

/// Why options cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An empty client id has no persistent session.
    #[error("mqtt client id is empty: choose one that stays the same, for example the device's name")]
    ClientId,
    /// Nothing to subscribe to.
    #[error("no mqtt subscription is configured: add at least one topic filter")]
    NoSubscription,
    /// Not 0, 1 or 2.
    #[error("subscription `{filter}` asks for QoS {qos}: it must be 0, 1 or 2")]
    Qos {
        /// The filter.
        filter: String,
        /// What was asked.
        qos: u8,
    },
    /// The same filter twice.
    #[error("subscription `{0}` is configured twice: a topic can have one lane only")]
    Twice(String),
    /// Too short.
    #[error("mqtt keep-alive of {0} s is too short: at least 5 s")]
    KeepAlive(u16),
    /// A limit of zero.
    #[error("mqtt {0} must not be 0")]
    Zero(&'static str),
}

impl BrokerOptions {
    /// Options with the defaults for everything that is not named here.
    #[must_use]
    pub fn new(host: &str, port: u16, client_id: &str, subscriptions: Vec<Subscription>) -> Self {
        Self {
            host: host.to_owned(),
            port,
            client_id: client_id.to_owned(),
            version: Version::V5,
            login: None,
            tls: None,
            keep_alive_s: 30,
            // A month: an agent in a drawer comes back to what the broker could keep.
            session_expiry: Duration::from_secs(30 * 24 * 3_600),
            subscriptions,
            // Twice the largest record, so that what the engine refuses for its size arrives at it at once.
            packet_bytes_max: 1 << 20,
            window_publications: 4_096,
            window_bytes: 4 << 20,
            connect_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(3),
            seed: 0,
        }
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// The first thing that cannot work.
    pub fn validate(&self) -> Result<(), OptionsError> {
        if self.client_id.is_empty() {
            return Err(OptionsError::ClientId);
        }
        if self.subscriptions.is_empty() {
            return Err(OptionsError::NoSubscription);
        }
        for (at, subscription) in self.subscriptions.iter().enumerate() {
            let filter = subscription.filter.as_str().to_owned();
            if subscription.qos > 2 {
                return Err(OptionsError::Qos { filter, qos: subscription.qos });
            }
            if self.subscriptions.iter().take(at).any(|earlier| earlier.filter == subscription.filter) {
                return Err(OptionsError::Twice(filter));
            }
        }
        if self.keep_alive_s < 5 {
            return Err(OptionsError::KeepAlive(self.keep_alive_s));
        }
        let limits = [
            ("packet_bytes_max", self.packet_bytes_max),
            ("window_publications", usize::from(self.window_publications)),
            ("window_bytes", self.window_bytes),
        ];
        match limits.into_iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(OptionsError::Zero(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> BrokerOptions {
        let filter = Filter::new("plant/#").unwrap();
        BrokerOptions::new("broker", 1883, "press", vec![Subscription { filter, qos: 1, lane: Lane::Normal }])
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(options().validate(), Ok(()));
    }

    #[test]
    fn what_cannot_work_is_named() {
        let refused = |change: fn(&mut BrokerOptions)| {
            let mut options = options();
            change(&mut options);
            options.validate().unwrap_err()
        };
        assert_eq!(refused(|o| o.client_id.clear()), OptionsError::ClientId);
        assert_eq!(refused(|o| o.subscriptions.clear()), OptionsError::NoSubscription);
        assert_eq!(refused(|o| o.keep_alive_s = 1), OptionsError::KeepAlive(1));
        assert_eq!(refused(|o| o.window_bytes = 0), OptionsError::Zero("window_bytes"));
        assert!(matches!(refused(|o| o.subscriptions[0].qos = 3), OptionsError::Qos { qos: 3, .. }));
        assert!(matches!(
            refused(|o| o.subscriptions.push(o.subscriptions[0].clone())),
            OptionsError::Twice(_)
        ));
    }
}

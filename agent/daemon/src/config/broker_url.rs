//! `mqtt://host:port` and `mqtts://host:port`: where a broker stands, and whether to speak TLS to it.
//!
//! Absent: user and password, which do not belong into a URL that logs and process lists show.

/// Where a broker stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BrokerUrl {
    /// Host name or address.
    pub host: String,
    /// Port; 1883, or 8883 with TLS, when the URL names none.
    pub port: u16,
    /// Whether to speak TLS.
    pub tls: bool,
}

impl BrokerUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err("it begins neither with mqtt:// nor with mqtts://"),
        };
        let rest = rest.trim_end_matches('/');
        if rest.contains('@') {
            return Err("user and password stand in `username` and `password_file`");
        }
        let (host, port) = match rest.rsplit_once(':') {
            // The colons of a bare IPv6 address are not a port's.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| "what stands behind the last colon is no port")?)
            }
            _ => (rest, if tls { 8883 } else { 1883 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains('/') {
            return Err("it names no host");
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_their_default_ports() {
        let url = |text| BrokerUrl::parse(text).unwrap();
        assert_eq!(url("mqtt://broker"), BrokerUrl { host: "broker".into(), port: 1883, tls: false });
        assert_eq!(url("mqtts://10.0.0.7/"), BrokerUrl { host: "10.0.0.7".into(), port: 8883, tls: true });
        assert_eq!(url("mqtt://[::1]:2000"), BrokerUrl { host: "::1".into(), port: 2000, tls: false });
        assert_eq!(url("mqtt://[::1]").port, 1883);
    }

    #[test]
    fn what_is_no_url_is_refused_with_the_reason() {
        for text in ["broker:1883", "http://broker", "mqtt://", "mqtt://host:port", "mqtt://user:pw@host"] {
            assert!(BrokerUrl::parse(text).is_err(), "{text}");
        }
    }
}

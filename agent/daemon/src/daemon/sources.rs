//! Where readings come from: the embedded broker, or a broker beside us.

use std::net::SocketAddr;
use std::path::PathBuf;

use millrace_model::DeviceId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::MqttSettings;
use crate::mqtt::{
    Arrival, BindError, BrokerClient, BrokerOptions, EmbeddedBroker, EmbeddedOptions, Login, OptionsError,
    StatusHandle,
};

/// The systemd credential with the password.
const CREDENTIAL: &str = "mqtt-password";

/// A password is a line, not a file of any size.
const PASSWORD_BYTES_MAX: usize = 4_096;

/// A running source.
pub struct Source {
    /// Where the embedded broker listens, when it is one.
    pub address: Option<SocketAddr>,
    /// Its counters.
    pub status: StatusHandle,
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

/// Why no readings can come.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The embedded broker cannot start.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The subscriber cannot start.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// A user without a password.
    #[error(
        "user `{0}` has no password: set `password_file` in [mqtt], or the systemd credential `{CREDENTIAL}`"
    )]
    NoPassword(String),
    /// The password cannot be read.
    #[error("the password in {} cannot be read: {why}", path.display())]
    Password {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Source {
    /// Starts what the configuration names.
    ///
    /// # Errors
    /// Why it cannot start; nothing runs then.
    pub async fn start(
        settings: MqttSettings,
        device: DeviceId,
        seed: u64,
        arrivals: mpsc::Sender<Arrival>,
    ) -> Result<Self, SourceError> {
        let (stop, stopped) = watch::channel(false);
        match settings {
            MqttSettings::Embedded { listen, open_to_the_network, login, lanes } => {
                let login = login.map(read_login).transpose()?;
                let options = EmbeddedOptions {
                    listen,
                    open_to_the_network,
                    login,
                    lanes,
                    ..EmbeddedOptions::default()
                };
                let broker = EmbeddedBroker::bind(options, arrivals).await?;
                let (address, status) = (Some(broker.local_addr()), broker.status());
                Ok(Self { address, status, task: tokio::spawn(broker.run(stopped)), stop })
            }
            MqttSettings::Broker { url, version, client_id, login, tls, subscriptions } => {
                let client_id = client_id.unwrap_or_else(|| format!("millrace-{device}"));
                let mut options = BrokerOptions::new(&url.host, url.port, &client_id, subscriptions);
                options.version = version;
                options.login = login.map(read_login).transpose()?;
                options.tls = tls;
                options.seed = seed;
                let client = BrokerClient::new(options)?;
                let status = client.status();
                Ok(Self { address: None, status, task: tokio::spawn(client.run(arrivals, stopped)), stop })
            }
        }
    }

    /// Reads no more, waits for open receipts, says goodbye.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the MQTT task ended badly");
        }
    }
}

fn read_login((user, path): (String, Option<PathBuf>)) -> Result<Login, SourceError> {
    let path = path.or_else(|| millrace_host::systemd::credential(CREDENTIAL));
    let path = path.ok_or_else(|| SourceError::NoPassword(user.clone()))?;
    let wrong = |why: String| SourceError::Password { path: path.clone(), why };
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
    let password = text.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(wrong(format!("it must have 1 to {PASSWORD_BYTES_MAX} bytes in one line")));
    }
    Ok(Login { user, password })
}

//! `millrace-hub run`: the daemon.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use millrace_host::{Clock, Exit, Shutdown, logs, privacy};

use super::beginning::absent;
use crate::config::{self, Config};
use crate::hub::Hub;
use millrace_host::Failure;

/// Threads of the runtime at least, so that one busy session never holds the driver up.
const WORKERS_MIN: usize = 2;
/// Threads that may block, at most: readers (64), enrolments (32), renewals (8) and the disk's own.
const BLOCKING_MAX: usize = 160;
/// How long threads that block may take to end with the process.
const THREADS_PATIENCE: Duration = Duration::from_secs(3);

/// What the names of its files begin with, apart from those of CA and identity, which have a stricter guard.
const FILES: [&str; 9] = [
    "journal.db",
    "cluster.json",
    "seen.jsonl",
    "registry.jsonl",
    "retention.json",
    "repairs.json",
    "scrub.json",
    "about.json",
    "runtime.json",
];

/// Run the hub until SIGTERM or SIGINT. SIGHUP reads its identity again, and of the config [quota] and [retention].
///
/// When everything listens, DIR/runtime.json says where.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  millrace-hub run --config /etc/millrace/hub.toml\n  millrace-hub run --data ./hub --listen 127.0.0.1:0 --http 127.0.0.1:0"
)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("where").required(true).multiple(true))]
pub(super) struct Run {
    /// The config file; `millrace-hub config example` prints one.
    #[arg(long, value_name = "FILE", env = "MILLRACE_HUB_CONFIG", group = "where")]
    config: Option<PathBuf>,
    /// The data directory; wins over the config's.
    #[arg(long, value_name = "DIR", env = "MILLRACE_HUB_DATA", group = "where")]
    data: Option<PathBuf>,
    /// UDP address for agents; wins over `quic.listen`.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// TCP address for callers; wins over `http.listen`.
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
}

impl Run {
    pub(super) fn perform(self) -> Result<Exit, Failure> {
        let config = self.settled()?;
        logs::init(&config.log).map_err(|error| Failure::new(Exit::Config, error.to_string()))?;
        if config.places.read_about().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Err(absent(&config.places));
        }
        privacy::tighten_aloud(config.places.root(), &FILES);
        let workers = std::thread::available_parallelism().map_or(WORKERS_MIN, usize::from).max(WORKERS_MIN);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .max_blocking_threads(BLOCKING_MAX)
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Failure::io("no threads", &error))?;
        let ended = runtime.block_on(async {
            let signals = Shutdown::install();
            let (shutdown, reload) = signals.map_err(|error| Failure::io("no signal handlers", &error))?;
            let hub = Hub::start(config, Clock::system(), shutdown).await?;
            let hub = hub.rereading(move || self.settled());
            Ok(hub.run(Some(reload)).await)
        });
        runtime.shutdown_timeout(THREADS_PATIENCE);
        ended
    }

    fn settled(&self) -> Result<Config, Failure> {
        let wrong = |error: millrace_host::config::ConfigError| Failure::new(Exit::Config, error.to_string());
        let mut config = match (&self.config, &self.data) {
            (Some(file), _) => config::read(file).map_err(wrong)?,
            (None, Some(data)) => config::defaults(data).map_err(wrong)?,
            (None, None) => return Err(Failure::new(Exit::Usage, "neither --config nor --data is given")),
        };
        if let Some(data) = &self.data {
            config.places = crate::places::Places::new(data);
        }
        config.quic = self.listen.unwrap_or(config.quic);
        config.http = self.http.unwrap_or(config.http);
        Ok(config)
    }
}

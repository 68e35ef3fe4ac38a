//! A whole small daemon in a process of its own, watched from outside as systemd would watch it.
//!
//! The test's own executable plays the daemon: it is started again with `ROLE` set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use millrace_host::logs::{LogOptions, init};
use millrace_host::systemd::{self, Watchdog};
use millrace_host::{Clock, Shutdown};

const ROLE: &str = "MILLRACE_TEST_DAEMON";

/// Long enough for any machine; a test that is well never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says when it is up, reloads, feeds its watchdog, and hangs when it should stop.
#[tokio::main(flavor = "current_thread")]
async fn daemon() {
    init(&LogOptions::default()).unwrap();
    let (shutdown, mut reload) = Shutdown::install().unwrap();
    let watchdog = Watchdog::new(Clock::system());
    let commit = watchdog.stage("commit");
    tokio::spawn(watchdog.run(shutdown.clone()));
    systemd::ready();
    systemd::status("serving\n0 devices");
    loop {
        tokio::select! {
            () = reload.requested() => {
                systemd::reloading();
                // From here on a stage is stuck: the watchdog is not fed again.
                commit.busy(Duration::ZERO);
                systemd::ready();
            }
            () = shutdown.triggered() => break,
        }
    }
    systemd::stopping();
    std::future::pending::<()>().await;
}

struct Manager {
    socket: UnixDatagram,
    child: Child,
}

impl Manager {
    fn start(test: &str, directory: &std::path::Path) -> Self {
        let path = directory.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(ROLE, "1")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "60000")
            .env("JOURNAL_STREAM", "1:2")
            .env_remove("WATCHDOG_PID")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { socket, child }
    }

    /// The next message that does not merely feed the watchdog.
    fn hear(&self) -> String {
        loop {
            let message = self.hear_all();
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
    }

    fn hear_all(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.socket.recv(&mut buffer).expect("the daemon says something");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_daemon_tells_its_life_and_a_second_signal_ends_it() {
    if std::env::var_os(ROLE).is_some() {
        return daemon();
    }
    let directory = tempfile::tempdir().unwrap();
    let mut manager = Manager::start("a_daemon_tells_its_life_and_a_second_signal_ends_it", directory.path());

    assert_eq!(manager.hear(), "READY=1\n");
    assert_eq!(manager.hear(), "STATUS=serving 0 devices\n");
    while manager.hear_all() != "WATCHDOG=1\n" {}

    manager.signal("HUP");
    let reloading = manager.hear();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.hear(), "READY=1\n");

    manager.signal("TERM");
    // At most the feeding that was under way when the stage stuck comes before the end.
    let mut fed = 0;
    while manager.hear_all() != "STOPPING=1\n" {
        fed += 1;
    }
    assert!(fed <= 1, "a stuck stage was fed {fed} times");
    manager.signal("TERM");
    let status = manager.child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(128 + 15), None));

    let mut log = String::new();
    std::io::Read::read_to_string(&mut manager.child.stderr.take().unwrap(), &mut log).unwrap();
    assert!(log.contains("<6>millrace_host::lifecycle: stopping signal=15"), "{log}");
    assert!(log.contains("<4>millrace_host::lifecycle: second signal"), "{log}");
}

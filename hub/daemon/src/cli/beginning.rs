//! What `init`, `join` and `restore` have in common: where a hub is to be made, and how it is run afterwards.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use millrace_host::{Exit, Failure};

use crate::config;
use crate::hub::identity::missing;
use crate::places::Places;

/// Refuses what can be no data directory, before anything is made.
pub(super) fn directory(data: &Path) -> Result<(), Failure> {
    // What cannot be looked at is said better by whoever makes it.
    if std::fs::metadata(data).is_ok_and(|there| !there.is_dir()) {
        let failure = Failure::new(Exit::Usage, format!("{} is not a directory", data.display()));
        return Err(failure.hint("name a directory with --data; it is made when it is not there"));
    }
    Ok(())
}

/// There is no hub in the data directory that is to be run: never made, or lost. For a member of a cluster `init` would be
/// wrong, since it makes another cluster.
pub(super) fn absent(places: &Places) -> Failure {
    let root = places.root().display();
    missing(places).hint(format!(
        "for the first hub run `millrace-hub init --data {root} --name NAME --region REGION --address HOST:7443`; for a further \
         one `millrace-hub join --data {root} --token TOKEN …` with a token that another hub makes with `millrace-hub token \
         create --hub`, or, when this hub was one of several and its disk is lost, with `millrace-hub token create --hub \
         --replace NAME`; or name another directory"
    ))
}

/// The command that runs the hub in `data`, with what has to differ from the defaults on this machine.
pub(super) fn run_command(data: &Path, addresses: &[String]) -> Result<String, Failure> {
    let defaults = config::defaults(data).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let taken = TcpListener::bind(defaults.http).is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
    Ok(format!("millrace-hub run --data {}{}", data.display(), options(addresses, defaults.quic, taken)))
}

/// `listen` is the default for agents; `taken`: another program has the default address for callers.
fn options(addresses: &[String], listen: SocketAddr, taken: bool) -> String {
    let reached = addresses.first().and_then(|address| address.rsplit_once(':'));
    let reached = reached.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let mut options = String::new();
    // Port 0 stands for whatever port it listens on.
    if let Some((host, port)) = reached.filter(|(_, port)| ![0, listen.port()].contains(port)) {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let own = bare.parse::<IpAddr>().ok().filter(IpAddr::is_loopback);
        options.push_str(&format!(" --listen {}", SocketAddr::new(own.unwrap_or(listen.ip()), port)));
    }
    if taken {
        options.push_str(&format!(" --http {}", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_beside_another_is_run_on_ports_of_its_own() {
        let listen = "0.0.0.0:7443".parse().unwrap();
        let of = |address: &str, taken| options(&[address.to_owned()], listen, taken);
        assert_eq!(of("hub-2.example:7443", false), "");
        assert_eq!(of("127.0.0.1:0", false), "");
        assert_eq!(of("hub-2.example:7444", false), " --listen 0.0.0.0:7444");
        assert_eq!(of("127.0.0.1:7444", true), " --listen 127.0.0.1:7444 --http 127.0.0.1:0");
        assert_eq!(of("[::1]:7444", false), " --listen [::1]:7444");
    }

    #[test]
    fn a_file_is_no_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("afile");
        std::fs::write(&file, "").unwrap();
        let refused = directory(&file).unwrap_err();
        assert_eq!(
            (refused.exit, refused.message),
            (Exit::Usage, format!("{} is not a directory", file.display()))
        );
        assert!(directory(dir.path()).is_ok() && directory(&dir.path().join("new")).is_ok());
    }
}

//! A network of namespaces: machines that see each other through a router, and can be cut off in each direction.
//!
//! ```text
//!  hub-1 ─veth─┐
//!  hub-2 ─veth─┤ router: forwards, and drops what a rule says
//!  hub-3 ─veth─┘
//! ```
//!
//! Promise: a cut packet vanishes without a word, as on a broken road; what is built here is removed with it. Nothing
//! of the machine's own network is touched.
//! Absent: delay and loss. Needs root and `ip` (iproute2).

use std::fmt;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::PlantError;

/// Machines in one network: as many as there are subnets.
pub const MACHINES_MAX: usize = 200;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A router and the machines around it.
#[derive(Debug)]
pub struct Network {
    /// Of the namespaces; no other process has the same.
    prefix: String,
    machines: usize,
}

/// A machine: a namespace with one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    namespace: String,
    number: usize,
}

impl Machine {
    /// Where the others reach it.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, octet(self.number), 2)
    }

    /// The command line that runs a program there: its first words.
    #[must_use]
    pub fn enter(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.namespace]
    }
}

fn octet(number: usize) -> u8 {
    u8::try_from(number + 1).unwrap_or(u8::MAX)
}

impl Network {
    /// Builds `machines` machines and their router.
    ///
    /// # Errors
    /// When namespaces cannot be made here: no root, no `ip`, or a container without the right.
    pub fn build(machines: usize) -> Result<Self, PlantError> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let network = Self { prefix: format!("mr{}-{number}", std::process::id()), machines: 0 };
        network.lay(machines.min(MACHINES_MAX))
    }

    /// What was laid before an error goes with the network.
    fn lay(mut self, machines: usize) -> Result<Self, PlantError> {
        let router = self.router();
        ip(&["netns", "add", &router])?;
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        ip(&["netns", "exec", &router, "sh", "-c", forward])?;
        while self.machines < machines {
            let machine = self.machine(self.machines);
            let (namespace, port) = (machine.namespace.as_str(), format!("port{}", self.machines));
            let subnet = |host: u8| format!("10.77.{}.{host}", octet(machine.number));
            ip(&["netns", "add", namespace])?;
            self.machines += 1;
            ip(&[
                "-n", &router, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns",
                namespace,
            ])?;
            ip(&["-n", &router, "addr", "add", &format!("{}/24", subnet(1)), "dev", &port])?;
            ip(&["-n", &router, "link", "set", &port, "up"])?;
            ip(&["-n", namespace, "addr", "add", &format!("{}/24", subnet(2)), "dev", "eth0"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", "eth0", "up"])?;
            ip(&["-n", namespace, "route", "add", "default", "via", &subnet(1)])?;
        }
        Ok(self)
    }

    /// Bytes that machine `number` has sent and received so far, headers of Ethernet and IP included.
    ///
    /// # Errors
    /// When `ip` does not tell.
    pub fn traffic(&self, number: usize) -> Result<u64, PlantError> {
        let said = ip(&["-n", &self.machine(number).namespace, "-s", "-j", "link", "show", "eth0"])?;
        let unreadable = |detail: &dyn fmt::Display| PlantError::answer("ip link show", &detail);
        let links: Value = serde_json::from_str(&said).map_err(|error| unreadable(&error))?;
        let bytes = |side: &str| {
            let bytes = links.pointer(&format!("/0/stats64/{side}/bytes")).and_then(Value::as_u64);
            bytes.ok_or_else(|| unreadable(&said))
        };
        Ok(bytes("tx")? + bytes("rx")?)
    }

    fn router(&self) -> String {
        format!("{}r", self.prefix)
    }

    /// Machine `number`, from 0.
    #[must_use]
    pub fn machine(&self, number: usize) -> Machine {
        Machine { namespace: format!("{}m{number}", self.prefix), number }
    }

    /// Drops everything that `from` sends to `to`. Twice is once.
    ///
    /// # Errors
    /// When the router does not take the rule.
    pub fn cut_one_way(&self, from: usize, to: usize) -> Result<(), PlantError> {
        self.heal_one_way(from, to)?;
        self.rule("add", from, to)
    }

    /// Lets it through again. What was not cut stays as it is.
    ///
    /// # Errors
    /// When the router cannot be asked.
    pub fn heal_one_way(&self, from: usize, to: usize) -> Result<(), PlantError> {
        let rules = ip(&["-n", &self.router(), "rule", "list"])?;
        let (from_address, to_address) = (self.machine(from).address(), self.machine(to).address());
        let cut = format!("from {from_address} to {to_address} ");
        if rules.lines().any(|line| line.contains(&cut)) { self.rule("del", from, to) } else { Ok(()) }
    }

    fn rule(&self, verb: &str, from: usize, to: usize) -> Result<(), PlantError> {
        let (from, to) = (self.machine(from).address().to_string(), self.machine(to).address().to_string());
        ip(&["-n", &self.router(), "rule", verb, "from", &from, "to", &to, "blackhole"]).map(|_| ())
    }

    /// Cuts every road between the two sides.
    ///
    /// # Errors
    /// When the router does not take a rule.
    pub fn part(&self, one: &[usize], other: &[usize]) -> Result<(), PlantError> {
        for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
            self.cut_one_way(a, b)?;
            self.cut_one_way(b, a)?;
        }
        Ok(())
    }

    /// Opens every road.
    ///
    /// # Errors
    /// When the router cannot be asked.
    pub fn heal(&self) -> Result<(), PlantError> {
        for (from, to) in (0..self.machines).flat_map(|a| (0..self.machines).map(move |b| (a, b))) {
            self.heal_one_way(from, to)?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let machines = (0..self.machines).map(|number| self.machine(number).namespace);
        for namespace in machines.chain([self.router()]) {
            // One that was never made is as good as gone.
            let _ = ip(&["netns", "del", &namespace]);
        }
    }
}

/// Runs `ip` and returns what it says.
fn ip(arguments: &[&str]) -> Result<String, PlantError> {
    let command = format!("ip {}", arguments.join(" "));
    let failed =
        |status: String, said: String| PlantError::Command { command: command.clone(), status, said };
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed("an error".to_owned(), error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(output.status.to_string(), String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    /// A socket on a machine: the thread that makes it goes there, and ends.
    fn socket(machine: &Machine) -> UdpSocket {
        let place = std::fs::File::open(format!("/var/run/netns/{}", machine.namespace)).unwrap();
        let address = (machine.address(), 0);
        let bind = move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(place.as_fd(), Some(kind)).unwrap();
            UdpSocket::bind(address).unwrap()
        };
        let socket = std::thread::spawn(bind).join().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket
    }

    #[test]
    fn a_road_is_cut_in_one_direction_and_opened_again() {
        let network = match Network::build(2) {
            Ok(network) => network,
            Err(error) => return println!("no namespaces here, so nothing is tested: {error}"),
        };
        let (one, other) = (socket(&network.machine(0)), socket(&network.machine(1)));
        let passes = |from: &UdpSocket, to: &UdpSocket| {
            from.send_to(b"x", to.local_addr().unwrap()).unwrap();
            match to.recv(&mut [0; 8]) {
                Ok(1) => true,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
                other => panic!("{other:?}"),
            }
        };
        assert!(passes(&one, &other) && passes(&other, &one));
        assert!(network.traffic(0).unwrap() > 0);
        network.cut_one_way(0, 1).unwrap();
        network.cut_one_way(0, 1).unwrap();
        assert!(!passes(&one, &other) && passes(&other, &one));
        network.part(&[0], &[1]).unwrap();
        assert!(!passes(&one, &other) && !passes(&other, &one));
        network.heal().unwrap();
        assert!(passes(&one, &other) && passes(&other, &one));
    }
}

//! Every limit of the transport, in one place: the number, its reason, and what happens when it is reached.
//!
//! Promise: no limit of quinn is left at its default without a line here; `DESIGN.md` repeats them as a table.
//! Absent: limits of frames (`millrace-wire`), of records (`millrace-model`), of what an operator configures.

use std::sync::Arc;
use std::time::Duration;

use quinn::{IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt};

use crate::Road;

/// Longest silence a hub tolerates on a connection. The smaller value of both sides holds, so each agent's
/// [`Road`] decides within this ceiling. When reached: the connection is lost ([`crate::CloseCode::Lost`]).
pub const HUB_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Streams of each kind that a peer may hold open at once. A session needs a handful: control, live, one per
/// backlog lane, acks, and spare ones for what the next versions add. When reached: opening waits.
pub const STREAMS_MAX: u32 = 32;

/// Unread bytes that one stream may hold. A segment at its largest (1 MiB) and a second one behind it, so
/// that a reader which stores one segment keeps the road busy. When reached: the sender waits.
pub const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// Unread bytes that all streams of a connection together may hold; also what one hostile peer can make
/// a hub keep. When reached: the sender waits.
pub const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Bytes sent by a hub and not yet acknowledged, per connection. Hubs answer with acks and documents, not
/// with backlogs. When reached: `send` waits.
pub const HUB_SEND_WINDOW_BYTES: u64 = 2 << 20;

/// Streams in both directions that another hub may hold open: calls of the consensus (64), of the API (32), of joining and
/// renewing (8), replication, and spare ones for what the next versions add. When reached: opening waits.
pub const HUB_STREAMS_MAX: u32 = 128;

/// Unread bytes of a connection between hubs: four calls at their largest (4 MiB), so that a snapshot or a page of records does not
/// hold back heartbeats, and 160 MB/s over 100 ms. Hubs are few, so this is not what a hostile device can make a hub keep. When
/// reached: the sender waits.
pub const HUB_CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Bytes sent to another hub and not yet acknowledged: what it can take ([`HUB_CONNECTION_WINDOW_BYTES`]). When reached: `send`
/// waits.
pub const HUB_TO_HUB_SEND_WINDOW_BYTES: u64 = 16 << 20;

/// Datagrams kept for the reader or the road. Gossip fits into packets of 1,200 bytes, so this is about fifty
/// of them. When reached: the oldest are dropped, which gossip is made for.
pub const DATAGRAM_BUFFER_BYTES: usize = 64 << 10;

/// Handshake bytes that arrived out of order. Our largest flight (chain of two certificates) is below 3 KiB.
/// When reached: the connection is closed.
pub const CRYPTO_BUFFER_BYTES: usize = 8 << 10;

/// First size of UDP payloads: what every IPv6 path must carry. Discovery raises it.
pub const INITIAL_MTU_BYTES: u16 = 1_200;

/// Where discovery stops: an Ethernet frame minus IPv6 and UDP headers.
pub const MTU_CEILING_BYTES: u16 = 1_452;

/// Largest UDP payload that is taken: an Ethernet frame minus IPv4 and UDP headers. When exceeded: the packet is
/// not read, and the peer's discovery stays below.
pub const UDP_PAYLOAD_BYTES_MAX: u16 = 1_472;

/// Packets that wait in the kernel of a hub: about 2,000, the first flight of 1,000 agents after a power cut.
/// The kernel may grant less (`net.core.rmem_max`). When full: packets are lost and sent again.
pub const HUB_SOCKET_BYTES: usize = 4 << 20;

/// The same for a dialing side, whose peers are few.
pub const DIALER_SOCKET_BYTES: usize = 1 << 20;

/// Connection attempts that the endpoint keeps until the door has looked at them. The door decides without
/// waiting, so this is a short queue between two tasks. When reached: further attempts are refused.
pub const INCOMING_MAX: usize = 1_024;

/// Bytes kept for one attempt that the door has not looked at: two further packets of an honest client.
/// When reached: packets are dropped, and an honest client sends them again.
pub const INCOMING_BUFFER_BYTES: u64 = 4 << 10;

/// The same over all attempts. When reached: packets are dropped.
pub const INCOMING_BUFFER_TOTAL_BYTES: u64 = 2 << 20;

/// Handshakes under way at once, an enrolment counting until its request is read. About 40 KiB each.
/// When reached: further attempts are refused, and agents come back after their jittered pause.
pub const HANDSHAKES_MAX: usize = 1_024;

/// Share of these that one address (IPv4) or one /64 (IPv6) may hold, so that a single source can never
/// close the door for others, yet a plant behind one address can come back after a power cut.
pub const HANDSHAKES_PER_SOURCE_MAX: usize = 512;

/// From this many handshakes under way a client must first show that its address is its own (QUIC Retry:
/// one more round trip, no state here). Below it honest clients keep their fast start.
pub const HANDSHAKES_BEFORE_RETRY: usize = 64;

/// Time for a handshake, request of an enrolment included. Four satellite round trips and two losses.
/// When reached: the attempt is dropped.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a dialer waits for a hub before it reports [`crate::ConnectError::Timeout`].
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a machine waits for the answer to its enrolment, which hubs may have to agree on first. When
/// reached: the machine tries again with the same key.
pub const ENROLMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that one hub keeps. When reached: further attempts are refused; agents try another hub.
pub const CONNECTIONS_MAX: usize = 10_000;

/// Finished handshakes that wait for `accept`. When reached: they keep their place among the handshakes.
pub const ACCEPT_QUEUE_MAX: usize = 64;

/// One message of an enrolment. A request is about 1 KiB, an answer about 2 KiB. When reached: refused
/// before allocation.
pub const ENROLMENT_MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Bytes of a receipt's file. One with the most journals that a device may have is below 100 KiB.
pub const RECEIPT_BYTES_MAX: usize = 256 << 10;

/// Bytes of a certificate in it, DER. Ours have about 500.
pub const RECEIPT_CERTIFICATE_BYTES_MAX: usize = 4 << 10;

/// Bytes of a signature, DER: two numbers of 33 bytes, and what surrounds them, are 72.
pub const SIGNATURE_BYTES_MAX: usize = 80;

/// A certificate signing request (DER). Ours have about 250 bytes. When reached: refused before parsing.
pub const CSR_BYTES_MAX: usize = 4 << 10;

/// First piece of memory for a frame that was announced and has not arrived. It grows with what arrives, so
/// announcing much and sending nothing costs a hub little.
pub const FRAME_FIRST_ALLOCATION_BYTES: usize = 64 << 10;

/// Text that travels with a close code. Longer text is cut.
pub const CLOSE_TEXT_BYTES_MAX: usize = 256;

/// How long closing waits for the farewell to leave before it gives up.
pub const CLOSE_LINGER: Duration = Duration::from_secs(3);

fn idle(span: Duration) -> Option<IdleTimeout> {
    let millis = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    Some(IdleTimeout::from(VarInt::from_u32(millis)))
}

fn discovery() -> MtuDiscoveryConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(MTU_CEILING_BYTES);
    discovery
}

/// What both sides share.
fn base() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .crypto_buffer_size(CRYPTO_BUFFER_BYTES)
        .initial_mtu(INITIAL_MTU_BYTES)
        .min_mtu(INITIAL_MTU_BYTES)
        .mtu_discovery_config(Some(discovery()))
        // Nobody on the road needs to measure our round trips.
        .allow_spin(false);
    transport
}

/// The transport of a hub: waits, never keeps alive (the dialing side does), so an idle agent costs one
/// timer and no traffic of ours.
pub(crate) fn hub_transport() -> TransportConfig {
    let mut transport = base();
    transport
        .max_idle_timeout(idle(HUB_IDLE_TIMEOUT))
        .keep_alive_interval(None)
        .send_window(HUB_SEND_WINDOW_BYTES);
    transport
}

/// The transport of whoever dials, for its road.
pub(crate) fn dialing_transport(road: &Road) -> TransportConfig {
    let mut transport = base();
    transport
        .max_idle_timeout(idle(road.idle_timeout.min(HUB_IDLE_TIMEOUT)))
        .keep_alive_interval(Some(road.keep_alive))
        .initial_rtt(road.first_rtt)
        .send_window(road.send_window_bytes);
    transport
}

/// Widens a connection whose other end has proved to be a hub. A stream's own window ([`STREAM_WINDOW_BYTES`]) stays as it was agreed.
pub(crate) fn widen(connection: &quinn::Connection) {
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(HUB_STREAMS_MAX));
    connection.set_receive_window(VarInt::from_u32(HUB_CONNECTION_WINDOW_BYTES));
    connection.set_send_window(HUB_TO_HUB_SEND_WINDOW_BYTES);
}

/// Puts the limits of a listening endpoint into `server`.
pub(crate) fn bound_server(server: &mut ServerConfig) {
    server
        .transport_config(Arc::new(hub_transport()))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BUFFER_BYTES)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL_BYTES)
        // A cellular modem changes its address in the middle of a session; the session goes on.
        .migration(true);
}

const _: () = assert!(STREAM_WINDOW_BYTES as usize > millrace_wire::limits::FRAME_MAX);
const _: () = assert!(STREAM_WINDOW_BYTES <= CONNECTION_WINDOW_BYTES);
const _: () = assert!(HUB_CONNECTION_WINDOW_BYTES as usize >= millrace_wire::limits::CALL_FRAME_MAX);
const _: () = assert!(HANDSHAKES_BEFORE_RETRY < HANDSHAKES_PER_SOURCE_MAX);
const _: () = assert!(HANDSHAKES_PER_SOURCE_MAX < HANDSHAKES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    /// quinn shows its configuration only as text, so the text is what can be checked.
    fn says(transport: &TransportConfig, line: &str) {
        let text = format!("{transport:?}");
        assert!(text.contains(line), "`{line}` is not in {text}");
    }

    #[test]
    fn a_hub_sets_every_window_and_never_keeps_alive() {
        let hub = hub_transport();
        says(&hub, "max_concurrent_bidi_streams: 32");
        says(&hub, "max_concurrent_uni_streams: 32");
        says(&hub, "stream_receive_window: 2097152");
        says(&hub, ", receive_window: 4194304");
        says(&hub, "send_window: 2097152");
        says(&hub, "max_idle_timeout: Some(60000)");
        says(&hub, "keep_alive_interval: None");
        says(&hub, "datagram_receive_buffer_size: Some(65536)");
        says(&hub, "datagram_send_buffer_size: 65536");
        says(&hub, "crypto_buffer_size: 8192");
        says(&hub, "initial_mtu: 1200");
        says(&hub, "upper_bound: 1452");
    }

    #[test]
    fn a_dialer_keeps_alive_by_its_road_and_stays_under_the_ceiling_of_the_hub() {
        let fibre = dialing_transport(&Road::FIBRE);
        says(&fibre, "max_idle_timeout: Some(15000)");
        says(&fibre, "keep_alive_interval: Some(750ms)");
        let silent = dialing_transport(&Road { idle_timeout: Duration::from_secs(3_600), ..Road::FIBRE });
        says(&silent, "max_idle_timeout: Some(60000)");
    }

    #[test]
    fn a_listening_endpoint_bounds_what_it_keeps_of_strangers() {
        let own = rcgen::generate_simple_self_signed(["hub.millrace".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let mut server = ServerConfig::with_single_cert(vec![own.cert.der().clone()], key.into()).unwrap();
        bound_server(&mut server);
        let text = format!("{server:?}");
        for line in [
            "max_incoming: 1024",
            "incoming_buffer_size: 4096",
            "incoming_buffer_size_total: 2097152",
            "migration: true",
            "max_concurrent_bidi_streams: 32",
        ] {
            assert!(text.contains(line), "`{line}` is not in {text}");
        }
    }

    #[test]
    fn every_limit_stands_in_the_design_page() {
        let (source, page) = (include_str!("limits.rs"), include_str!("../DESIGN.md"));
        let names = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
        let missing: Vec<_> = names.filter(|name| !page.contains(&format!("`{name}`"))).collect();
        assert!(
            missing.is_empty(),
            "DESIGN.md does not say what happens when these are reached: {missing:?}"
        );
    }
}

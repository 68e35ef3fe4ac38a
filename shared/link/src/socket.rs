//! UDP sockets as the link wants them: both address families on one port, and room for a burst.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::UDP_PAYLOAD_BYTES_MAX;
use crate::underlay::{Carried, Underlay};

/// A socket on `addr` with this much room for packets that wait to be read. `[::]` takes IPv4 too, whatever the
/// machine's default is.
fn bind(addr: SocketAddr, receive_bytes: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The kernel grants what net.core.rmem_max allows; less only means more packets sent twice in a burst.
    let _ = socket.set_recv_buffer_size(receive_bytes);
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// A QUIC endpoint on `addr`, of the operating system or of another `underlay`; with `server` it also listens.
pub(crate) fn endpoint(
    underlay: Option<&dyn Underlay>,
    addr: SocketAddr,
    receive_bytes: usize,
    server: Option<ServerConfig>,
) -> io::Result<Endpoint> {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(UDP_PAYLOAD_BYTES_MAX).map_err(io::Error::other)?;
    let runtime = Arc::new(TokioRuntime);
    if let Some(underlay) = underlay {
        let socket = Arc::new(Carried(underlay.bind(addr)?));
        return Endpoint::new_with_abstract_socket(config, server, socket, runtime);
    }
    Endpoint::new(config, server, bind(addr, receive_bytes)?, runtime)
}

//! UDP sockets as the link wants them: both address families on one port, and room for a burst.
//!
//! A hub that was killed and started again on its port knows nothing of its former connections, and their peers would wait for
//! their idle timeout. QUIC has an answer (RFC 9000, section 10.3): each packet for an unknown connection is answered with a token that
//! only the holder of a key can make, whereupon the peer gives the connection up. So that the next process can make the tokens of the
//! one before it, the key is derived from the hub's private key.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::{CryptoError, HmacKey};
use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use quinn_proto::HashedConnectionIdGenerator;
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

/// A QUIC endpoint on `addr`, of the operating system or of another `underlay`; with `server` it also listens, and is remembered over
/// restarts as the holder of this private key.
pub(crate) fn endpoint(
    underlay: Option<&dyn Underlay>,
    addr: SocketAddr,
    receive_bytes: usize,
    server: Option<(ServerConfig, &[u8])>,
) -> io::Result<Endpoint> {
    let mut config = EndpointConfig::default();
    let server = server.map(|(server, private_key)| {
        recognise(&mut config, private_key);
        server
    });
    config.max_udp_payload_size(UDP_PAYLOAD_BYTES_MAX).map_err(io::Error::other)?;
    let runtime = Arc::new(TokioRuntime);
    if let Some(underlay) = underlay {
        let socket = Arc::new(Carried(underlay.bind(addr)?));
        return Endpoint::new_with_abstract_socket(config, server, socket, runtime);
    }
    Endpoint::new(config, server, bind(addr, receive_bytes)?, runtime)
}

/// Has the endpoint recognise connections of an earlier process with the same private key. Neither of the two derived keys
/// says anything about the private key or about the other.
fn recognise(config: &mut EndpointConfig, private_key: &[u8]) {
    let [a, b, c, d, e, f, g, h, ..] =
        blake3::derive_key("millrace 2026 connection ids of a hub", private_key);
    // Tells our connection ids from garbage, which is not worth an answer.
    let ids = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    let resets = blake3::derive_key("millrace 2026 stateless resets of a hub", private_key);
    config.reset_key(Arc::new(ResetKey(resets)));
}

/// Keyed BLAKE3 as quinn asks for an HMAC.
struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        // Exactly as long as `signature_len` says.
        let hash = blake3::keyed_hash(&self.0, data);
        out.iter_mut().zip(hash.as_bytes()).for_each(|(out, byte)| *out = *byte);
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let signature = <[u8; blake3::OUT_LEN]>::try_from(signature).map_err(|_| CryptoError)?;
        // Hashes of BLAKE3 compare in constant time.
        if blake3::keyed_hash(&self.0, data) == blake3::Hash::from_bytes(signature) {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

//! QUIC, identity and certificates: the only crate that names quinn and rustls.

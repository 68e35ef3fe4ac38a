//! The link to the broker: TCP, TLS where asked, CONNECT and CONNACK.
//!
//! Promise: bounded in time; certificates are always verified.
//! Absent: subscriptions, publications. The names of rustls come through rumqttc, which brings its TLS.

use std::path::Path;
use std::sync::Arc;

use rumqttc::tokio_rustls::TlsConnector;
use rumqttc::tokio_rustls::rustls::pki_types::pem::PemObject;
use rumqttc::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rumqttc::tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::options::{BrokerOptions, BrokerTls};
use super::{ClientError, CodecError};
use crate::mqtt::codec::Outgoing;
use crate::mqtt::packet::{Connect, Packet, Version};
use crate::mqtt::wire::{Inlet, Outlet};

/// Where Debian and its children keep the authorities that the system trusts.
const SYSTEM_CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection on which the broker has said welcome.
pub(super) struct Link {
    pub(super) inlet: Inlet<Reader>,
    pub(super) outlet: Outlet<Writer>,
    /// The broker still holds our session.
    pub(super) session_present: bool,
}

impl Link {
    pub(super) async fn open(options: &BrokerOptions, frame_bytes_max: usize) -> Result<Self, ClientError> {
        let broker = || format!("{}:{}", options.host, options.port);
        match tokio::time::timeout(options.connect_timeout, Self::dial(options, frame_bytes_max)).await {
            Ok(Err(ClientError::Io(source))) => Err(ClientError::Unreachable { broker: broker(), source }),
            Ok(done) => done,
            Err(_elapsed) => Err(ClientError::Silent(broker())),
        }
    }

    async fn dial(options: &BrokerOptions, frame_bytes_max: usize) -> Result<Self, ClientError> {
        let tcp = TcpStream::connect((options.host.as_str(), options.port)).await?;
        tcp.set_nodelay(true)?;
        let (reader, writer): (Reader, Writer) = match &options.tls {
            None => {
                let (reader, writer) = tcp.into_split();
                (Box::new(reader), Box::new(writer))
            }
            Some(tls) => {
                let name = tls.server_name.as_ref().unwrap_or(&options.host).clone();
                let name = ServerName::try_from(name).map_err(|error| ClientError::Tls(error.to_string()))?;
                let connector = TlsConnector::from(Arc::new(tls_config(tls).await?));
                let stream = connector
                    .connect(name, tcp)
                    .await
                    .map_err(|error| ClientError::Tls(error.to_string()))?;
                let (reader, writer) = tokio::io::split(stream);
                (Box::new(reader), Box::new(writer))
            }
        };
        let mut link = Self {
            inlet: Inlet::new(reader, options.version, frame_bytes_max),
            outlet: Outlet::new(writer, options.version),
            session_present: false,
        };
        link.greet(options).await?;
        Ok(link)
    }

    async fn greet(&mut self, options: &BrokerOptions) -> Result<(), ClientError> {
        let connect = Connect {
            version: options.version,
            client_id: options.client_id.clone(),
            keep_alive: options.keep_alive_s,
            clean: false,
            session_expiry: u32::try_from(options.session_expiry.as_secs()).unwrap_or(u32::MAX),
            login: options.login.as_ref().map(|login| (login.user.clone(), login.password.clone())),
            will: None,
            receive_max: options.window_publications,
            // Not announced: a broker silently drops what is over an announced size.
            packet_bytes_max: None,
        };
        self.outlet.push(&Outgoing::Connect(connect))?;
        self.outlet.drain_all().await?;
        loop {
            match self.inlet.next_packet()? {
                Some(Packet::ConnAck { session_present, refused: None }) => {
                    self.session_present = session_present;
                    return Ok(());
                }
                Some(Packet::ConnAck { refused: Some(why), .. }) => return Err(ClientError::Refused(why)),
                Some(_) => return Err(CodecError::Unexpected("something before CONNACK").into()),
                None if self.inlet.fill().await? == 0 => {
                    // Brokers that speak only the other version often just close.
                    let other = if options.version == Version::V5 { "3.1.1" } else { "5" };
                    let why = format!("closed without a word; it may speak only MQTT {other}");
                    return Err(ClientError::Refused(why));
                }
                None => {}
            }
        }
    }
}

async fn tls_config(tls: &BrokerTls) -> Result<ClientConfig, ClientError> {
    let ca_file = tls.ca_file.as_deref().unwrap_or(Path::new(SYSTEM_CA_FILE));
    let mut roots = RootCertStore::empty();
    let (trusted, _unreadable) = roots.add_parsable_certificates(certificates(ca_file).await?);
    if trusted == 0 {
        return Err(ClientError::Tls(format!("{} holds no usable certificate", ca_file.display())));
    }
    let wrong = |error: rumqttc::tokio_rustls::rustls::Error| ClientError::Tls(error.to_string());
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_root_certificates(roots);
    match &tls.client_files {
        None => Ok(config.with_no_client_auth()),
        Some((chain_file, key_file)) => {
            let chain = certificates(chain_file).await?;
            let key = PrivateKeyDer::from_pem_slice(&read(key_file).await?)
                .map_err(|error| ClientError::Tls(format!("{}: {error}", key_file.display())))?;
            config.with_client_auth_cert(chain, key).map_err(wrong)
        }
    }
}

async fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let pem = read(file).await?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| ClientError::Tls(format!("{}: {error}", file.display())))
}

async fn read(file: &Path) -> Result<Vec<u8>, ClientError> {
    let read = tokio::fs::read(file).await;
    read.map_err(|error| ClientError::Tls(format!("{}: {error}", file.display())))
}

//! The machine's side of an enrolment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::timeout;

use super::message::{self, Answer, EnrolmentRefusal, Question, VERSION};
use crate::limits::{ENROLMENT_MESSAGE_BYTES_MAX, ENROLMENT_TIMEOUT};
use crate::tls::{self, PinnedHub};
use crate::{
    CertificateRequest, CloseCode, CloseReason, ConnectError, Dialer, Identity, IdentityError, Inlet,
    JoinToken, Outlet, ReceiveError, SendError, TlsError, base32, chain,
};

/// Why a machine has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The hub's CA is not the token's. The secret was not sent.
    #[error(
        "{addr} does not belong to the cluster of this token ({detail}); the secret was not sent. \
         Is the address right? Was the hub set up anew after the token was made?"
    )]
    WrongCluster {
        /// Whom we dialed.
        addr: SocketAddr,
        /// What is wrong with its certificates.
        detail: String,
    },
    /// No connection.
    #[error(transparent)]
    Connect(ConnectError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The hub said no.
    #[error("the hub refused ({why:?}): {text}")]
    Refused {
        /// Why.
        why: EnrolmentRefusal,
        /// The hub's words.
        text: String,
    },
    /// Name or labels are too long to be sent.
    #[error("the request cannot be sent: {0}")]
    TooLong(String),
    /// The connection ended before the answer. Try again with the same key.
    #[error("the connection ended before the hub's answer: {0}")]
    Interrupted(CloseReason),
    /// The hub did not answer in time. Try again with the same key.
    #[error("the hub did not answer within {ENROLMENT_TIMEOUT:?}: try again")]
    Silent,
    /// The hub's answer makes no sense.
    #[error("the hub's answer makes no sense: {0}")]
    Answer(String),
    /// The granted certificate is not for our key, or not from the token's CA.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<SendError> for EnrollError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Closed(reason) => Self::Interrupted(reason),
            error => Self::Answer(error.to_string()),
        }
    }
}

impl From<ReceiveError> for EnrollError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Closed(reason) => Self::Interrupted(reason),
            error => Self::Answer(error.to_string()),
        }
    }
}

/// What a machine would like, beside what its token says.
#[derive(Debug, Clone, Default)]
pub struct Wishes<'a> {
    /// Its name, used when the token has none.
    pub name: Option<&'a str>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The device whose place it means to take: with a token for anything else it is refused.
    pub replace: Option<&'a str>,
}

/// What a machine has when it is enrolled.
#[derive(Debug)]
pub struct Enrolled {
    /// Its key and certificate.
    pub identity: Identity,
    /// Whether it took the place of another machine.
    pub replaced: bool,
}

impl Dialer {
    /// Asks the hub at `addr` (one of the token's addresses) for a certificate over `request`. The hub's CA is checked
    /// against the token before the secret is sent.
    ///
    /// Keep `request` and use it again when the call is interrupted: the hub then knows that it is the same
    /// machine, although the token can be used only once.
    ///
    /// # Errors
    /// When the hub is not of the token's cluster, refuses, or cannot be reached.
    pub async fn enroll(
        &self,
        addr: SocketAddr,
        token: &JoinToken,
        request: &CertificateRequest,
        wishes: &Wishes<'_>,
    ) -> Result<Enrolled, EnrollError> {
        let pinned = Arc::new(PinnedHub::new(token.ca));
        let tls = tls::enrolling(Arc::clone(&pinned), &self.options.clock)?;
        let quic = self.dial(addr, tls).await.map_err(|error| match error {
            ConnectError::NotTrusted { addr, detail } => EnrollError::WrongCluster { addr, detail },
            error => EnrollError::Connect(error),
        })?;
        let question = Question {
            version: VERSION,
            secret: token.secret.to_text(),
            request: base32::encode(request.csr_der()),
            // A name that was asked for and is not the token's is the hub's to refuse, in words.
            name: wishes.name.or(token.name.as_deref()).map(str::to_owned),
            // The token's labels stand behind and so win.
            labels: wishes.labels.iter().chain(&token.labels).map(|(k, v)| (k.clone(), v.clone())).collect(),
            replace: wishes.replace.map(str::to_owned),
        };
        let answer = timeout(ENROLMENT_TIMEOUT, exchange(&quic, &question)).await;
        quic.close(CloseCode::EnrolmentOver.varint(), b"");
        match answer.map_err(|_| EnrollError::Silent)?? {
            Answer::Refused { why, text } => Err(EnrollError::Refused { why, text }),
            Answer::Granted { certificate, ca, replaced } => {
                let shown = chain::first(&ca).map_err(IdentityError::from)?;
                if pinned.ca() != Some(&shown) {
                    return Err(EnrollError::Answer("it names another CA than the handshake".into()));
                }
                let identity = Identity::granted(request, &certificate, &ca)?;
                Ok(Enrolled { identity, replaced })
            }
        }
    }
}

async fn exchange(quic: &quinn::Connection, question: &Question) -> Result<Answer, EnrollError> {
    let opened = quic.open_bi().await;
    let (send, receive) = opened.map_err(|e| EnrollError::Interrupted(CloseReason::of(&e, None)))?;
    let mut outlet = Outlet::new(send, Arc::default());
    let mut inlet = Inlet::new(receive, Arc::default());
    outlet.send(message::encode(question).map_err(EnrollError::TooLong)?).await?;
    outlet.finish().await?;
    let frame = inlet.next(ENROLMENT_MESSAGE_BYTES_MAX).await?;
    let frame = frame.ok_or_else(|| EnrollError::Answer("it is empty".into()))?;
    message::decode(&frame).map_err(EnrollError::Answer)
}

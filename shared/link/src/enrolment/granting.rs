//! The hub's side of an enrolment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::time::timeout;

use super::message::{self, Answer, EnrolmentRefusal, Question, VERSION};
use crate::limits::{CLOSE_LINGER, ENROLMENT_MESSAGE_BYTES_MAX};
use crate::token::{JoinSecret, valid_labels};
use crate::{CaError, CloseCode, CloseReason, Inlet, KeyHash, Outlet, ReceiveError, SendError, base32, ca};

/// What a machine asks for. Everything in it is the machine's word, except that it has the private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentRequest {
    /// The secret of its join token.
    pub secret: JoinSecret,
    /// Its signing request (PKCS #10, DER), signed by its own key.
    pub csr_der: Vec<u8>,
    /// The hash of its public key. A machine that lost our answer comes back with the same secret and the same
    /// key: that is a repetition, not a second use of the token.
    pub public_key_hash: KeyHash,
    /// The name that it would like to have; within the limits of a certificate.
    pub name: Option<String>,
    /// The labels that it would like to have; within the limits of a token.
    pub labels: BTreeMap<String, String>,
    /// The device whose place it means to take, by its name; `None`: whatever the token says.
    pub replace: Option<String>,
}

impl EnrolmentRequest {
    /// Reads a machine's question, its length field included.
    ///
    /// # Errors
    /// When it is malformed, over a limit, or its signing request is not signed by its own key.
    pub fn from_frame(frame: &[u8]) -> Result<Self, EnrolmentError> {
        let question: Question = message::decode(frame).map_err(EnrolmentError::Malformed)?;
        checked(question).map_err(|what| EnrolmentError::Malformed(what.to_owned()))
    }
}

/// Why an enrolment ended without an answer being taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    /// The machine's message is malformed.
    #[error("the request for enrolment is malformed: {0}")]
    Malformed(String),
    /// It ended the connection, or the road did.
    #[error(transparent)]
    Closed(#[from] CloseReason),
    /// Its message did not arrive.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// Our answer was not taken.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// A machine that waits for a certificate. Answer with [`Self::grant`] or [`Self::refuse`]; dropped without an
/// answer, the machine sees the connection end and tries again.
#[derive(Debug)]
pub struct EnrolmentConnection {
    quic: quinn::Connection,
    outlet: Outlet,
    request: Box<EnrolmentRequest>,
}

impl EnrolmentConnection {
    /// Waits for the machine's question. The caller bounds the time.
    pub(crate) async fn receive(quic: quinn::Connection) -> Result<Self, EnrolmentError> {
        let reason = |error| CloseReason::of(&error, None);
        let (send, receive) = quic.accept_bi().await.map_err(reason)?;
        let farewell: Arc<OnceLock<CloseReason>> = Arc::default();
        let outlet = Outlet::new(send, Arc::clone(&farewell));
        let mut inlet = Inlet::new(receive, farewell);
        match ask(&mut inlet).await {
            Ok(request) => Ok(Self { quic, outlet, request: Box::new(request) }),
            Err(error) => {
                let text = error.to_string();
                quic.close(CloseCode::ProtocolError.varint(), crate::close::cut(&text).as_bytes());
                Err(error)
            }
        }
    }

    /// What the machine asks for.
    #[must_use]
    pub fn request(&self) -> &EnrolmentRequest {
        &self.request
    }

    /// Where the machine is.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    /// Answers with the certificate (PEM) that the CA issued for [`EnrolmentRequest::csr_der`], and the CA's own. `replaced`: the machine
    /// took the place of another one.
    ///
    /// # Errors
    /// When the machine did not get it. It may come back with the same key; see
    /// [`EnrolmentRequest::public_key_hash`].
    pub async fn grant(
        self,
        certificate_pem: &str,
        ca_pem: &str,
        replaced: bool,
    ) -> Result<(), EnrolmentError> {
        let (certificate, ca) = (certificate_pem.to_owned(), ca_pem.to_owned());
        self.answer(&Answer::Granted { certificate, ca, replaced }).await
    }

    /// Answers that there is no certificate, and why; `text` is for the person at the machine.
    ///
    /// # Errors
    /// When the machine did not get it.
    pub async fn refuse(self, why: EnrolmentRefusal, text: &str) -> Result<(), EnrolmentError> {
        let text = crate::close::cut(text).to_owned();
        self.answer(&Answer::Refused { why, text }).await
    }

    async fn answer(mut self, answer: &Answer) -> Result<(), EnrolmentError> {
        let frame = message::encode(answer).map_err(EnrolmentError::Malformed)?;
        self.outlet.send(frame).await?;
        let delivered = self.outlet.delivered().await;
        // The machine closes when it has read the answer; one that does not is not waited for.
        let closed = timeout(CLOSE_LINGER, self.quic.closed()).await;
        self.quic.close(CloseCode::EnrolmentOver.varint(), b"");
        match (delivered, closed) {
            (Ok(()), _) => Ok(()),
            // It read the answer and was gone before its machine had told ours.
            (Err(_), Ok(error)) if over(&error) => Ok(()),
            (Err(error), _) => Err(error.into()),
        }
    }
}

fn over(error: &quinn::ConnectionError) -> bool {
    CloseReason::of(error, None).code == CloseCode::EnrolmentOver
}

async fn ask(inlet: &mut Inlet) -> Result<EnrolmentRequest, EnrolmentError> {
    let frame = inlet.next(ENROLMENT_MESSAGE_BYTES_MAX).await?;
    let frame = frame.ok_or_else(|| EnrolmentError::Malformed("it is empty".into()))?;
    EnrolmentRequest::from_frame(&frame)
}

fn checked(question: Question) -> Result<EnrolmentRequest, &'static str> {
    if question.version != VERSION {
        return Err("its version is not known here: upgrade the hub");
    }
    let secret = JoinSecret::from_text(&question.secret).ok_or("its secret is not one")?;
    let csr_der = base32::decode(&question.request).map_err(|_| "its signing request is not base 32")?;
    let public_key_hash = ca::request_key_hash(&csr_der).map_err(|error| match error {
        CaError::Request(_) => "its signing request is not signed by its own ECDSA P-256 key",
        _ => "its signing request cannot be read",
    })?;
    let names = [&question.name, &question.replace];
    let valid = names.into_iter().flatten().all(|name| ca::valid_name(name));
    if !valid || !valid_labels(&question.labels) {
        return Err("its name or labels are over their limits");
    }
    let Question { name, labels, replace, .. } = question;
    Ok(EnrolmentRequest { secret, csr_der, public_key_hash, name, labels, replace })
}

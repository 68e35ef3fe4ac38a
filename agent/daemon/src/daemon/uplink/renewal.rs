//! Certificates renew themselves inside a session.
//!
//! Promise: a renewed certificate is on disk before it is used, and the key of an unanswered request is kept.

use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use millrace_link::{CertificateRequest, Standing};
use millrace_wire::{Frame, RenewalGrant, RenewalRequest};
use tokio::sync::mpsc;

use super::Uplink;

/// Grace in which an expired certificate may still renew itself; the hub decides, this only chooses whether to ask.
const GRACE: Duration = millrace_link::renewal::GRACE;

impl Uplink {
    pub(super) fn standing(&self) -> Standing {
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        Standing::of(identity.own(), self.clock.wall(), GRACE)
    }

    pub(super) async fn ask_for_renewal(&self, renewals: &mpsc::Sender<Frame>) -> Option<CertificateRequest> {
        // Kept until the certificate is saved: when the grant is lost, the next request shows the same key.
        let request = CertificateRequest::pending(&self.places.identity())
            .inspect_err(
                |error| tracing::error!(%error, "no new key could be made: the certificate is not renewed"),
            )
            .ok()?;
        let frame =
            Frame::RenewalRequest(RenewalRequest { request: Bytes::copy_from_slice(request.csr_der()) });
        renewals.send(frame).await.ok()?;
        Some(request)
    }

    pub(super) fn renewed(&self, request: &CertificateRequest, grant: &RenewalGrant) {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let renewed = identity.renewed(request, &grant.chain);
        // Saved before used: a certificate that only memory knew would be lost with the process.
        match renewed.and_then(|renewed| renewed.save(&self.places.identity()).map(|()| renewed)) {
            Ok(renewed) => {
                if let Err(error) = CertificateRequest::settled(&self.places.identity()) {
                    tracing::warn!(%error, "the file of the request stays; it does no harm");
                }
                tracing::info!(
                    not_after = renewed.own().not_after.unix_seconds(),
                    "the certificate was renewed"
                );
                *identity = renewed;
            }
            Err(error) => {
                tracing::error!(%error, "the renewed certificate cannot be used; the old one stays");
            }
        }
    }
}

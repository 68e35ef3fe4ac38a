//! Renewing: a hub that has no CA of its own, a witness, asks another for its next certificate.
//!
//! Promise: only a hub of the table gets one, over its own id and name; the table remembers its new key.

use bytes::Bytes;
use millrace_link::{KeyHash, Role};

use super::record::HubRecord;
use super::{Cluster, keys};
use crate::peers::Caller;
use crate::registrar::{Registrar, RenewalError};
use crate::registry::{RegistryError, put};
use millrace_hub_control::kv::{Compare, Txn};

/// Why a hub gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum HubRenewalError {
    /// It is not in the table.
    #[error("this hub is not in the cluster's table: join first")]
    Stranger,
    /// It cannot be issued.
    #[error(transparent)]
    Issue(#[from] RenewalError),
}

/// A new certificate over the key in `csr_der` (PKCS #10), and the CA's behind it, as PEM.
///
/// # Errors
/// [`HubRenewalError`], in words for the asking hub's log.
pub async fn answer(
    cluster: &Cluster,
    registrar: &Registrar,
    caller: &Caller,
    csr_der: &[u8],
) -> Result<Bytes, HubRenewalError> {
    let table = cluster.table();
    let node = table.node_of(&caller.hub).ok_or(HubRenewalError::Stranger)?;
    let record = table.hub(node).ok_or(HubRenewalError::Stranger)?;
    let (pem, certificate) = registrar.issue(csr_der, Role::Hub(caller.hub), &record.name)?;
    remember_key(cluster, certificate.key, record.node).await;
    tracing::info!(%node, "a hub's certificate is issued");
    Ok(format!("{pem}{}", registrar.ca_pem()).into())
}

/// Best effort: the cluster's signature admits the hub too, while its certificate is valid.
async fn remember_key(cluster: &Cluster, key: KeyHash, node: millrace_model::NodeId) {
    let table = cluster.table();
    let Some(dated) = table.hubs.get(&node) else { return };
    let place = keys::hub(node);
    let decided = match put(place.clone(), &HubRecord { key, ..dated.value.clone() }) {
        Ok(op) => {
            let compares = vec![Compare::unchanged(place, dated.revision)];
            let txn = Txn { compares, then: vec![op], otherwise: Vec::new() };
            cluster.decide(txn).await.map_err(RegistryError::from)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = decided {
        tracing::warn!(%error, %node, "a hub's new key is not in the table yet");
    }
}

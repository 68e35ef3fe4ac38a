//! What this hub answers to the calls of others: messages of the consensus, hubs that join, hubs that renew their certificate, and
//! queries for records that it keeps.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use millrace_host::Clock;
use millrace_wire::CallKind;

use crate::cluster::{Cluster, joining, renewing};
use crate::http::Api;
use crate::peers::{Answer, Answered, Caller};
use crate::registrar::Registrar;

/// Answers calls.
pub(super) struct Answering {
    pub(super) cluster: Cluster,
    pub(super) registrar: Arc<Registrar>,
    /// There a moment after the others can ask.
    pub(super) api: Arc<OnceLock<Api>>,
    pub(super) clock: Clock,
}

impl Answer for Answering {
    fn answer<'a>(&'a self, from: Caller, kind: CallKind, body: Bytes) -> Answered<'a> {
        Box::pin(async move {
            match kind {
                CallKind::Control => {
                    let node = from.node.map(|node| node.0);
                    Ok(self.cluster.control().receive(node, body).await)
                }
                CallKind::Join => {
                    let (cluster, ca) = (&self.cluster, self.registrar.ca());
                    let joined = joining::answer(cluster, ca, &from, &body, self.clock.wall()).await;
                    joined.map_err(|error| {
                        tracing::warn!(hub = %from.hub, name = from.name, %error, "a hub was not taken in");
                        error.to_string()
                    })
                }
                CallKind::Renew => renewing::answer(&self.cluster, &self.registrar, &from, &body)
                    .await
                    .map_err(|error| error.to_string()),
                CallKind::Api => match self.api.get() {
                    Some(_) if from.node.is_none() => Err("only hubs of the table may ask".to_owned()),
                    Some(api) => crate::http::records_for_peer(api, &body).await,
                    None => Err("this hub is starting".to_owned()),
                },
            }
        })
    }
}

//! What this hub answers to the calls of others: messages of the consensus, hubs that join, hubs that renew their certificate, and
//! queries for records that it keeps.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use millrace_host::Clock;
use millrace_wire::CallKind;

use crate::cluster::{joining, renewing};
use crate::http::{Api, ApiParts};
use crate::peers::{Answer, Answered, Caller};
use crate::registrar::Registrar;

/// Answers calls, for as long as the hub runs.
pub(super) struct Answering {
    /// Not held: the consensus holds the road to the others, and the road holds this.
    pub(super) registrar: Weak<Registrar>,
    /// There a moment after the others can ask. Not held, likewise.
    pub(super) api: Arc<OnceLock<Weak<ApiParts>>>,
    pub(super) clock: Clock,
}

impl Answer for Answering {
    fn answer<'a>(&'a self, from: Caller, kind: CallKind, body: Bytes) -> Answered<'a> {
        Box::pin(async move {
            let Some(registrar) = self.registrar.upgrade() else {
                return Err("this hub is stopping: try again".to_owned());
            };
            let cluster = registrar.registry().cluster();
            match kind {
                CallKind::Control => {
                    let node = from.node.map(|node| node.0);
                    Ok(cluster.control().receive(node, body).await)
                }
                CallKind::Join => {
                    let now = self.clock.wall();
                    let reply = joining::answer(cluster, registrar.ca(), &from, &body, now).await;
                    reply.map_err(|error| error.to_string())
                }
                CallKind::Renew => renewing::answer(cluster, &registrar, &from, &body)
                    .await
                    .map_err(|error| error.to_string()),
                CallKind::Api => match self.api.get().and_then(Api::upgrade) {
                    Some(_) if from.node.is_none() => Err("only hubs of the table may ask".to_owned()),
                    Some(api) => crate::http::records_for_peer(&api, &body).await,
                    None => Err("this hub is starting".to_owned()),
                },
            }
        })
    }
}

//! What this hub answers to the calls of others: messages of the consensus, hubs that join, hubs that renew their certificate, and
//! queries for records that it keeps.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use millrace_host::Clock;
use millrace_model::NodeId;
use millrace_wire::CallKind;

use crate::cluster::{Table, joining, renewing};
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
                    if from.node.is_none() && claims_anothers_number(&cluster.table(), &body) {
                        tracing::warn!(hub = %from.hub, name = from.name, "a hub spoke under another one's number");
                        return Err(
                            "your certificate is not of the hub whose number the message names".to_owned()
                        );
                    }
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
                    Some(api) => crate::http::records_for_peer(&api, &from, &body).await,
                    None => Err("this hub is starting".to_owned()),
                },
            }
        })
    }
}

/// Whether a message of the consensus, from a hub that is not in the table, names a number that is in it: that of another hub.
/// A number that is not there may be the caller's own, which this hub has not heard of yet.
fn claims_anothers_number(table: &Table, message: &Bytes) -> bool {
    millrace_hub_control::sender(message).is_some_and(|sender| table.hub(NodeId(sender)).is_some())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use millrace_hub_control::{Call, Control, Member, Options, Seat, Transport, TransportError};
    use millrace_link::KeyHash;
    use millrace_model::{HubId, Incarnation, Wall};
    use tokio::sync::mpsc;

    use super::*;
    use crate::cluster::Dated;
    use crate::cluster::record::{HubRecord, HubState};

    /// A road that ends in a channel.
    struct Heard(mpsc::Sender<Bytes>);

    impl Transport for Heard {
        fn call<'a>(&'a self, _node: u64, _member: &'a Member, request: Bytes) -> Call<'a> {
            // One message is enough.
            let _ = self.0.try_send(request);
            Box::pin(async { Err(TransportError::Unreachable("nobody is there".to_owned())) })
        }
    }

    fn table(number: u64) -> Table {
        let record = HubRecord {
            node: NodeId(number),
            hub: HubId::from_bytes([1; 16]),
            name: "hub-1".into(),
            region: "north".into(),
            addresses: Vec::new(),
            witness: false,
            control: Incarnation::new(1),
            store: None,
            state: HubState::Member,
            joined_at: Wall(0),
            key: KeyHash::from_bytes([1; 32]),
        };
        let mut table = Table::default();
        table.hubs.insert(NodeId(number), Dated { value: record, revision: 1 });
        table
    }

    #[tokio::test]
    async fn a_hub_in_no_table_does_not_speak_under_the_number_of_one_that_is() {
        let dir = tempfile::tempdir().unwrap();
        let (messages, mut heard) = mpsc::channel(1);
        let seat = Seat {
            id: 300,
            incarnation: 5,
            epoch: 200,
            directory: dir.path().join("control"),
            seed: 1,
            inline: false,
        };
        let control = Control::open(seat, Options::lan(), Arc::new(Heard(messages))).await.unwrap();
        let member = |incarnation| Member { incarnation, ..Member::default() };
        control.found(BTreeMap::from([(300, member(5)), (301, member(6))])).await.unwrap();
        let message = heard.recv().await.unwrap();
        control.close().await;
        assert!(claims_anothers_number(&table(300), &message));
        assert!(!claims_anothers_number(&table(7), &message), "this hub may not have heard of it yet");
        assert!(!claims_anothers_number(&table(300), &message.slice(..2)), "who reads all of it refuses it");
    }
}

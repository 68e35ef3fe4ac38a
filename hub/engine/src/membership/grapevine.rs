//! Which profiles foca passes on: those that are newer than what it passed on before.
//!
//! Promise: every edition of a profile is passed on once by each hub, and an older one never after a newer one.
//! Absent: the profiles themselves; [`super::roster`] keeps them.

use std::collections::BTreeMap;

use foca::{BroadcastHandler, Invalidates};
use millrace_model::NodeId;
use millrace_wire::{GossipError, gossip};

use super::peer::Peer;
use super::profile::{Announced, Edition};

/// Hubs whose last edition is remembered. Ids are never used again, so the lowest number is the hub that left longest ago;
/// when it is forgotten and was still there, its profile goes round once more.
const REMEMBERED_MAX: usize = 1_024;

/// The editions that were passed on.
#[derive(Debug, Default)]
pub(crate) struct Grapevine {
    newest: BTreeMap<NodeId, Edition>,
}

/// What makes one profile replace another on its way.
#[derive(Debug)]
pub(crate) struct Key {
    node: NodeId,
    edition: Edition,
}

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self.node == other.node && self.edition >= other.edition
    }
}

impl BroadcastHandler<Peer> for Grapevine {
    type Key = Key;
    type Error = GossipError;

    fn receive_item(&mut self, mut data: &[u8], _: Option<&Peer>) -> Result<Option<Key>, GossipError> {
        let Announced { node, edition, .. } = gossip::decode(&mut data)?;
        if self.newest.get(&node).is_some_and(|newest| *newest >= edition) {
            return Ok(None);
        }
        self.newest.insert(node, edition);
        if self.newest.len() > REMEMBERED_MAX {
            self.newest.pop_first();
        }
        Ok(Some(Key { node, edition }))
    }
}

//! Which key means what. Everything of the program's own begins with [`OURS`] or [`LOCKS`]; all other keys are the users'.

use bytes::Bytes;
use millrace_model::{DeviceId, HubId, NodeId};

/// What the keys of the program begin with.
pub const OURS: &str = "millrace/";
/// What the keys of locks begin with.
pub const LOCKS: &str = "lock/";

/// The cluster itself.
pub const CLUSTER: &str = "millrace/cluster";
/// The next hub's number.
pub const NEXT_NODE: &str = "millrace/next-node";
/// Who keeps what.
pub const PLACEMENT: &str = "millrace/placement";
/// What the cluster was told to be like.
pub const SETTINGS: &str = "millrace/settings";

const HUBS: &str = "millrace/hubs/";
const GONE: &str = "millrace/gone/";
const ENROLLED_HUBS: &str = "millrace/enrolled-hubs/";
const DEVICES: &str = "millrace/devices/";
const DEVICE_NAMES: &str = "millrace/device-names/";
const TOKENS: &str = "millrace/tokens/";

/// One of the program's keys, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// [`CLUSTER`].
    Cluster,
    /// [`PLACEMENT`].
    Placement,
    /// [`SETTINGS`].
    Settings,
    /// [`hub`].
    Hub(NodeId),
    /// [`gone`].
    Gone(NodeId),
    /// [`enrolled_hub`].
    EnrolledHub(HubId),
    /// [`device`].
    Device(DeviceId),
    /// [`token`].
    Token(String),
}

impl Key {
    /// What `key` means; `None`: nothing that is kept in memory.
    #[must_use]
    pub fn of(key: &[u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?;
        match key {
            CLUSTER => return Some(Self::Cluster),
            PLACEMENT => return Some(Self::Placement),
            SETTINGS => return Some(Self::Settings),
            _ => {}
        }
        let node = |text: &str| text.parse().ok().map(NodeId);
        let of = |prefix: &str| key.strip_prefix(prefix);
        if let Some(text) = of(HUBS) {
            return node(text).map(Self::Hub);
        }
        if let Some(text) = of(GONE) {
            return node(text).map(Self::Gone);
        }
        if let Some(text) = of(ENROLLED_HUBS) {
            return text.parse().ok().map(Self::EnrolledHub);
        }
        if let Some(text) = of(DEVICES) {
            return text.parse().ok().map(Self::Device);
        }
        of(TOKENS).map(|text| Self::Token(text.to_owned()))
    }
}

/// The key of a hub. Twenty digits, so that they stand in the order of their numbers.
#[must_use]
pub fn hub(node: NodeId) -> Bytes {
    format!("{HUBS}{:020}", node.0).into()
}

/// The key of a hub that was removed.
#[must_use]
pub fn gone(node: NodeId) -> Bytes {
    format!("{GONE}{:020}", node.0).into()
}

/// The key of a machine that has a hub's certificate and has not joined yet.
#[must_use]
pub fn enrolled_hub(hub: &HubId) -> Bytes {
    format!("{ENROLLED_HUBS}{hub}").into()
}

/// The key of a device.
#[must_use]
pub fn device(id: &DeviceId) -> Bytes {
    format!("{DEVICES}{id}").into()
}

/// The key that says whose a device's name is.
#[must_use]
pub fn device_name(name: &str) -> Bytes {
    format!("{DEVICE_NAMES}{name}").into()
}

/// The key of a join token.
#[must_use]
pub fn token(fingerprint: &str) -> Bytes {
    format!("{TOKENS}{fingerprint}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let (device_id, hub_id) = (DeviceId::from_bytes([7; 16]), HubId::from_bytes([8; 16]));
        assert_eq!(Key::of(&hub(NodeId(12))), Some(Key::Hub(NodeId(12))));
        assert_eq!(Key::of(&gone(NodeId(12))), Some(Key::Gone(NodeId(12))));
        assert_eq!(Key::of(&device(&device_id)), Some(Key::Device(device_id)));
        assert_eq!(Key::of(&enrolled_hub(&hub_id)), Some(Key::EnrolledHub(hub_id)));
        assert_eq!(Key::of(&token("ab")), Some(Key::Token("ab".into())));
        assert_eq!((Key::of(b"millrace/next-node"), Key::of(b"plant/x")), (None, None));
        assert!(hub(NodeId(9)) < hub(NodeId(10)));
    }
}

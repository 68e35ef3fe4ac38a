//! The codec against bytes written by hand from the standards, and against bytes that lie.

use bytes::Bytes;

use super::*;
use crate::mqtt::packet::Qos;

fn decoded(version: Version, bytes: &[u8]) -> Result<Packet, CodecError> {
    let length = frame_bytes(bytes, 1 << 20).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    decode(version, BytesMut::from(bytes))
}

#[test]
fn both_versions_read_back_what_they_wrote() {
    let publication = Publication {
        topic: "ü/temp".to_owned(),
        payload: Bytes::from_static(b"\x00\xff"),
        qos: Qos::ExactlyOnce,
        retain: true,
        dup: true,
        packet_id: 700,
    };
    for version in [Version::V4, Version::V5] {
        let mut bytes = BytesMut::new();
        encode(version, &Outgoing::Publish(publication.clone()), &mut bytes).unwrap();
        assert_eq!(decoded(version, &bytes).unwrap(), Packet::Publish(publication.clone()));
    }
}

#[test]
fn a_disconnect_of_mqtt_5_is_read_with_and_without_a_reason() {
    for (bytes, will) in
        [(&[0xE0, 0][..], false), (&[0xE0, 1, 0], false), (&[0xE0, 1, 4], true), (&[0xE0, 2, 4, 0], true)]
    {
        assert_eq!(decoded(Version::V5, bytes).unwrap(), Packet::Disconnect { will });
    }
}

#[test]
fn a_frame_whose_inner_lengths_lie_is_malformed_and_not_incomplete() {
    // A PUBLISH of QoS 0, topic "a", whose property length says that another length byte follows.
    let lying = [0x30, 4, 0, 1, b'a', 0x80];
    assert!(matches!(decoded(Version::V5, &lying), Err(CodecError::Malformed(_))));
    // A topic longer than its frame.
    assert!(matches!(decoded(Version::V4, &[0x30, 3, 0, 9, b'a']), Err(CodecError::Malformed(_))));
}

#[test]
fn an_announced_length_over_the_limit_is_refused_before_its_bytes_come() {
    let huge = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
    assert!(matches!(frame_bytes(&huge, 1 << 20), Err(CodecError::TooLarge { bytes: 268_435_455, .. })));
    let endless = [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    assert!(matches!(frame_bytes(&endless, 1 << 20), Err(CodecError::Malformed(_))));
}

#[test]
fn the_version_is_read_from_the_connect() {
    let connect = |level| [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 60, 0, 0];
    assert_eq!(asked_version(&connect(4)).unwrap(), Version::V4);
    assert_eq!(asked_version(&connect(5)).unwrap(), Version::V5);
    assert!(matches!(asked_version(&connect(3)), Err(CodecError::Level(3))));
    assert!(matches!(asked_version(b"GET / HTTP/1.1"), Err(CodecError::Unexpected(_))));
    assert!(asked_version(&[0x10]).is_err());
}

#[test]
fn random_bytes_never_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..20_000_u32 {
        let mut bytes: Vec<u8> = (0..random.usize(2..64)).map(|_| random.u8(..)).collect();
        // Most rounds get an honest length, so that the inner parsers see the bytes.
        if round % 8 != 0 {
            bytes[1] = u8::try_from(bytes.len() - 2).unwrap();
        }
        if let Ok(Some(length)) = frame_bytes(&bytes, 1 << 20) {
            let _version = asked_version(&bytes);
            for version in [Version::V4, Version::V5] {
                let _packet = decode(version, BytesMut::from(&bytes[..length]));
            }
        }
    }
}

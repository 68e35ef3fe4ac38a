//! MQTT 3.1.1 packets, by `rumqttc::mqttbytes::v4`.
//!
//! Absent: reason codes; the version has none.

use bytes::BytesMut;
use rumqttc::mqttbytes::{QoS, v4};

use super::{CodecError, Granted, Outgoing, Welcome};
use crate::mqtt::packet::{Connect, Packet, Publication, Qos, RetainedWish, Version, Wish};

fn malformed(error: &rumqttc::mqttbytes::Error) -> CodecError {
    CodecError::Malformed(error.to_string())
}

const fn qos_in(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

const fn qos_out(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

pub(super) fn decode(mut frame: BytesMut) -> Result<Packet, CodecError> {
    let frame_bytes = frame.len();
    Ok(match v4::Packet::read(&mut frame, frame_bytes).map_err(|error| malformed(&error))? {
        v4::Packet::Connect(connect) => Packet::Connect(Box::new(connect_in(connect))),
        v4::Packet::ConnAck(ack) => Packet::ConnAck {
            session_present: ack.session_present,
            refused: (ack.code != v4::ConnectReturnCode::Success).then(|| format!("{:?}", ack.code)),
        },
        v4::Packet::Publish(publish) => Packet::Publish(Publication {
            topic: publish.topic,
            payload: publish.payload,
            qos: qos_in(publish.qos),
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.pkid,
        }),
        v4::Packet::PubAck(ack) => Packet::PubAck(ack.pkid),
        v4::Packet::PubRec(ack) => Packet::PubRec(ack.pkid),
        v4::Packet::PubRel(ack) => Packet::PubRel(ack.pkid),
        v4::Packet::PubComp(ack) => Packet::PubComp(ack.pkid),
        v4::Packet::Subscribe(subscribe) => Packet::Subscribe {
            packet_id: subscribe.pkid,
            wishes: subscribe.filters.into_iter().map(wish_in).collect(),
        },
        v4::Packet::SubAck(ack) => Packet::SubAck {
            granted: ack.return_codes.iter().map(|code| *code != v4::SubscribeReasonCode::Failure).collect(),
        },
        v4::Packet::Unsubscribe(unsubscribe) => {
            Packet::Unsubscribe { packet_id: unsubscribe.pkid, filters: unsubscribe.topics }
        }
        v4::Packet::UnsubAck(_) => Packet::UnsubAck,
        v4::Packet::PingReq => Packet::PingReq,
        v4::Packet::PingResp => Packet::PingResp,
        v4::Packet::Disconnect => Packet::Disconnect { will: false },
    })
}

fn connect_in(connect: v4::Connect) -> Connect {
    Connect {
        version: Version::V4,
        client_id: connect.client_id,
        keep_alive: connect.keep_alive,
        clean: connect.clean_session,
        session_expiry: if connect.clean_session { 0 } else { u32::MAX },
        login: connect.login.map(|login| (login.username, login.password)),
        will: connect.last_will.map(|will| Publication {
            topic: will.topic,
            payload: will.message,
            qos: qos_in(will.qos),
            retain: will.retain,
            dup: false,
            packet_id: 0,
        }),
        receive_max: u16::MAX,
        packet_bytes_max: None,
    }
}

fn wish_in(filter: v4::SubscribeFilter) -> Wish {
    Wish {
        filter: filter.path,
        qos: qos_in(filter.qos),
        no_local: false,
        keep_retain_flag: false,
        retained: RetainedWish::Always,
    }
}

pub(super) fn encode(packet: &Outgoing, output: &mut BytesMut) -> Result<(), CodecError> {
    let written = match packet {
        Outgoing::Connect(connect) => connect_out(connect).write(output),
        Outgoing::ConnAck(greeting) => {
            let code = match greeting.welcome {
                Welcome::Accepted => v4::ConnectReturnCode::Success,
                Welcome::BadLogin => v4::ConnectReturnCode::BadUserNamePassword,
                Welcome::BadClientId => v4::ConnectReturnCode::BadClientId,
                Welcome::Busy => v4::ConnectReturnCode::ServiceUnavailable,
            };
            v4::ConnAck::new(code, greeting.session_present).write(output)
        }
        Outgoing::Publish(publication) => publish_out(publication).write(output),
        Outgoing::PubAck(id, _) => v4::PubAck::new(*id).write(output),
        Outgoing::PubRec(id, _) => v4::PubRec::new(*id).write(output),
        Outgoing::PubComp(id, _) => v4::PubComp::new(*id).write(output),
        Outgoing::Subscribe { packet_id, wishes } => {
            let filters = wishes.iter().map(|w| v4::SubscribeFilter::new(w.filter.clone(), qos_out(w.qos)));
            let mut subscribe = v4::Subscribe::new_many(filters);
            subscribe.pkid = *packet_id;
            subscribe.write(output)
        }
        Outgoing::SubAck { packet_id, results } => {
            let codes = results.iter().map(|result| match result {
                Granted::Qos(qos) => v4::SubscribeReasonCode::Success(qos_out(*qos)),
                Granted::Invalid | Granted::QuotaExceeded => v4::SubscribeReasonCode::Failure,
            });
            v4::SubAck::new(*packet_id, codes.collect()).write(output)
        }
        Outgoing::UnsubAck { packet_id, .. } => v4::UnsubAck::new(*packet_id).write(output),
        Outgoing::PingReq => v4::PingReq.write(output),
        Outgoing::PingResp => v4::PingResp.write(output),
        // Only a client says goodbye in 3.1.1; a server just closes.
        Outgoing::Disconnect(super::Farewell::Normal) => v4::Disconnect.write(output),
        Outgoing::Disconnect(_) => Ok(0),
    };
    written.map(|_bytes| ()).map_err(|error| malformed(&error))
}

fn connect_out(connect: &Connect) -> v4::Connect {
    let mut out = v4::Connect::new(connect.client_id.clone());
    out.keep_alive = connect.keep_alive;
    out.clean_session = connect.clean;
    out.login = connect.login.as_ref().map(|(user, password)| v4::Login::new(user, password));
    out.last_will = connect
        .will
        .as_ref()
        .map(|w| v4::LastWill::new(&w.topic, w.payload.clone(), qos_out(w.qos), w.retain));
    out
}

fn publish_out(publication: &Publication) -> v4::Publish {
    let mut out =
        v4::Publish::from_bytes(&publication.topic, qos_out(publication.qos), publication.payload.clone());
    out.retain = publication.retain;
    out.dup = publication.dup;
    out.pkid = publication.packet_id;
    out
}

//! MQTT 5 packets, by `rumqttc::v5::mqttbytes::v5`.
//!
//! Absent: topic aliases (we announce none, so nobody may use one), AUTH, user properties, message expiry, will
//! delay.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::{QoS, v5};

use super::{CodecError, Farewell, Granted, Greeting, Outgoing, Welcome};
use crate::mqtt::inbound::Code;
use crate::mqtt::packet::{Connect, Packet, Publication, Qos, RetainedWish, Version, Wish};

fn malformed(error: &rumqttc::v5::mqttbytes::Error) -> CodecError {
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
    // rumqttc reads no DISCONNECT without properties, which is the usual one.
    if frame.first().is_some_and(|byte| byte >> 4 == 14) {
        return Ok(Packet::Disconnect {
            will: super::body(&frame).first().is_some_and(|reason| *reason != 0),
        });
    }
    Ok(match v5::Packet::read(&mut frame, None).map_err(|error| malformed(&error))? {
        v5::Packet::Connect(connect, will, login) => {
            Packet::Connect(Box::new(connect_in(connect, will, login)?))
        }
        v5::Packet::ConnAck(ack) => Packet::ConnAck {
            session_present: ack.session_present,
            refused: (ack.code != v5::ConnectReturnCode::Success).then(|| format!("{:?}", ack.code)),
        },
        v5::Packet::Publish(publish) => Packet::Publish(publish_in(publish)?),
        v5::Packet::PubAck(ack) => Packet::PubAck(ack.pkid),
        v5::Packet::PubRec(ack) => Packet::PubRec(ack.pkid),
        v5::Packet::PubRel(ack) => Packet::PubRel(ack.pkid),
        v5::Packet::PubComp(ack) => Packet::PubComp(ack.pkid),
        v5::Packet::Subscribe(subscribe) => Packet::Subscribe {
            packet_id: subscribe.pkid,
            wishes: subscribe.filters.into_iter().map(wish_in).collect(),
        },
        v5::Packet::SubAck(ack) => Packet::SubAck {
            granted: ack
                .return_codes
                .iter()
                .map(|code| matches!(code, v5::SubscribeReasonCode::Success(_)))
                .collect(),
        },
        v5::Packet::Unsubscribe(unsubscribe) => {
            Packet::Unsubscribe { packet_id: unsubscribe.pkid, filters: unsubscribe.filters }
        }
        v5::Packet::UnsubAck(_) => Packet::UnsubAck,
        v5::Packet::PingReq(_) => Packet::PingReq,
        v5::Packet::PingResp(_) => Packet::PingResp,
        v5::Packet::Disconnect(_) => Packet::Disconnect { will: false },
        v5::Packet::Auth(_) => return Err(CodecError::Unexpected("AUTH")),
    })
}

fn topic_in(topic: &[u8]) -> Result<String, CodecError> {
    match std::str::from_utf8(topic) {
        Ok(topic) => Ok(topic.to_owned()),
        Err(error) => Err(CodecError::Malformed(format!("topic: {error}"))),
    }
}

fn publish_in(publish: v5::Publish) -> Result<Publication, CodecError> {
    if publish.properties.as_ref().is_some_and(|properties| properties.topic_alias.is_some()) {
        return Err(CodecError::Unexpected("a topic alias, although none was offered"));
    }
    Ok(Publication {
        topic: topic_in(&publish.topic)?,
        payload: publish.payload,
        qos: qos_in(publish.qos),
        retain: publish.retain,
        dup: publish.dup,
        packet_id: publish.pkid,
    })
}

fn connect_in(
    connect: v5::Connect,
    will: Option<v5::LastWill>,
    login: Option<v5::Login>,
) -> Result<Connect, CodecError> {
    let will = match will {
        None => None,
        Some(will) => Some(Publication {
            topic: topic_in(&will.topic)?,
            payload: will.message,
            qos: qos_in(will.qos),
            retain: will.retain,
            dup: false,
            packet_id: 0,
        }),
    };
    let properties = connect.properties.unwrap_or_default();
    Ok(Connect {
        version: Version::V5,
        client_id: connect.client_id,
        keep_alive: connect.keep_alive,
        clean: connect.clean_start,
        session_expiry: properties.session_expiry_interval.unwrap_or(0),
        login: login.map(|login| (login.username, login.password)),
        will,
        receive_max: properties.receive_maximum.unwrap_or(u16::MAX).max(1),
        packet_bytes_max: properties.max_packet_size,
    })
}

fn wish_in(filter: v5::Filter) -> Wish {
    Wish {
        filter: filter.path,
        qos: qos_in(filter.qos),
        no_local: filter.nolocal,
        keep_retain_flag: filter.preserve_retain,
        retained: match filter.retain_forward_rule {
            v5::RetainForwardRule::OnEverySubscribe => RetainedWish::Always,
            v5::RetainForwardRule::OnNewSubscribe => RetainedWish::IfNew,
            v5::RetainForwardRule::Never => RetainedWish::Never,
        },
    }
}

pub(super) fn encode(packet: &Outgoing, output: &mut BytesMut) -> Result<(), CodecError> {
    let written = match packet {
        Outgoing::Connect(connect) => connect_out(connect, output),
        Outgoing::ConnAck(greeting) => connack_out(greeting).write(output),
        Outgoing::Publish(publication) => publish_out(publication).write(output),
        Outgoing::PubAck(id, code) => {
            let mut ack = v5::PubAck::new(*id, None);
            ack.reason = match code {
                Code::Success => v5::PubAckReason::Success,
                Code::QuotaExceeded => v5::PubAckReason::QuotaExceeded,
                Code::Refused => v5::PubAckReason::ImplementationSpecificError,
            };
            ack.write(output)
        }
        Outgoing::PubRec(id, code) => {
            let mut ack = v5::PubRec::new(*id, None);
            ack.reason = match code {
                Code::Success => v5::PubRecReason::Success,
                Code::QuotaExceeded => v5::PubRecReason::QuotaExceeded,
                Code::Refused => v5::PubRecReason::ImplementationSpecificError,
            };
            ack.write(output)
        }
        Outgoing::PubComp(id, known) => {
            let mut ack = v5::PubComp::new(*id, None);
            if !known {
                ack.reason = v5::PubCompReason::PacketIdentifierNotFound;
            }
            ack.write(output)
        }
        Outgoing::Subscribe { packet_id, wishes } => {
            let mut subscribe = v5::Subscribe::new_many(wishes.iter().map(wish_out), None);
            subscribe.pkid = *packet_id;
            subscribe.write(output)
        }
        Outgoing::SubAck { packet_id, results } => {
            let return_codes = results.iter().map(|result| match result {
                Granted::Qos(qos) => v5::SubscribeReasonCode::Success(qos_out(*qos)),
                Granted::Invalid => v5::SubscribeReasonCode::TopicFilterInvalid,
                Granted::QuotaExceeded => v5::SubscribeReasonCode::QuotaExceeded,
            });
            v5::SubAck { pkid: *packet_id, return_codes: return_codes.collect(), properties: None }
                .write(output)
        }
        Outgoing::UnsubAck { packet_id, filters } => {
            let reasons = vec![v5::UnsubAckReason::Success; *filters];
            v5::UnsubAck { pkid: *packet_id, reasons, properties: None }.write(output)
        }
        Outgoing::PingReq => v5::PingReq::write(output),
        Outgoing::PingResp => v5::PingResp::write(output),
        Outgoing::Disconnect(farewell) => v5::Disconnect::new(disconnect_out(*farewell)).write(output),
    };
    written.map(|_bytes| ()).map_err(|error| malformed(&error))
}

const fn disconnect_out(farewell: Farewell) -> v5::DisconnectReasonCode {
    match farewell {
        Farewell::Normal => v5::DisconnectReasonCode::NormalDisconnection,
        Farewell::TakenOver => v5::DisconnectReasonCode::SessionTakenOver,
        Farewell::ShuttingDown => v5::DisconnectReasonCode::ServerShuttingDown,
        Farewell::KeepAlive => v5::DisconnectReasonCode::KeepAliveTimeout,
        Farewell::TooLarge => v5::DisconnectReasonCode::PacketTooLarge,
        Farewell::Malformed => v5::DisconnectReasonCode::MalformedPacket,
        Farewell::Protocol => v5::DisconnectReasonCode::ProtocolError,
    }
}

fn connect_out(connect: &Connect, output: &mut BytesMut) -> Result<usize, rumqttc::v5::mqttbytes::Error> {
    let mut properties = v5::ConnectProperties::new();
    properties.session_expiry_interval = Some(connect.session_expiry);
    properties.receive_maximum = Some(connect.receive_max);
    let login = connect.login.as_ref().map(|(user, password)| v5::Login::new(user, password));
    let out = v5::Connect {
        keep_alive: connect.keep_alive,
        client_id: connect.client_id.clone(),
        clean_start: connect.clean,
        properties: Some(properties),
    };
    let will = connect.will.as_ref().map(|will| {
        v5::LastWill::new(will.topic.clone(), will.payload.clone(), qos_out(will.qos), will.retain, None)
    });
    out.write(&will, &login, output)
}

fn connack_out(greeting: &Greeting) -> v5::ConnAck {
    let code = match greeting.welcome {
        Welcome::Accepted => v5::ConnectReturnCode::Success,
        Welcome::BadLogin => v5::ConnectReturnCode::BadUserNamePassword,
        Welcome::BadClientId => v5::ConnectReturnCode::ClientIdentifierNotValid,
        Welcome::Busy => v5::ConnectReturnCode::ServerBusy,
    };
    let properties = (greeting.welcome == Welcome::Accepted).then(|| v5::ConnAckProperties {
        session_expiry_interval: None,
        receive_max: Some(greeting.receive_max),
        max_qos: None,
        retain_available: None,
        max_packet_size: Some(greeting.packet_bytes_max),
        assigned_client_identifier: greeting.assigned_id.clone(),
        topic_alias_max: None,
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: Some(0),
        shared_subscription_available: Some(0),
        server_keep_alive: None,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    });
    v5::ConnAck { session_present: greeting.session_present, code, properties }
}

fn publish_out(publication: &Publication) -> v5::Publish {
    let mut out =
        v5::Publish::new(&publication.topic, qos_out(publication.qos), publication.payload.clone(), None);
    out.retain = publication.retain;
    out.dup = publication.dup;
    out.pkid = publication.packet_id;
    out
}

fn wish_out(wish: &Wish) -> v5::Filter {
    let mut filter = v5::Filter::new(wish.filter.clone(), qos_out(wish.qos));
    filter.nolocal = wish.no_local;
    filter.preserve_retain = wish.keep_retain_flag;
    filter.retain_forward_rule = match wish.retained {
        RetainedWish::Always => v5::RetainForwardRule::OnEverySubscribe,
        RetainedWish::IfNew => v5::RetainForwardRule::OnNewSubscribe,
        RetainedWish::Never => v5::RetainForwardRule::Never,
    };
    filter
}

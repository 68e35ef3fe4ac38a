//! A hub with many connected, idle agents: real certificates, real sessions, one process for all of them.

use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use millrace_demo::{Hub, HubOptions, Plant};
use millrace_host::Clock;
use millrace_link::{
    CertificateRequest, ClientOptions, Connection, Dialer, Inlet, JoinToken, Outlet, Wishes,
};
use millrace_model::{AckLevel, Encoding, Incarnation, JournalId, Lane, block};
use millrace_wire::limits::FRAME_MAX;
use millrace_wire::{Frame, Hello, RunFrame, decode, encode};
use serde_json::{Value, json};

use crate::memory;
use crate::reading::Hall;
use crate::row::{Aim, Row, Unit};
use crate::scale::Scale;

/// What a connected agent may cost the hub.
const SESSION_BYTES_MAX: f64 = 100.0 * 1024.0;
/// Records that each agent has delivered before it falls idle, so that the hub knows its journal.
const RECORDS: usize = 10;

/// The row for the crowd.
pub(crate) async fn rows(plant: &Plant, scale: &Scale) -> anyhow::Result<Vec<Row>> {
    let hub = Hub::start(plant, HubOptions::default()).await?;
    tokio::time::sleep(scale.rest).await;
    let empty = memory::of(&hub.process)?;
    let clock = Clock::system();
    let dialer = Dialer::new(ClientOptions::new(Arc::new(move || clock.wall())));
    let mut crowd = Vec::with_capacity(scale.agents);
    for number in 0..scale.agents {
        if number % 100 == 0 {
            eprintln!("    {number} agents");
        }
        crowd.push(Guest::arrive(&hub, &dialer, number).await.with_context(|| format!("agent {number}"))?);
    }
    tokio::time::sleep(scale.rest).await;
    let full = memory::of(&hub.process)?;
    let online = hub.status().await?.pointer("/devices/online").and_then(Value::as_u64);
    let present = crowd.iter().filter(|guest| guest.connection.close_reason().is_none()).count();
    if present < scale.agents || online != Some(scale.agents as u64) {
        bail!("only {present} of {} agents are connected, the hub sees {online:?}", scale.agents);
    }
    #[expect(clippy::cast_precision_loss, reason = "a thousand")]
    let each = |bytes: f64| bytes / scale.agents as f64;
    let what = format!("hub memory per connected idle agent, {} agents", scale.agents);
    Ok(vec![
        Row::alone(what, each(full.resident - empty.resident), Unit::Bytes, Aim::AtMost(SESSION_BYTES_MAX))
            .with(json!({
                "empty": empty,
                "full": full,
                "anonymous_each": each(full.anonymous - empty.anonymous),
            })),
    ])
}

/// An agent in an open session that has nothing more to say.
struct Guest {
    connection: Connection,
    _control: (Outlet, Inlet),
    _records: Outlet,
}

impl Guest {
    /// Enrols, connects, greets, delivers a few records, and waits for their acknowledgement.
    async fn arrive(hub: &Hub, dialer: &Dialer, number: usize) -> anyhow::Result<Self> {
        let token: JoinToken = hub.token(&format!("guest-{number}")).await?.trim().parse()?;
        let request = CertificateRequest::fresh()?;
        let identity = dialer.enroll(hub.quic(), &token, &request, &Wishes::default()).await?.identity;
        let device = identity.own().device().context("an agent's certificate names a device")?;
        let connection = dialer.connect(hub.quic(), &identity).await?;
        let (mut outlet, mut inlet) = connection.open_bi(2).await?;
        let incarnation = Incarnation::new(number as u64 + 1);
        let hello = Hello {
            software: "millrace-bench".into(),
            incarnation,
            level: AckLevel::Hub,
            journals: Vec::new(),
        };
        outlet.send(encode(&Frame::Hello(hello))?).await?;
        heard(&mut inlet, |frame| matches!(frame, Frame::Welcome(_))).await?;
        let mut records = connection.open_uni(1).await?;
        let journal = JournalId { device, incarnation, lane: Lane::Normal };
        records.send(encode(&Frame::Run(run(journal)?))?).await?;
        heard(&mut inlet, |frame| matches!(frame, Frame::Acks(_))).await?;
        Ok(Self { connection, _control: (outlet, inlet), _records: records })
    }
}

fn run(journal: JournalId) -> anyhow::Result<RunFrame> {
    let clock = Clock::system();
    let mut hall = Hall::new(journal.incarnation.bits())?;
    let records: Option<Vec<_>> =
        (0..RECORDS).map(|_| hall.record(clock.wall(), clock.mono_since_boot())).collect();
    let body = Bytes::from(block::encode(&records.context("the hall has machines")?));
    let count = u32::try_from(RECORDS)?;
    Ok(RunFrame { journal: journal.into(), first: 1, count, encoding: Encoding::Plain, body, segment: None })
}

/// Reads frames until the one that is waited for.
async fn heard(inlet: &mut Inlet, wanted: impl Fn(&Frame) -> bool) -> anyhow::Result<()> {
    loop {
        let bytes = inlet.next(FRAME_MAX).await?.context("the hub ended the session")?;
        let frame = decode(&bytes)?;
        match frame {
            frame if wanted(&frame) => return Ok(()),
            Frame::Goodbye(goodbye) => bail!("the hub said goodbye: {}", goodbye.reason),
            _ => {}
        }
    }
}

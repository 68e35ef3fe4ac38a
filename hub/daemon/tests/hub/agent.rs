//! An agent that says exactly what a test makes it say.

use bytes::Bytes;
use millrace_link::{CloseReason, Connection, Identity, Inlet, Outlet, SendError};
use millrace_model::{
    AckLevel, DeviceId, Encoding, Incarnation, JournalId, Lane, RangeSet, Record, SeqRange, Topic, Wall,
    block,
};
use millrace_wire::limits::FRAME_MAX;
use millrace_wire::{Frame, Goodbye, Hello, JournalSummary, Lodging, RunFrame, Welcome, decode, encode};

use crate::world::{World, soon};

pub struct Agent {
    pub connection: Connection,
    pub device: DeviceId,
    pub incarnation: Incarnation,
    pub control: (Outlet, Inlet),
    pub live: Outlet,
}

impl Agent {
    pub async fn connect(world: &World, identity: &Identity, incarnation: u64) -> Self {
        let connection = world.dialer.connect(world.quic, identity).await.unwrap();
        Self::over(connection, identity, incarnation).await
    }

    pub async fn over(connection: Connection, identity: &Identity, incarnation: u64) -> Self {
        let control = connection.open_bi(1).await.unwrap();
        let live = connection.open_uni(0).await.unwrap();
        let device = identity.own().device().unwrap();
        Self { connection, device, incarnation: Incarnation::new(incarnation), control, live }
    }

    pub fn journal(&self) -> JournalId {
        JournalId { device: self.device, incarnation: self.incarnation, lane: Lane::Normal }
    }

    pub async fn say(&mut self, frame: Frame) {
        self.say_bytes(encode(&frame).unwrap()).await;
    }

    pub async fn say_bytes(&mut self, bytes: Bytes) {
        // A hub that has hung up is seen by what it said last.
        let _ = self.control.0.send(bytes).await;
    }

    pub async fn hello(&mut self, journals: &[JournalSummary]) {
        let hello = Hello {
            software: "hand-written 1".into(),
            incarnation: self.incarnation,
            level: AckLevel::Hub,
            journals: journals.to_vec(),
        };
        self.say(Frame::Hello(hello)).await;
    }

    pub async fn next(&mut self) -> Frame {
        loop {
            let frame = self.any().await;
            // Which hubs there are may be told at any moment.
            if !matches!(frame, Frame::Hubs(_)) {
                return frame;
            }
        }
    }

    /// The next frame, also one that tells which hubs there are.
    pub async fn any(&mut self) -> Frame {
        let bytes = soon(self.control.1.next(FRAME_MAX)).await.unwrap();
        decode(&bytes.expect("the hub ended its stream")).unwrap()
    }

    pub async fn welcome(&mut self) -> Welcome {
        match self.next().await {
            Frame::Welcome(welcome) => *welcome,
            other => panic!("a Welcome was due, and {other:?} came"),
        }
    }

    /// The hub's goodbye, whatever else it says before.
    pub async fn goodbye(&mut self) -> Goodbye {
        loop {
            if let Frame::Goodbye(goodbye) = self.next().await {
                return goodbye;
            }
        }
    }

    pub async fn closed(&self) -> CloseReason {
        soon(self.connection.closed()).await
    }

    /// Sends these payloads on `topic`, from number `first` on, one second apart from `wall` on.
    pub async fn run(&mut self, first: u64, topic: &str, payloads: &[&str], wall: Wall) {
        self.send(first, topic, payloads, wall).await.unwrap();
    }

    /// As [`Self::run`]; `false` when the connection is over.
    pub async fn try_run(&mut self, first: u64, topic: &str, payloads: &[&str], wall: Wall) -> bool {
        self.send(first, topic, payloads, wall).await.is_ok()
    }

    async fn send(
        &mut self,
        first: u64,
        topic: &str,
        payloads: &[&str],
        wall: Wall,
    ) -> Result<(), SendError> {
        let records: Vec<Record> = (0..)
            .zip(payloads)
            .map(|(number, payload)| {
                let at = Wall(wall.0 + number * 1_000_000);
                let payload = Bytes::copy_from_slice(payload.as_bytes());
                Record::data(Topic::new(topic).unwrap(), payload, at, number.unsigned_abs())
            })
            .collect();
        let frame = self.frame(first, &records);
        self.live.send(encode(&frame).unwrap()).await
    }

    pub fn frame(&self, first: u64, records: &[Record]) -> Frame {
        Frame::Run(RunFrame {
            journal: Lodging::from(self.journal()),
            first,
            count: u32::try_from(records.len()).unwrap(),
            encoding: Encoding::Plain,
            body: Bytes::from(block::encode(records)),
            segment: None,
        })
    }

    /// Waits until the hub has acked all records up to `head`.
    pub async fn acked(&mut self, head: u64) {
        self.acked_since(1, head).await;
    }

    /// Waits until the hub has acked all records from `first` up to `head`.
    pub async fn acked_since(&mut self, first: u64, head: u64) {
        let mut acked = RangeSet::new();
        while !SeqRange::new(first, head).is_some_and(|range| acked.covers(range)) {
            match self.next().await {
                Frame::Acks(acks) => acks.acks.iter().for_each(|ack| acked.extend(&ack.ranges)),
                Frame::Credit(_) => {}
                other => panic!("acks were due, and {other:?} came"),
            }
        }
    }

    /// Waits for the ack of one record; `false` when the session ends instead.
    pub async fn try_acked(&mut self, seq: u64) -> bool {
        loop {
            let Ok(Some(bytes)) = soon(self.control.1.next(FRAME_MAX)).await else { return false };
            match decode(&bytes).unwrap() {
                Frame::Acks(acks) if acks.acks.iter().any(|ack| ack.ranges.contains(seq)) => return true,
                Frame::Goodbye(_) => return false,
                _ => {}
            }
        }
    }
}

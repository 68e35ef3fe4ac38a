//! Carrying out what the engine asks for.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_hub_engine::{Alarm, Command, Event, LinkId, Measure};
use millrace_journal::{Busy, CommitError, ReadError, Store};
use millrace_link::CloseCode;
use millrace_merkle::Told;
use millrace_model::store::{Change, JournalState, Outcome};
use millrace_model::{JournalId, RecordCheck, Seq, SeqRange};
use millrace_wire::{Frame, Goodbye, GoodbyeCode};

use super::input::{Answer, Consultation, Load, Outgoing, Seen, Stored};
use super::recalling::Recalled;
use super::{CHECKS_RUNNING_MAX, COMMIT_DEADLINE, Driver, Ended};
use crate::meters::{ByKind, ByLane};
use crate::reading::{Reading, ReadingError};

/// How long an agent that broke the protocol should wait before it comes back.
const VIOLATION_PAUSE_MS: u64 = 5_000;

impl Driver {
    pub(super) fn carry_out(&mut self) {
        if let Some((commit, changes)) = self.held.take() {
            self.hand_over(commit, changes);
        }
        while let Some(command) = self.parts.engine.poll_command() {
            match command {
                Command::Commit { commit, changes } => self.commit(commit, changes),
                Command::Send { link, frame } => self.send(link, Outgoing::Frame(frame)),
                Command::Close { link, code, reason } => self.send(link, Outgoing::Close { code, reason }),
                Command::Check { journal, range } => self.checks.push_back((journal, range)),
                Command::SessionOpened { link, device, fence, software } => {
                    tracing::info!(%device, link, fence, software, "a session began");
                    let Some(line) = self.lines.get_mut(&link) else { continue };
                    line.greeted = true;
                    let key = line.key;
                    self.saw(Seen::Came { device, software, key });
                }
                Command::Stored { journal, ranges } => {
                    let lane = ByLane { lane: journal.lane.name() };
                    self.parts.meters.records.get_or_create(&lane).inc_by(ranges.count());
                    // Fails only when nobody follows.
                    let _ = self.stored.send(Stored { journal, ranges });
                }
                Command::Alarm(alarm) => self.alarm(&alarm),
                Command::Consult { asker, number, journal, about } => {
                    self.consultations.push_back(Consultation { asker, number, journal, about });
                }
                Command::Compared(round) => self.compared(&round),
                Command::Mended(mend) => self.mended(&mend),
                Command::Tell { node, frame } => self.tell(node, frame),
                Command::Answer { guest, frame } => self.answer_guest(guest, frame),
                Command::Load { node, journal, range, bytes_max } => {
                    self.loads.push_back(Load { node, journal, range, bytes_max });
                }
                Command::Recall { link, device } => self.recall(link, Recalled::Of(device)),
                Command::Fetch { link, journal, ranges, bytes_max } => {
                    self.recall(link, Recalled::Newest { journal, ranges, bytes_max });
                }
                Command::Part { node, reason } => self.part(node, &reason),
                Command::Dismiss { guest, reason } => self.dismiss(guest, &reason),
                Command::Synced { .. } => self.synced(self.parts.engine.synced().clone()),
                Command::Relive { reason } => self.relive(reason),
            }
        }
        self.start_checks();
        self.start_loads();
        self.start_recalls();
        self.start_consultations();
    }

    pub(super) fn alarm(&mut self, alarm: &Alarm) {
        if let Alarm::Gap(gap, _) = alarm {
            self.parts.meters.declared.inc_by(gap.count);
        }
        let kind = self.parts.board.raise(alarm, self.parts.clock.wall());
        self.parts.meters.alarms.get_or_create(&ByKind { kind }).inc();
    }

    /// Hands a commit to the journal's thread, which answers with the proof of its flush.
    pub(super) fn commit(&mut self, commit: u64, changes: Vec<Change>) {
        let bytes = changes.iter().map(|change| match change {
            Change::Receive(run) => run.body.len() as u64,
            _ => 0,
        });
        self.parts.meters.received_bytes.inc_by(bytes.sum());
        #[expect(clippy::cast_precision_loss, reason = "a count of at most 1,024")]
        self.parts.meters.commit_changes.observe(changes.len() as f64);
        self.commit_asked = self.parts.clock.moment();
        self.parts.pulse.commits.asked(self.commit_asked);
        self.committing.busy(COMMIT_DEADLINE);
        self.hand_over(commit, Arc::new(changes));
    }

    /// Queues a commit. A queue that is full of other jobs is no full disk: the commit waits here, nothing is lost, and
    /// agents are held back by their credit until it is their turn.
    fn hand_over(&mut self, commit: u64, changes: Arc<Vec<Change>>) {
        let (answer, taken) = (self.answer.clone(), Arc::clone(&changes));
        let work = move |store: &mut Store| {
            let answered = match store.commit(commit, &taken) {
                Ok((durable, outcomes)) => {
                    let stored = measured(store, &outcomes);
                    let event = Event::Committed { durable, outcomes, usage: store.usage() };
                    Answer::Committed { event, stored }
                }
                Err(CommitError::Refused(refusal)) => Answer::Event(Event::CommitRefused { commit, refusal }),
                Err(error @ (CommitError::Poisoned(_) | CommitError::Invalid(_))) => {
                    Answer::Poisoned(error.to_string())
                }
            };
            // Fails only when the driver has ended, and then nobody waits for it.
            let _ = answer.blocking_send(answered);
        };
        match self.parts.writer.visit(work) {
            Ok(()) => self.busy = false,
            Err(Busy::Full) => {
                if !std::mem::replace(&mut self.busy, true) {
                    self.parts.meters.writer_busy.inc();
                    tracing::warn!(
                        "the journal's thread has as many jobs as may wait: the next commit waits with them"
                    );
                }
                self.held = Some((commit, changes));
            }
            Err(Busy::Stopped) => self.ended = Some(Ended::WriterGone),
        }
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        match answer {
            Answer::Committed { event, stored } => {
                self.answered(Answer::Event(event));
                self.feed(Event::Measured { stored });
            }
            Answer::Measured(stored) => self.feed(Event::Measured { stored }),
            Answer::Saved => self.saving = false,
            Answer::Event(event) => {
                self.committing.tick();
                self.committing.idle();
                self.parts.pulse.commits.flushed(self.parts.clock.moment());
                if let Event::Committed { usage, .. } = &event {
                    let took = self.parts.clock.moment().since(self.commit_asked);
                    self.parts.meters.commit_seconds.observe(took.as_secs_f64());
                    self.parts.meters.commits.inc();
                    self.parts.meters.store_bytes.set(usage.used_bytes.cast_signed());
                    self.parts.meters.written_bytes.set(usage.written_bytes.cast_signed());
                }
                self.feed(event);
                self.count_dropped();
            }
            Answer::Checked { journal, range, checks } => {
                self.checking = self.checking.saturating_sub(1);
                match checks {
                    Some(checks) => self.feed(Event::Checked { journal, range, checks }),
                    // Without the checks nothing can be said of this device's journals; it may try again.
                    None => self.turn_away(journal),
                }
            }
            Answer::Loaded { load, runs } => self.loaded(load, runs),
            Answer::Consulted { asker, number, told } => {
                self.consulting = self.consulting.saturating_sub(1);
                self.feed(Event::Consulted { asker, number, told });
            }
            Answer::Recalled(event) => {
                self.recalling = self.recalling.saturating_sub(1);
                self.feed(event);
            }
            Answer::Damaged(aside) => self.feed(Event::Damaged(aside)),
            Answer::Poisoned(why) => {
                tracing::error!(
                    why,
                    "the journal took a commit badly: the process ends, the next one verifies"
                );
                self.ended = Some(Ended::Poisoned(why));
            }
        }
    }

    /// Sends an agent away, when nobody is to have a session here. What is acknowledged from now on stands behind the goodbye, and does
    /// not leave any more.
    pub(super) fn exile(&self, link: LinkId) {
        if let Some(why) = &self.exiled {
            self.goodbye(link, GoodbyeCode::Moved, why);
        }
    }

    fn turn_away(&mut self, journal: JournalId) {
        let links: Vec<LinkId> = self
            .lines
            .iter()
            .filter(|(_, line)| line.device == journal.device)
            .map(|(link, _)| *link)
            .collect();
        for link in links {
            self.goodbye(
                link,
                GoodbyeCode::Unavailable,
                "this hub cannot read its copy of the device's journal now",
            );
        }
    }

    fn start_checks(&mut self) {
        while self.checking < CHECKS_RUNNING_MAX
            && let Some((journal, range)) = self.checks.pop_front()
        {
            self.checking += 1;
            let (reading, answer) = (self.parts.checking.clone(), self.answer.clone());
            tokio::spawn(async move {
                let checks = read_checks(&reading, journal, range).await;
                // Fails only when the driver has ended.
                let _ = answer.send(Answer::Checked { journal, range, checks }).await;
            });
        }
    }

    fn start_consultations(&mut self) {
        while self.consulting < CHECKS_RUNNING_MAX
            && let Some(asked) = self.consultations.pop_front()
        {
            self.consulting += 1;
            let (reading, answer) = (self.parts.consulting.clone(), self.answer.clone());
            tokio::spawn(async move {
                let Consultation { asker, number, journal, about } = asked;
                let told = reading.run(move |reader| reader.tell(&journal, &about)).await;
                let told = told.unwrap_or_else(|error| {
                    tracing::warn!(%journal, %error, "a question about a journal cannot be answered");
                    Told::Unreadable
                });
                // Fails only when the driver has ended.
                let _ = answer.send(Answer::Consulted { asker, number, told }).await;
            });
        }
    }

    fn send(&self, link: LinkId, outgoing: Outgoing) {
        let Some(line) = self.lines.get(&link) else { return };
        if line.outbox.try_send(outgoing).is_err() && line.connection.close_reason().is_none() {
            tracing::warn!(device = %line.device, link, "an agent does not read what it is sent: it is cut off");
            line.connection.close(CloseCode::ProtocolError, "the agent does not read what it is sent");
        }
    }

    pub(super) fn violated(&mut self, link: LinkId, reason: &str) {
        let Some(line) = self.lines.get(&link) else { return };
        let device = line.device;
        self.alarm(&Alarm::Protocol { device, reason: reason.to_owned() });
        self.goodbye(link, GoodbyeCode::Protocol, reason);
    }

    fn goodbye(&self, link: LinkId, code: GoodbyeCode, reason: &str) {
        let reason: String = reason.chars().take(millrace_wire::limits::TEXT_CHARS_MAX / 4).collect();
        let goodbye = Goodbye { code, reason: reason.clone(), retry_after_ms: VIOLATION_PAUSE_MS };
        self.send(link, Outgoing::Frame(Frame::Goodbye(goodbye)));
        self.send(link, Outgoing::Close { code, reason });
    }
}

/// What the journals that a commit changed take now.
fn measured(store: &Store, outcomes: &[Outcome]) -> Vec<(JournalId, Measure)> {
    let changed: BTreeSet<JournalId> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Received { journal, .. }
            | Outcome::Sealed { journal, .. }
            | Outcome::Dropped { journal, .. } => Some(*journal),
            _ => None,
        })
        .collect();
    let stored = |journal| store.journal(&journal).map(|state| (journal, measure(&state)));
    changed.into_iter().filter_map(stored).collect()
}

/// What the engine is told of a journal's state.
pub(super) fn measure(state: &JournalState) -> Measure {
    Measure { bytes: state.stored_bytes, digest: state.summary }
}

/// Reads checks. Damage reads as "not here": then the agent sends those records again.
async fn read_checks(
    reading: &Reading,
    journal: JournalId,
    range: SeqRange,
) -> Option<Vec<(Seq, RecordCheck)>> {
    match reading.run(move |reader| reader.checks(&journal, range)).await {
        Ok(checks) => Some(checks),
        Err(ReadingError::Store(ReadError::Damaged { .. })) => Some(Vec::new()),
        Err(error) => {
            tracing::error!(%error, %journal, "checks of stored records could not be read");
            None
        }
    }
}

//! Acting: what is done about a difference, once it has lasted.

use millrace_merkle::comparison::{Contested, Cut};
use millrace_merkle::{Answer, Difference, Place};
use millrace_model::limits::SEGMENT_RECORDS_MAX;
use millrace_model::store::Change;
use millrace_model::{JournalId, Moment, NodeHash, RangeSet, SegmentName, SeqRange};
use millrace_wire::limits::HASHES_MAX;
use millrace_wire::peer::{Held, PeerSeal};
use millrace_wire::{Frame, HashAt, Hashes, PeerFrame, Records, Seal};

use super::answering::Asker;
use super::round::{Next, Taken};
use super::{Partner, STANDING_MAX, Standing};
use crate::mending::MISSED_RANGES_MAX;
use crate::reception::Origin;
use crate::shelf::Shelf;
use crate::{Alarm, Command, Engine, LinkId};

/// Segments of one journal that one round has read again because they are contested; the next round takes more.
const CONTESTED_MAX: usize = 64;

impl Engine {
    /// Asks what is to be asked next, as far as there is room for questions.
    pub(super) fn advance(&mut self, partner: Partner, now: Moment) {
        loop {
            self.repair.asked += 1;
            let number = self.repair.asked;
            let Some(round) = self.repair.rounds.get_mut(&partner) else { return };
            match round.next(number, now) {
                Next::Ask(question) => {
                    self.ask_partner(partner, number, question.clone());
                    self.put(Asker::Round(partner), number, question, now);
                }
                Next::Wait => return,
                Next::Over => return self.end_round(partner, None, now),
            }
        }
    }

    /// One of the two answers to a question of a round came.
    pub(super) fn round_answered(
        &mut self,
        partner: Partner,
        number: u64,
        (mine, theirs): (Option<Answer>, Option<Answer>),
        now: Moment,
    ) {
        let Some(round) = self.repair.rounds.get_mut(&partner) else { return };
        match round.answered(number, mine, theirs, now) {
            None => return,
            Some(Taken::Goes) => {}
            Some(Taken::Compared { journal, first, difference }) => {
                self.judge(partner, journal, (first, difference), now);
            }
            Some(Taken::Contradicted(why)) => {
                self.contradicted(partner, &why);
                return self.end_round(partner, Some(why), now);
            }
        }
        self.advance(partner, now);
    }

    fn contradicted(&mut self, partner: Partner, why: &str) {
        let reason = format!("in a comparison {why}");
        match partner {
            Partner::Hub(node) => self.commands.push_back(Command::Alarm(Alarm::Peer { node, reason })),
            Partner::Agent(link) => {
                if let Some(link) = self.links.get(&link) {
                    let device = link.device;
                    self.commands.push_back(Command::Alarm(Alarm::Protocol { device, reason }));
                }
            }
        }
    }

    fn judge(
        &mut self,
        partner: Partner,
        journal: JournalId,
        (first, found): (Option<Box<Difference>>, Box<Difference>),
        now: Moment,
    ) {
        self.adopt(partner, journal, &found);
        let nothing = found.pull.is_empty()
            && found.push.is_empty()
            && found.rows.is_empty()
            && found.seal.is_empty()
            && found.contested.is_empty();
        self.give(partner, journal, &found.give);
        if let (Some(Cut::MineUnreadable | Cut::TheirsUnreadable), Some(round)) =
            (found.cut, self.repair.rounds.get_mut(&partner))
        {
            // Whoever could not read it has met damage, and moves it aside: then it differs.
            round.findings.unread += 1;
            round.acted = true;
        }
        if nothing {
            self.repair.suspects.remove(&(partner, journal));
            self.repair.standing.remove(&(partner, journal));
            return;
        }
        let Some(first) = first else {
            if let Some(round) = self.repair.rounds.get_mut(&partner) {
                round.doubt(journal, found);
            }
            return;
        };
        let mut found = *found;
        if let Partner::Agent(_) = partner {
            narrow(&mut found, &first, self.shelves.get(&journal));
        }
        let lasting = Lasting::of(&first, found);
        if lasting.is_empty() {
            self.repair.standing.remove(&(partner, journal));
        } else {
            self.stands(partner, journal, &lasting, now);
            self.act(partner, journal, lasting, now);
        }
    }

    /// Tells people of a journal that differs for too long. Of one that is being fetched they hear by that.
    fn stands(&mut self, partner: Partner, journal: JournalId, lasting: &Lasting, now: Moment) {
        let (known, key) = (self.repair.standing.len(), (partner, journal));
        if matches!(partner, Partner::Agent(_)) && lasting.is_lack_alone() {
            // What a device has not sent or fetched yet waits for as long as its bandwidth budget and its disk say.
            return;
        }
        if known >= STANDING_MAX && !self.repair.standing.contains_key(&key) {
            return;
        }
        let standing = self.repair.standing.entry(key).or_insert(Standing { since: now, told: false });
        let overdue = now.since(standing.since) >= self.config.consistency_timeout;
        if overdue && !self.mending.fetches(journal) && !std::mem::replace(&mut standing.told, true) {
            let records = lasting.records();
            self.commands.push_back(Command::Alarm(Alarm::Differs { journal, partner, records }));
        }
    }

    fn adopt(&mut self, partner: Partner, journal: JournalId, found: &Difference) {
        if found.adopt.is_empty() || self.is_dry(partner) {
            return;
        }
        let nodes: Vec<_> = found.adopt.iter().map(|(at, hash)| (at.level, at.index, *hash)).collect();
        if let Some(round) = self.repair.rounds.get_mut(&partner) {
            round.findings.adopted += nodes.len() as u64;
        }
        // Hubs come to one hash among themselves. What a device remembers of segments that no hub was ever told of is not theirs.
        let replaces = matches!(partner, Partner::Hub(_));
        self.reception.take(0, Origin::Repair, 0, None, Change::Adopt { journal, nodes, replaces });
    }

    /// A device does not remember the hashes of what it let go, or otherwise than this hub: it is told, so that roots become equal.
    fn give(&mut self, partner: Partner, journal: JournalId, hashes: &[(Place, NodeHash)]) {
        let Partner::Agent(link) = partner else { return };
        if hashes.is_empty() || self.is_dry(partner) {
            return;
        }
        let all = hashes.iter().map(|(at, hash)| HashAt { level: at.level, index: at.index, hash: *hash });
        let hashes: Vec<HashAt> = all.take(HASHES_MAX).collect();
        if let Some(round) = self.repair.rounds.get_mut(&partner) {
            round.findings.given += hashes.len() as u64;
            round.acted = true;
        }
        self.send(link, Frame::Adopt(Hashes { journal: journal.into(), hashes }));
    }

    fn is_dry(&self, partner: Partner) -> bool {
        self.repair.rounds.get(&partner).is_some_and(|round| round.dry_run)
    }

    /// Sees to a difference that has lasted.
    fn act(&mut self, partner: Partner, journal: JournalId, lasting: Lasting, now: Moment) {
        let Lasting { pull, push, seal, sealed_here, contested, rows, .. } = lasting;
        let different = contested.iter().filter_map(range_of).chain(rows.iter()).collect::<RangeSet>();
        let Some(round) = self.repair.rounds.get_mut(&partner) else { return };
        let findings = &mut round.findings;
        findings.differing += 1;
        findings.pulled += pull.count();
        findings.sealed += (seal.len() + sealed_here.len()) as u64;
        findings.contested += contested.len() as u64 + rows.count();
        findings.pushed += push.count();
        if round.dry_run {
            return;
        }
        round.acted |= !(pull.is_empty() && push.is_empty() && seal.is_empty() && sealed_here.is_empty());
        match partner {
            Partner::Hub(_) => self.miss(journal, &pull, now),
            Partner::Agent(link) => self.claim(link, journal, &pull, now),
        }
        for segment in seal {
            self.reception.take(0, Origin::Repair, 0, None, Change::Seal { journal, segment });
        }
        for segment in sealed_here {
            let seal = Seal { journal: journal.into(), segment };
            match partner {
                Partner::Hub(node) => {
                    self.tell(node, PeerFrame::Seal(PeerSeal { device: journal.device, seal }));
                }
                Partner::Agent(link) => self.send(link, Frame::Seal(seal)),
            }
        }
        if !push.is_empty() {
            self.provide(partner, journal, &push, now);
        }
        self.suspect(partner, journal, &different);
    }

    /// A device has records that are not here. What was declared as lost is fetched as damage is. Of the rest nobody knows whether it was
    /// ever here: the device sends again what it took for acknowledged, and what it has not sent yet when its budget allows.
    fn claim(&mut self, link: LinkId, journal: JournalId, pull: &RangeSet, now: Moment) {
        let shelf = self.shelves.get(&journal);
        let declared = shelf.map(|shelf| pull.intersection(&shelf.declared)).unwrap_or_default();
        self.miss(journal, &declared, now);
        let ranges: RangeSet = pull.difference(&declared).iter().take(MISSED_RANGES_MAX).collect();
        if !ranges.is_empty() {
            self.send(link, Frame::Wanted(Records { journal: journal.into(), ranges }));
        }
    }

    /// The other one lacks records that are here. Another hub gets them with the next that is owed to it; a device fetches them when it has the
    /// room and the road for it.
    fn provide(&mut self, partner: Partner, journal: JournalId, push: &RangeSet, now: Moment) {
        match partner {
            Partner::Hub(node) => {
                let none = RangeSet::new();
                let present = self.shelves.get(&journal).map_or(&none, |shelf| &shelf.present);
                self.replication.asked(node, journal, push, present);
                self.supply(node, now);
            }
            Partner::Agent(link) => {
                let ranges = push.iter().take(MISSED_RANGES_MAX).collect();
                self.send(link, Frame::Regain(Records { journal: journal.into(), ranges }));
            }
        }
    }

    /// Two holders have different bytes: each reads its own. What is damaged is moved aside and mended; if both are sound, two
    /// histories used one name.
    fn suspect(&mut self, partner: Partner, journal: JournalId, different: &RangeSet) {
        if different.is_empty() {
            return;
        }
        let suspect = self.repair.suspects.entry((partner, journal)).or_default();
        let forked = different.intersection(&suspect.doubted).difference(&suspect.forked);
        let ranges: RangeSet = pieces(&different.difference(&suspect.doubted)).collect();
        suspect.forked.extend(&forked);
        suspect.doubted.extend(&ranges);
        if !forked.is_empty() {
            self.commands.push_back(Command::Alarm(Alarm::Forked { journal, ranges: forked }));
        }
        if ranges.is_empty() {
            return;
        }
        if let Some(round) = self.repair.rounds.get_mut(&partner) {
            round.acted = true;
        }
        self.read_again(journal, &ranges);
        match partner {
            Partner::Hub(node) => self.tell(node, PeerFrame::Doubt(Held { journal, ranges })),
            Partner::Agent(link) => {
                self.send(link, Frame::Doubt(Records { journal: journal.into(), ranges }));
            }
        }
    }

    /// Another hub says that ours differs from its own, which is sound.
    pub(crate) fn guest_doubts(&mut self, held: &Held) {
        self.read_again(held.journal, &held.ranges);
    }

    /// Reading shows whether records are sound; what is not is moved aside.
    fn read_again(&mut self, journal: JournalId, ranges: &RangeSet) {
        let Some(shelf) = self.shelves.get(&journal) else { return };
        let checks = pieces(&shelf.present.intersection(ranges));
        self.commands.extend(checks.map(|range| Command::Check { journal, range }));
    }
}

/// Ranges in pieces of a segment's length, as many as one round reads.
fn pieces(ranges: &RangeSet) -> std::vec::IntoIter<SeqRange> {
    let step = SEGMENT_RECORDS_MAX as u64;
    let of = |range: SeqRange| {
        let firsts = (range.first()..=range.last()).step_by(SEGMENT_RECORDS_MAX);
        firsts.filter_map(move |first| SeqRange::new(first, range.last().min(first + step - 1)))
    };
    ranges.iter().flat_map(of).take(CONTESTED_MAX).collect::<Vec<_>>().into_iter()
}

fn range_of(contested: &Contested) -> Option<SeqRange> {
    contested.mine.or(contested.theirs)?.range()
}

/// Leaves of what a device has more at the second look what is to be seen to. What moved between the looks is on its way, and what is behind
/// the last record here is shipped as ever.
fn narrow(second: &mut Difference, first: &Difference, shelf: Option<&Shelf>) {
    let head = shelf.map_or(0, |shelf| shelf.head);
    let stayed =
        |range: &SeqRange| range.last() <= head && first.pull.range_of(range.first()) == Some(*range);
    second.pull = second.pull.iter().filter(stayed).collect();
}

/// What differed at both looks.
struct Lasting {
    pull: RangeSet,
    push: RangeSet,
    seal: Vec<SegmentName>,
    /// Segments here of which they have the records and no segment.
    sealed_here: Vec<SegmentName>,
    contested: Vec<Contested>,
    rows: RangeSet,
}

impl Lasting {
    fn of(first: &Difference, second: Difference) -> Self {
        // Places in the tree are looked for at the second look alone when ranges differ at the first. That one has sealed what the
        // other has not is put right at once; other names for one place are read again before anybody is alarmed.
        let sealed_here = second.contested.iter().filter(|place| place.theirs.is_none());
        let sealed_here = sealed_here.filter_map(|place| place.mine).collect();
        let contested =
            second.contested.iter().copied().filter(|at| at.mine.is_some() && at.theirs.is_some());
        Self {
            pull: first.pull.intersection(&second.pull),
            push: first.push.intersection(&second.push),
            seal: second.seal,
            sealed_here,
            contested: contested.collect(),
            rows: if first.pull.is_empty() && first.push.is_empty() {
                first.rows.intersection(&second.rows)
            } else {
                second.rows
            },
        }
    }

    /// Whether one has more than the other, and nothing else differs.
    fn is_lack_alone(&self) -> bool {
        self.seal.is_empty()
            && self.sealed_here.is_empty()
            && self.contested.is_empty()
            && self.rows.is_empty()
    }

    /// How many records it is about.
    fn records(&self) -> u64 {
        let places = self.contested.iter().filter_map(range_of);
        let seals = self.seal.iter().chain(&self.sealed_here).filter_map(SegmentName::range);
        let mut all: RangeSet = places.chain(seals).chain(self.rows.iter()).collect();
        all.extend(&self.pull);
        all.extend(&self.push);
        all.count()
    }

    fn is_empty(&self) -> bool {
        self.pull.is_empty() && self.push.is_empty() && self.is_lack_alone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(pairs: &[(u64, u64)]) -> RangeSet {
        pairs.iter().filter_map(|(first, last)| SeqRange::new(*first, *last)).collect()
    }

    #[test]
    fn of_what_a_device_has_more_that_is_asked_for_which_neither_moved_nor_is_new() {
        let first = Difference { pull: ranges(&[(3, 5), (10, 20), (50, 90)]), ..Difference::default() };
        let mut second = Difference {
            pull: ranges(&[(3, 5), (12, 20), (50, 90), (95, 99)]),
            push: ranges(&[(7, 8), (30, 31)]),
            ..Difference::default()
        };
        let looks = Difference { push: ranges(&[(7, 8)]), ..first };
        let shelf = Shelf { head: 60, ..Shelf::default() };
        narrow(&mut second, &looks, Some(&shelf));
        let lasting = Lasting::of(&looks, second);
        assert_eq!(lasting.pull, ranges(&[(3, 5)]));
        assert_eq!(lasting.push, ranges(&[(7, 8)]), "what the device lost it may fetch");
        assert!(lasting.is_lack_alone() && !lasting.is_empty());
    }
}

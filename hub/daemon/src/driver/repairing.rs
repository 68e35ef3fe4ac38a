//! What the driver does for repair: it says with whom comparisons begin, and keeps the reports.

use millrace_hub_engine::{Event, Findings, Mend, Partner, RoundReport, Trigger, Wanted};

use super::Driver;
use super::input::{Beginning, Begun};
use crate::meters::ByResult;
use crate::repairs::{Compared, Report};

impl Driver {
    /// Somebody asks for comparisons. They begin with those who are connected; when that is nobody, none does.
    pub(super) fn repair(&mut self, wanted: Wanted) -> Begun {
        let running = self.parts.engine.rounds(self.parts.clock.moment());
        let under_way = |partner: &Partner| {
            let demanded = |round: &&RoundReport| round.trigger == Trigger::Demand;
            running.iter().filter(demanded).find(|round| round.partner == *partner).map(|round| round.at)
        };
        let device = |partner: &Partner| match partner {
            Partner::Hub(_) => None,
            Partner::Agent(link) => self.lines.get(link).map(|line| line.device),
        };
        let partners = self.parts.engine.partners(&wanted).into_iter().map(|partner| Beginning {
            partner,
            device: device(&partner),
            under_way: under_way(&partner),
        });
        let begun = Begun { after: *self.parts.repairs.newest().borrow(), partners: partners.collect() };
        if !begun.partners.is_empty() {
            self.feed(Event::Repair(wanted));
        }
        begun
    }

    /// What a journal had lost is here again: people are told, now and later.
    pub(super) fn mended(&self, mend: &Mend) {
        let Mend { journal, lost, fetched, declared, bytes, took, .. } = mend;
        if *fetched == 0 && *declared == 0 {
            tracing::info!(%journal, lost, "what damage took here, others let go for its age: it is no loss");
            return;
        }
        tracing::info!(%journal, lost, fetched, bytes, ?took, "a journal is whole again");
        self.report(Report::Mended(mend.into()));
    }

    /// A comparison is over. Those that found nothing are only counted, unless somebody asked.
    pub(super) fn compared(&self, round: &RoundReport) {
        let compared = Compared::from(round);
        let result = if compared.equal { "equal" } else { "different" };
        self.parts.meters.compared.get_or_create(&ByResult { result }).inc();
        let Compared { partner, trigger, .. } = &compared;
        let Findings { journals, differing, pulled, pushed, questions, bytes, .. } = compared.found;
        tracing::debug!(partner, trigger, journals, differing, questions, bytes, "copies were compared");
        let telling = matches!(round.trigger, Trigger::Demand | Trigger::Recheck);
        if compared.equal && !telling {
            return;
        }
        tracing::info!(
            partner,
            trigger,
            journals,
            differing,
            pulled,
            pushed,
            "copies were compared: {result}"
        );
        self.report(Report::Compared(compared));
    }

    fn report(&self, report: Report) {
        self.parts.repairs.add(report, self.parts.clock.wall());
        drop(self.parts.repairs.save_soon());
    }
}

#[cfg(test)]
mod tests {
    use millrace_hub_engine::placement::Placement;
    use millrace_hub_engine::{HubStanding, Placed};
    use millrace_journal::{Options, Store, Writer};
    use millrace_model::{DeviceId, HubId, Incarnation, NodeId, Wall};

    use super::*;
    use crate::driver::input::Input;
    use crate::driver::way::Way;
    use crate::repairs::tests::mended;

    #[tokio::test]
    async fn comparisons_begin_with_those_who_are_connected_and_with_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("journal.db"), &Options::hub()).unwrap();
        let writer = Writer::start(store, 1).unwrap();
        let mut driver = crate::driver::tests::driver(dir.path(), &writer).await;
        assert!(driver.repair(Wanted::default()).partners.is_empty());
        driver.parts.repairs.add(mended(1).report, Wall(7));
        let full = |node| HubStanding {
            hub: HubId::from_bytes([node; 16]),
            region: String::new(),
            store: Incarnation::new(1),
            full: true,
        };
        let placed = Placed {
            me: NodeId(1),
            store: Incarnation::new(1),
            epoch: 1,
            placement: Placement::default(),
            hubs: [1, 2, 3].map(|node| (NodeId(u64::from(node)), full(node))).into(),
        };
        driver.feed(Event::Placed(Box::new(placed)));
        driver.take(Input::PeerUp { node: NodeId(2), way: Way::new().0 });
        let partners = |driver: &mut Driver, wanted: Wanted| {
            let begun = driver.repair(wanted);
            assert_eq!(begun.after, 7);
            begun.partners.iter().map(|one| one.partner).collect::<Vec<_>>()
        };
        let away = Wanted { hub: Some(NodeId(3)), ..Wanted::default() };
        assert_eq!(partners(&mut driver, away), []);
        let device = Some(DeviceId::from_bytes([7; 16]));
        assert_eq!(partners(&mut driver, Wanted { device, ..Wanted::default() }), []);
        assert_eq!(driver.parts.engine.demanded(), 0, "nothing was asked for that cannot begin");
        let two = Wanted { hub: Some(NodeId(2)), ..Wanted::default() };
        assert_eq!(partners(&mut driver, two), [Partner::Hub(NodeId(2))]);
        assert_eq!(partners(&mut driver, Wanted::default()), [Partner::Hub(NodeId(2))]);
        assert_eq!(driver.parts.engine.demanded(), 1);
    }
}

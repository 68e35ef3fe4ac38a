//! When everything has converged, and what is asked then.

use std::collections::BTreeMap;

use millrace_journal::{QUERY_ROWS_MAX, Query, Store};
use millrace_model::{JournalId, RecordCheck, Seq};

use super::{Happening, WATCH, World};
use crate::invariants::{
    Verdict, Violation, arrival, branches, content, convergence, declaration, order, seals,
};
use crate::model::check_of;
use crate::publication::Attempt;

impl World {
    /// Looks whether everything has converged.
    pub(super) fn watch(&mut self) {
        // Sensors publish for a while after the healing began; nothing can be over before.
        let early = self.healed_at.is_none_or(|at| self.now.since(at) < std::time::Duration::from_secs(5));
        if early || !self.waiting().is_empty() || self.sealed_alike().is_err() {
            return self.timeline.after(WATCH, Happening::Watch);
        }
        self.transcript.note(self.now, format_args!("converged"));
        self.over = true;
        self.judge();
    }

    /// The time to converge is over.
    pub(super) fn out_of_time(&mut self) {
        let waiting = self.waiting();
        self.check(convergence::reached(&waiting));
        self.check(self.sealed_alike());
        self.over = true;
    }

    /// Who still waits for what.
    fn waiting(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        for (place, site) in self.sites.iter().enumerate() {
            let Some(engine) = &site.engine else {
                waiting.push(format!("site {place} is off"));
                continue;
            };
            let status = engine.status();
            if status.session != "open" {
                waiting.push(format!("site {place} is {}", status.session));
            }
            if status.ledger.pending > 0 {
                let (pending, credit) = (status.ledger.pending, status.credit_bytes);
                waiting.push(format!("site {place} has {pending} records pending, {credit} bytes of credit"));
            }
            if status.recovering {
                waiting.push(format!("site {place} fills a new incarnation"));
            }
            if self.plan.sabotage != crate::Sabotage::SilentLoss
                && site.store.as_ref().is_some_and(|store| store.has_open_gaps().unwrap_or(true))
            {
                waiting.push(format!("site {place} has undeclared gaps"));
            }
            let sensors = site.sensors.iter().filter(|sensor| !sensor.is_content()).count();
            if sensors > 0 {
                let (used, budget) = (status.disk_used_bytes, status.disk_budget_bytes);
                waiting.push(format!(
                    "{sensors} sensors of site {place} wait for acknowledgements, blocked {}, {used} of {budget} bytes",
                    status.blocked
                ));
            }
        }
        match &self.hub.engine {
            None => waiting.push("the hub is off".to_owned()),
            Some(engine) if engine.is_busy() => waiting.push("the hub flushes".to_owned()),
            Some(_) => {}
        }
        waiting
    }

    /// Everything has converged: asks what is asked at the end.
    fn judge(&mut self) {
        let (found, at_hub) = match self.hub.store.as_ref().map(read_all) {
            Some(Ok(all)) => all,
            Some(Err(violation)) => return self.check(Err(violation)),
            None => return,
        };
        self.check(content::complete(&self.model, &found));
        self.check(declaration::all_declared(&self.model));
        self.check(arrival::exactly_once(&self.model, &at_hub));
        self.check(order::dense(&self.model));
        let sites: Vec<_> = self
            .sites
            .iter()
            .filter_map(|site| Some((site.device, site.store.as_ref()?.incarnation()?)))
            .collect();
        self.check(branches::noticed(&self.model, &self.branches, &sites));
    }

    /// Whether everything that agents still hold sealed is sealed at the hub, alike.
    fn sealed_alike(&self) -> Verdict {
        let survey = |store: &Store| store.survey(usize::MAX).unwrap_or_default();
        let hub = self.hub.store.as_ref().map(survey).unwrap_or_default();
        let agents: Vec<_> =
            self.sites.iter().filter_map(|site| site.store.as_ref()).flat_map(survey).collect();
        seals::same(&self.model, &hub, &agents)
    }
}

type Found = (BTreeMap<(JournalId, Seq), RecordCheck>, BTreeMap<Attempt, u32>);

/// Everything at the hub, through its query, page by page.
fn read_all(store: &Store) -> Result<Found, Violation> {
    let (mut found, mut at_hub) = (BTreeMap::new(), BTreeMap::new());
    let mut query = Query { kinds: Vec::new(), limit: QUERY_ROWS_MAX, ..Query::default() };
    loop {
        let page = store.query(&query).map_err(|error| Violation::new("content", error.to_string()))?;
        if let Some(damage) = page.damaged.first() {
            let what = format!("{} {} is damaged: {}", damage.journal, damage.range, damage.what);
            return Err(Violation::new("content", what));
        }
        for row in page.rows {
            let check = check_of(&row.journal, row.seq, &row.record);
            if found.insert((row.journal, row.seq), check).is_some() {
                let what = format!("a query finds {} {} twice", row.journal, row.seq);
                return Err(Violation::new("content", what));
            }
            if let Some(attempt) = Attempt::of(&row.record.payload) {
                *at_hub.entry(attempt).or_default() += 1;
            }
        }
        match page.next {
            Some(cursor) => query.cursor = Some(cursor),
            None => return Ok((found, at_hub)),
        }
    }
}

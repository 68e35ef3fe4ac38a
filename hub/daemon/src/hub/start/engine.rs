//! The engine over the opened store, with the numbers of the config, and when retention looks.

use millrace_host::schedules::{Schedules, Zone};
use millrace_host::{Clock, Exit, Failure};
use millrace_hub_engine::Engine;
use millrace_journal::Writer;
use millrace_model::{Fence, HubId};
use millrace_wire::HubEndpoint;

use crate::config::Config;
use crate::registry::Registry;
use crate::retention::{self, Looking};

/// The name of the schedule by which all copies are compared.
pub(in crate::hub) const REPAIR: &str = "repair";

pub(super) async fn engine(
    config: &Config,
    endpoint: &HubEndpoint,
    fence: Fence,
    writer: &Writer,
    (clock, registry): (&Clock, &Registry),
) -> Result<Engine, Failure> {
    let (send, found) = tokio::sync::oneshot::channel();
    let asked = writer.handle().visit(move |store| {
        // Fails only when the start was given up.
        let _ = send.send((store.journals(), store.usage()));
    });
    asked.map_err(|error| Failure::internal(&error))?;
    let (journals, usage) = found.await.map_err(|error| Failure::internal(&error))?;
    let mut numbers = numbers(config, endpoint.hub);
    (numbers.name, numbers.region) = (endpoint.name.clone(), endpoint.region.clone());
    numbers.hubs = vec![endpoint.clone()];
    (numbers.epoch, numbers.clustered) = (registry.cluster().epoch(), true);
    numbers.fence_base = fence;
    let memory_at = config.places.retention();
    let memory = tokio::task::spawn_blocking(move || retention::load(&memory_at)).await;
    let mut engine = Engine::new(numbers, &journals, usage, clock.moment());
    engine.recall(memory.map_err(|error| Failure::internal(&error))?, &registry.gone());
    Ok(engine)
}

/// The numbers of the config that the engine works with.
pub(in crate::hub) fn numbers(config: &Config, hub: HubId) -> millrace_hub_engine::Config {
    let mut numbers = millrace_hub_engine::Config::new(hub, "", "");
    let quota = &config.quota;
    numbers.links_max = quota.sessions;
    numbers.incarnations_online_max = quota.device_incarnations;
    numbers.memory_budget_bytes = quota.memory_bytes;
    numbers.credit_max_bytes = quota.device_memory_bytes;
    numbers.device_rate = quota.device_rate;
    numbers.device_bytes_max = quota.device_bytes;
    numbers.device_journals_max = quota.device_journals;
    numbers.journal_ranges_max = quota.journal_holes;
    numbers.disk_budget_bytes = config.store_budget_bytes;
    (numbers.keep, numbers.when_full) = (config.retention.keep, config.retention.when_full);
    let repair = &config.repair;
    (numbers.repair_interval, numbers.repair_batch_bytes) = (repair.interval, repair.batch_bytes);
    numbers.consistency_timeout = repair.consistency_timeout;
    numbers.idle_timeout = millrace_link::limits::HUB_IDLE_TIMEOUT;
    numbers
}

/// Looks at the start, so that a hub that is restarted often looks at all, and then by the calendar.
pub(super) async fn look_on_schedule(
    config: &Config,
    clock: &Clock,
    looking: &Looking,
    comparing: &Looking,
) -> Result<Schedules, Failure> {
    let schedules = Schedules::new(clock.clone(), Zone::Utc).await;
    let schedules = schedules.map_err(|error| Failure::internal(&error))?;
    let calendars = [
        (retention::NAME, &config.retention.schedule, looking),
        (REPAIR, &config.repair.schedule, comparing),
    ];
    for (name, cron, asked) in calendars {
        let entered = retention::schedule(&schedules, (name, cron), asked).await;
        let hint = format!("see `{name}.schedule`");
        entered.map_err(|error| Failure::new(Exit::Config, error.to_string()).hint(hint))?;
    }
    looking.ask();
    Ok(schedules)
}

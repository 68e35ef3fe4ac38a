//! The `negentropy` crate over the same records: range-based set reconciliation, by numbers as its timestamps and hashes as its ids.

use std::collections::BTreeSet;

use anyhow::anyhow;
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use tokio::time::Instant;

use super::holder::{Fault, different};
use super::{Case, Cost};

fn id(seq: u64, damaged: bool) -> Id {
    let mut random = fastrand::Rng::with_seed(seq * 2 + u64::from(damaged));
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    Id::from_byte_array(bytes)
}

fn storage(case: Case, seqs: &BTreeSet<u64>, whole: bool) -> anyhow::Result<NegentropyStorageVector> {
    let mut storage = NegentropyStorageVector::with_capacity(usize::try_from(case.records)?);
    for seq in 1..=case.records {
        let other = !whole && seqs.contains(&seq);
        if other && case.fault != Fault::Damaged {
            continue;
        }
        storage.insert(seq, id(seq, other)).map_err(|error| anyhow!("{error}"))?;
    }
    storage.seal().map_err(|error| anyhow!("{error}"))?;
    Ok(storage)
}

/// What it costs until the one that asks knows what it lacks and what the other one lacks.
pub(super) fn measure(case: Case) -> anyhow::Result<Cost> {
    let seqs: BTreeSet<u64> = different(case).into_iter().collect();
    let (mine, theirs) = (storage(case, &seqs, false)?, storage(case, &seqs, true)?);
    let failed = |error: negentropy::Error| anyhow!("{error}");
    let began = Instant::now();
    let mut asking = Negentropy::borrowed(&mine, 0).map_err(failed)?;
    let mut answering = Negentropy::borrowed(&theirs, 0).map_err(failed)?;
    let mut cost = Cost::default();
    let (mut have, mut need) = (Vec::new(), Vec::new());
    let mut next = Some(asking.initiate().map_err(failed)?);
    while let Some(question) = next {
        let answer = answering.reconcile(&question).map_err(failed)?;
        cost.bytes += (question.len() + answer.len()) as u64;
        cost.trips += 1;
        next = asking.reconcile_with_ids(&answer, &mut have, &mut need).map_err(failed)?;
    }
    cost.seconds = began.elapsed().as_secs_f64();
    if need.len() as u64 != case.different.min(seqs.len() as u64) {
        return Err(anyhow!("negentropy found {} of {}", need.len(), seqs.len()));
    }
    Ok(cost)
}

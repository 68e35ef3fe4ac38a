//! Belonging: whether this hub is still one of its cluster's.
//!
//! A hub that was removed while it was away, or whose cluster was made anew without it, hears nothing of that decision: its own table
//! says what it said before. What tells it is how the others answer. That a hub was removed is decided, so one hub that says so is
//! enough; that a hub is unknown may be said by one that is behind, so all of them have to say it. And while a majority decides with
//! this hub there is a cluster that it belongs to, whatever another one says.
//!
//! Promise: pure; a hub that is merely cut off from all others belongs to its cluster.
//! Absent: what follows from it ([`crate::health`]).

use millrace_link::CloseCode;
use millrace_model::NodeId;

use super::Table;

/// What a hub is told that belongs to its cluster no more.
pub const LOST: &str = "this hub was removed from its cluster, or the cluster was made anew without it: it takes no readings; move its data \
                        directory aside and join again";

/// Whether `me` is out of its cluster. `quorum`: whether decisions are made with it now. `answers`: of each other hub of the table how it
/// refused this hub's certificate when it last answered, `None` when it takes it or does not answer.
#[must_use]
pub fn is_lost(table: &Table, me: NodeId, quorum: bool, answers: &[Option<CloseCode>]) -> bool {
    if table.gone.contains_key(&me) {
        return true;
    }
    let revoked = answers.contains(&Some(CloseCode::Revoked));
    let unknown = !answers.is_empty() && answers.iter().all(Option::is_some);
    !quorum && (revoked || unknown)
}

#[cfg(test)]
mod tests {
    use millrace_model::{HubId, Wall};

    use super::*;
    use crate::cluster::record::GoneRecord;

    const ME: NodeId = NodeId(3);
    const REVOKED: Option<CloseCode> = Some(CloseCode::Revoked);
    const UNKNOWN: Option<CloseCode> = Some(CloseCode::NotAdmitted);

    #[test]
    fn a_hub_that_is_merely_cut_off_belongs_to_its_cluster() {
        let table = Table::default();
        assert!(!is_lost(&table, ME, false, &[None, None]));
        assert!(!is_lost(&table, ME, false, &[]), "it is alone");
        assert!(!is_lost(&table, ME, false, &[UNKNOWN, None]), "one of them is behind, the other one away");
    }

    #[test]
    fn one_hub_that_knows_of_the_removal_is_enough_unless_a_majority_decides_with_this_one() {
        let table = Table::default();
        assert!(is_lost(&table, ME, false, &[REVOKED, None]), "the others are down, or were removed too");
        assert!(is_lost(&table, ME, false, &[UNKNOWN, UNKNOWN]), "a cluster that was restored without it");
        assert!(!is_lost(&table, ME, true, &[REVOKED, None]), "the cluster of before goes on");
    }

    #[test]
    fn a_hub_that_finds_itself_among_the_removed_is_lost_whatever_others_say() {
        let mut table = Table::default();
        let gone = GoneRecord { hub: HubId::default(), name: "hub-3".into(), at: Wall(0) };
        table.gone.insert(ME, gone);
        assert!(is_lost(&table, ME, true, &[None]));
        assert!(!is_lost(&table, NodeId(4), true, &[None]), "it came back under another number");
    }
}

//! Three hub processes as one cluster, and an agent among them.
//!
//! | room | what is measured there |
//! |---|---|
//! | [`quorum`] | a backlog that a majority must have flushed, beside one hub |
//! | [`failover`] | how long an agent is without a hub when its own is killed |
//! | [`suspicion`] | whether hubs that are well take each other for dead when all cores are busy |
//! | [`idle`] | what hubs say to each other when nothing happens |

pub(crate) mod failover;
pub(crate) mod idle;
pub(crate) mod quorum;
pub(crate) mod suspicion;

use millrace_demo::{AgentOptions, Cluster, Hub};

/// An agent that knows the hubs of `cluster`, prefers none, and counts a reading when a majority has flushed it.
fn among(cluster: &Cluster, name: &str) -> AgentOptions {
    let roads: Vec<_> = cluster.hubs.iter().map(Hub::quic).collect();
    AgentOptions::among(name, &roads, "", "quorum")
}

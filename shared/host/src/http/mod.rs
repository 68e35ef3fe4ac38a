//! HTTP: the small, bounded server on which every daemon shows itself to its own machine.
//!
//! Promise: every resource that a caller can take has a limit, and every refusal has the same shape;
//! an address that other machines can reach is served only where the config allows it by name.
//! Absent: no TLS and no logins; what crosses machines goes over the link, or through a reverse proxy.
//!
//! | module | what it gives |
//! |---|---|
//! | `limits` | [`HttpLimits`] and what happens at each of them |
//! | `server` | [`bind`], [`serve`] |
//! | `problem` | [`Problem`]: `{"error": {"code", "message", "hint"}}`; [`shaped`] for a server that is not [`serve`] |
//! | `routes` | [`host_routes`]: `/healthz`, `/readyz`, `/metrics` |

mod limits;
mod problem;
mod routes;
mod server;

pub use limits::HttpLimits;
pub use problem::{Problem, shaped};
pub use routes::{Health, host_routes};
pub use server::{ServeError, bind, serve};

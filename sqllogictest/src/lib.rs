//! Runs sqllogictest suites against a real server, each in several modes. Only a Postgres client: it knows nothing of
//! the server but its command line and its protocol.
//!
//! A suite says what each SELECT answers. In the mode *ad hoc* it is run as it stands. In the other modes it is made
//! into a materialized view, and the view must answer the same: made before the data comes, after it, while all rows
//! are deleted and inserted again, and across `kill -9`. At the end of a suite every view must still equal its query.
//!
//! Beside the suites stand [`random`] testing, of queries that nobody thought of, and [`crash`] testing, of what is there
//! after `kill -9`.

#[doc(hidden)]
pub mod broker;
mod client;
pub mod crash;
mod mode;
mod postgres;
pub mod random;
#[doc(hidden)]
pub mod registry;
mod server;
mod suite;

/// A query for the rows in which a view differs from its query: none, if it is right.
pub fn difference(view: &str, query: &str) -> String {
    format!("((TABLE {view}) EXCEPT ALL ({query})) UNION ALL (({query}) EXCEPT ALL (TABLE {view}))")
}

pub use client::{Client, Failure};
pub use mode::Mode;
pub use postgres::{Postgres, postgres_programs};
pub use server::Server;
pub use suite::{Outcome, run};

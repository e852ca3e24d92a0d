//! The incremental engine: it keeps the output of plans up to date as their inputs change.
//!
//! The walk from a plan to rows that can be read:
//!
//! ```text
//!   ir::Job --render--> fragments --timely--> workers: operators --> state
//!                                                         |
//!   Engine::tick: input deltas --------------------------> +--> job end --> read model, deltas
//! ```
//!
//! 1. [`Engine::create`](engine::Engine::create) takes a job. `render` cuts its plan at the exchanges into fragments and
//!    makes their operators; every worker builds the same dataflow of them, one node per fragment, in `timely`.
//! 2. [`Engine::hydrate`](engine::Engine::hydrate) feeds it what is there of the relations that it reads, in a tick of
//!    its own. Or the caller feeds it piece by piece, and then [attaches](engine::Engine::attach) it.
//! 3. [`Engine::tick`](engine::Engine::tick) finds the jobs that the changes reach, and every `worker` runs them level by
//!    level: it feeds their inputs, lets timely work until the tick is through, and hands their changes to the jobs of
//!    the next level. Jobs that are not reached are not touched.
//! 4. Operators fold deltas into their `state` and emit deltas. They know an [`operator`] contract and nothing else.
//! 5. Where a job ends, its changes go into its [`read_model`], of which each tick publishes a new version, and to
//!    whoever follows the relation.
//!
//! What is deliberately absent: SQL, sockets, files (but for state that memory has no room for), and the wall clock. Time comes with the tick, so that a tick's
//! effect is a function of its inputs.

pub mod capture;
pub mod engine;
mod exchange;
mod fragment;
pub mod growth;
pub mod harness;
mod job_end;
mod job_time;
mod jobs;
mod movable;
pub mod operator;
pub mod operators;
pub mod read_model;
pub mod render;
mod row_errors;
pub mod state;
mod timely;
mod worker;

//! The whole server on one seed: a simulated disk, a clock that statements move, and a random history of statements, which
//! ends by a loss of power at a random byte. What the next life of the server finds is compared with what the lives before
//! it were told.
//!
//! ```text
//!   simulate --seed 7
//!      |  for each life
//!      v
//!   simulate life ...      a process of its own: server, disk and sessions; it ends when the power goes
//!      |      ^
//!      v      |            folder/image/   what is on the disk afterwards
//!   the next life          folder/model    what was acknowledged, and what was under way
//! ```
//!
//! A seed decides every statement, which session sends it, when the disk is full and at which byte the power goes: the
//! same seed gives the same history, line by line. One statement runs at a time. So nothing here depends on how threads
//! take turns, except what does not reach the disk; `synchronous_commit = off`, whose writes are synced by time, is
//! left to crash testing. With `--outside` files beside the disk grow, each line of which must count once in the views of
//! them, and sinks write files, in which each change must stand once. When these are read and written depends on threads,
//! so the power goes only nearly at the same place then.
//!
//! | file | what it knows |
//! |---|---|
//! | `history` | the lives of one seed |
//! | `life` | one life: a server, its sessions, its end |
//! | `model` | what the database must hold |
//! | `outside` | files that a source reads, and files that sinks write |
//! | `statements` | random statements, and what each does to the model |
//! | `check` | whether the database holds what it must |

mod check;
mod history;
mod life;
mod model;
mod outside;
mod statements;

pub use history::{Options, Tally, run};
pub use life::{Life, live};

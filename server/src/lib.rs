//! The server: it alone knows every crate.
//!
//! The leg of the walk here: the protocol layer hands a text to a [`session`]; `statements` plans and runs it, reading
//! through `reading` what is published, and giving changes and definitions to the `coordinator`, which alone changes
//! anything: it puts them into ticks, makes them durable and publishes them. `system` shows what the server knows of
//! itself.

mod config;
mod coordinator;
mod database;
mod door;
mod reading;
mod session;
mod statements;
mod system;
pub mod telemetry;

pub use config::{Config, LogFormat, Task};
pub use database::{Database, STACK};
pub use door::Door;

//! Subscribers: sessions that follow a relation tick by tick.

use millrace_dataflow::read_model::ReadModel;
use millrace_types::{Delta, RelationId, Tick};
use std::collections::HashMap;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

/// Ticks that may wait for a subscriber. One that reads more slowly is cut off, so that memory stays bounded.
const QUEUED_TICKS: usize = 4096;

/// What a subscriber gets: the relation as it was, then every tick that changes it.
pub struct Subscription {
    /// The rows as of `tick`.
    pub snapshot: ReadModel,
    /// The tick of the snapshot.
    pub tick: Tick,
    /// Whole ticks after it, in order. It ends when the relation is dropped or the subscriber fell behind.
    pub updates: Receiver<Update>,
}

/// One tick of a relation.
#[derive(Clone, Debug)]
pub struct Update {
    pub tick: Tick,
    /// All changes of the tick; empty when only time went on.
    pub deltas: Vec<Delta>,
}

/// Who follows what.
#[derive(Default)]
pub struct Subscriptions(HashMap<RelationId, Vec<Sender<Update>>>);

impl Subscriptions {
    /// Adds a subscriber that starts after `tick`.
    pub fn add(&mut self, relation: RelationId, snapshot: ReadModel, tick: Tick) -> Subscription {
        let (sender, updates) = channel(QUEUED_TICKS);
        self.0.entry(relation).or_default().push(sender);
        Subscription { snapshot, tick, updates }
    }

    /// Hands a tick's changes to the relation's subscribers, and says whether there are any left.
    pub fn deliver(&mut self, relation: RelationId, tick: Tick, deltas: &[Delta]) -> bool {
        let Some(senders) = self.0.get_mut(&relation) else { return true };
        if deltas.iter().any(|delta| !delta.is_empty()) {
            let update = Update { tick, deltas: deltas.to_vec() };
            senders.retain(|sender| match sender.try_send(update.clone()) {
                Ok(()) => true,
                Err(TrySendError::Closed(_) | TrySendError::Full(_)) => false,
            });
        } else {
            senders.retain(|sender| !sender.is_closed());
        }
        if senders.is_empty() {
            self.0.remove(&relation);
            return false;
        }
        true
    }

    /// Ends the subscriptions of a relation that is dropped.
    pub fn end(&mut self, relation: RelationId) {
        self.0.remove(&relation);
    }
}

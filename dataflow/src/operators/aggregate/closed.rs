//! Groups whose rows are final: which they are at a watermark, in the order of their times.

use millrace_ir::Closing;
use std::collections::BTreeMap;

/// The groups by when they close.
pub struct Closed {
    closing: Closing,
    /// Groups by the time that their key says; some of them may be gone.
    groups: BTreeMap<i64, Vec<u32>>,
    watermark: Option<i64>,
}

impl Closed {
    pub fn new(closing: Closing) -> Closed {
        Closed { closing, groups: BTreeMap::new(), watermark: None }
    }

    /// The key that says when a group closes.
    pub fn key(&self) -> usize {
        self.closing.column
    }

    pub fn advance(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(Some(watermark));
    }

    /// Whether there may be groups to drop.
    pub fn is_due(&self) -> bool {
        let Some(watermark) = self.watermark else { return false };
        self.groups.first_key_value().is_some_and(|(time, _)| self.is_closed(*time, watermark))
    }

    /// Notes a new group.
    pub fn note(&mut self, time: i64, group: u32) {
        self.groups.entry(time).or_default().push(group);
    }

    /// The groups that are final, with the times that they were noted with.
    pub fn take(&mut self) -> Vec<(i64, u32)> {
        let mut closed = Vec::new();
        while self.is_due() {
            let Some((time, groups)) = self.groups.pop_first() else { break };
            closed.extend(groups.into_iter().map(|group| (time, group)));
        }
        closed
    }

    fn is_closed(&self, time: i64, watermark: i64) -> bool {
        time.saturating_add(self.closing.delay) <= watermark
    }

    /// Bytes of memory, nearly.
    pub fn bytes(&self) -> usize {
        self.groups.values().map(|groups| groups.capacity() * size_of::<u32>() + 3 * size_of::<u64>()).sum()
    }
}

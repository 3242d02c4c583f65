//! The numbered log of a relay session, bounded in bytes: the oldest entries go first.

use std::collections::VecDeque;

use super::{Data, Entry, Event};

/// The newest entries, numbered from the first there ever was.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) oldest: u64,
    pub(super) entries: VecDeque<Entry>,
    bytes: usize,
}

impl Log {
    pub(super) fn next(&self) -> u64 {
        self.oldest + self.entries.len() as u64
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.event.bytes();
        self.entries.push_back(entry);
    }

    pub(super) fn trim(&mut self, bytes: usize) {
        while self.bytes > bytes
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= entry.event.bytes();
            self.oldest += 1;
        }
    }

    pub(super) fn run(&self, first: u64, end: u64) -> impl Iterator<Item = &Entry> {
        let skipped = first.saturating_sub(self.oldest) as usize;
        let end = (end.saturating_sub(self.oldest) as usize).min(self.entries.len());
        self.entries.range(skipped.min(end)..end)
    }
}

impl Event {
    /// What an entry with it takes at most, encoded.
    pub(super) fn bytes(&self) -> usize {
        if let Self::Said(Data(data)) = self { ENTRY_BYTES + data.len() } else { ENTRY_BYTES }
    }
}

/// Tick, seat, kind and length, at their longest.
pub(super) const ENTRY_BYTES: usize = 12;

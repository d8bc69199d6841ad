//! [`Captured`]: the bounded output of a child. It keeps the beginning and the end, and counts what it drops between them.

use std::borrow::Cow;
use std::collections::VecDeque;

/// The output of a child on one of its streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes kept of the beginning, and again of the end.
    half: usize,
    dropped: u64,
}

impl Captured {
    /// Keeps at most `limit` bytes.
    pub(super) fn keeping(limit: usize) -> Self {
        Self { half: limit / 2, ..Self::default() }
    }

    /// Takes what was written next.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(self.half - self.head.len()));
        self.head.extend_from_slice(first);
        let skipped = rest.len().saturating_sub(self.half);
        let evicted = (self.tail.len() + rest.len() - skipped).saturating_sub(self.half);
        self.tail.drain(..evicted);
        self.tail.extend(&rest[skipped..]);
        self.dropped += (skipped + evicted) as u64;
    }

    /// Counts the dropped bytes between beginning and end.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Gives the kept bytes; where none were dropped, that is the whole output.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        bytes.extend(&self.tail);
        bytes
    }

    /// Gives the kept text, with a line that says how many bytes were dropped, where some were.
    pub fn text(&self) -> String {
        if self.dropped == 0 {
            return String::from_utf8_lossy(&self.bytes()).into_owned();
        }
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let text: [Cow<'_, str>; 2] = [String::from_utf8_lossy(&self.head), String::from_utf8_lossy(&tail)];
        format!("{}\n[{} bytes dropped]\n{}", text[0], self.dropped, text[1])
    }
}

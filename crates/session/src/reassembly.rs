//! Puts a client's clear-text handshake messages together, in order, from fragments that are lost, repeated, reordered
//! or made to waste memory and time (RFC 6347 §4.2.3).

use std::collections::BTreeMap;

use crate::record::Fragment;

/// Bytes of handshake a session takes in its life. Browsers send under 4 KiB; certificates may be larger.
pub(crate) const MAX_HANDSHAKE_BYTES: usize = 64 * 1024;
/// Fragments that brought something new in a session's life. A 4 KiB handshake cut to 64 bytes each takes as many.
pub(crate) const MAX_FRAGMENTS: usize = 64;

/// A whole handshake message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u8,
    pub(crate) sequence: u16,
    pub(crate) body: Vec<u8>,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It may have completed a message: see [`Reassembly::pop`].
    Taken,
    /// It belongs to a message that was already delivered: the client repeats itself.
    Repeat,
    /// It says nothing new or contradicts what came before.
    Ignored,
    /// The session's limits are exceeded.
    TooLarge,
}

/// Holds the messages of one handshake that are not whole or not next.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    next: u16,
    partial: BTreeMap<u16, Partial>,
    bytes: usize,
    fragments: usize,
}

impl Reassembly {
    /// Takes a fragment of a message numbered below `end`.
    pub(crate) fn push(&mut self, fragment: &Fragment<'_>, end: u16) -> Pushed {
        if fragment.sequence < self.next {
            return Pushed::Repeat;
        }
        if fragment.sequence >= end {
            return Pushed::Ignored;
        }
        if !self.partial.contains_key(&fragment.sequence) {
            self.bytes += fragment.length;
            if self.bytes > MAX_HANDSHAKE_BYTES {
                return Pushed::TooLarge;
            }
        }
        let partial = self.partial.entry(fragment.sequence).or_insert_with(|| Partial::new(fragment.kind, fragment.length));
        if !partial.add(fragment) {
            return Pushed::Ignored;
        }
        self.fragments += 1;
        if self.fragments > MAX_FRAGMENTS { Pushed::TooLarge } else { Pushed::Taken }
    }

    /// The next message, once it is whole.
    pub(crate) fn pop(&mut self) -> Option<Message> {
        let first = self.partial.first_entry()?;
        if *first.key() != self.next || !first.get().is_whole() {
            return None;
        }
        let (sequence, partial) = first.remove_entry();
        self.next += 1;
        if self.partial.is_empty() {
            // An emptied map keeps places for eleven.
            self.partial = BTreeMap::new();
        }
        Some(Message { kind: partial.kind, sequence, body: partial.body })
    }
}

#[derive(Debug)]
struct Partial {
    kind: u8,
    body: Vec<u8>,
    /// The ranges of `body` that have arrived: sorted, disjoint, not touching.
    have: Vec<(usize, usize)>,
}

impl Partial {
    fn new(kind: u8, length: usize) -> Self {
        Self { kind, body: vec![0; length], have: Vec::new() }
    }

    fn is_whole(&self) -> bool {
        self.have == [(0, self.body.len())]
    }

    /// Whether the fragment fits and brought something new.
    fn add(&mut self, fragment: &Fragment<'_>) -> bool {
        let (mut start, mut end) = (fragment.offset, fragment.offset + fragment.body.len());
        let inside = |&(from, to): &(usize, usize)| from <= start && end <= to;
        if fragment.kind != self.kind || fragment.length != self.body.len() || self.have.iter().any(inside) {
            return false;
        }
        self.body[start..end].copy_from_slice(fragment.body);
        self.have.retain(|&(from, to)| {
            let apart = to < start || end < from;
            if !apart {
                start = start.min(from);
                end = end.max(to);
            }
            apart
        });
        let at = self.have.partition_point(|&(from, _)| from < start);
        self.have.insert(at, (start, end));
        true
    }
}

#[cfg(test)]
mod tests;

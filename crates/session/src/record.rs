//! DTLS records and handshake fragments (RFC 6347 §4.1, §4.2.2): read in place, written into a buffer.

/// `change_cipher_spec`
pub(crate) const CHANGE_CIPHER_SPEC: u8 = 20;
/// `alert`
pub(crate) const ALERT: u8 = 21;
/// `handshake`
pub(crate) const HANDSHAKE: u8 = 22;
/// `application_data`
pub(crate) const APPLICATION_DATA: u8 = 23;

/// Bytes of a record's header.
pub(crate) const RECORD_HEADER: usize = 13;
/// Bytes of a handshake fragment's header.
pub(crate) const FRAGMENT_HEADER: usize = 12;

/// One record of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) content_type: u8,
    pub(crate) epoch: u16,
    /// What follows the header; ciphertext from epoch 1 on.
    pub(crate) body: &'a [u8],
    /// Header and body.
    pub(crate) whole: &'a [u8],
}

/// The records of a datagram, up to the first that is no DTLS 1.x record.
pub(crate) fn records(datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (header, after) = rest.split_at_checked(RECORD_HEADER)?;
        let content_type = header[0];
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        if !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&content_type) || header[1] != 0xfe || length > after.len() {
            return None;
        }
        let (whole, tail) = rest.split_at(RECORD_HEADER + length);
        rest = tail;
        Some(Record { content_type, epoch: u16::from_be_bytes([header[3], header[4]]), body: &whole[RECORD_HEADER..], whole })
    })
}

/// A piece of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment<'a> {
    /// The message's `HandshakeType`.
    pub(crate) kind: u8,
    /// Bytes of the whole message.
    pub(crate) length: usize,
    pub(crate) sequence: u16,
    pub(crate) offset: usize,
    pub(crate) body: &'a [u8],
}

/// The fragments in a handshake record's body, up to the first malformed one.
pub(crate) fn fragments(body: &[u8]) -> impl Iterator<Item = Fragment<'_>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (header, after) = rest.split_at_checked(FRAGMENT_HEADER)?;
        let length = u24(&header[1..4]);
        let offset = u24(&header[6..9]);
        let (body, tail) = after.split_at_checked(u24(&header[9..12]))?;
        if offset + body.len() > length {
            return None;
        }
        rest = tail;
        Some(Fragment { kind: header[0], length, sequence: u16::from_be_bytes([header[4], header[5]]), offset, body })
    })
}

pub(crate) fn u24(bytes: &[u8]) -> usize {
    bytes[..3].iter().fold(0, |value, &byte| value << 8 | usize::from(byte))
}

/// A DTLS 1.2 record in clear text (epoch 0). `body` is shorter than 64 KiB.
pub(crate) fn plain_record(content_type: u8, sequence: u64, body: &[u8]) -> Vec<u8> {
    record(content_type, 0, sequence, body)
}

/// A DTLS 1.2 record, not sealed. `body` is shorter than 64 KiB.
pub(crate) fn record(content_type: u8, epoch: u16, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(RECORD_HEADER + body.len());
    record.extend_from_slice(&[content_type, 0xfe, 0xfd]);
    record.extend_from_slice(&epoch.to_be_bytes());
    record.extend_from_slice(&sequence.to_be_bytes()[2..]);
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(body);
    record
}

/// A whole handshake message as the body of a record.
pub(crate) fn whole_message(kind: u8, sequence: u16, message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u32).to_be_bytes();
    let mut body = Vec::with_capacity(FRAGMENT_HEADER + message.len());
    body.push(kind);
    body.extend_from_slice(&length[1..]);
    body.extend_from_slice(&sequence.to_be_bytes());
    body.extend_from_slice(&[0, 0, 0]);
    body.extend_from_slice(&length[1..]);
    body.extend_from_slice(message);
    body
}

/// Gives each clear-text record of `datagram` the next number from `next`, so that a flight that is sent again passes
/// the receiver's replay check (RFC 6347 §4.2.4). Encrypted records keep theirs: it is part of their ciphertext.
pub(crate) fn renumber(datagram: &mut [u8], next: &mut u64) {
    let mut at = 0;
    while let Some(header) = datagram.get_mut(at..at + RECORD_HEADER) {
        if header[3..5] == [0, 0] {
            header[5..11].copy_from_slice(&next.to_be_bytes()[2..]);
            *next += 1;
        }
        at += RECORD_HEADER + usize::from(u16::from_be_bytes([header[11], header[12]]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_read_up_to_its_first_bad_record() {
        let mut datagram = plain_record(HANDSHAKE, 7, b"one");
        datagram.extend(plain_record(ALERT, 8, &[2, 40]));
        datagram.extend([22, 3, 3, 0, 0]);
        let read: Vec<_> = records(&datagram).map(|record| (record.content_type, record.epoch, record.body.to_vec())).collect();
        assert_eq!(read, [(HANDSHAKE, 0, b"one".to_vec()), (ALERT, 0, vec![2, 40])]);
    }

    #[test]
    fn every_prefix_of_a_datagram_is_read_without_panic() {
        let datagram = plain_record(HANDSHAKE, 0, &whole_message(1, 0, &[9; 40]));
        for end in 0..datagram.len() {
            assert_eq!(records(&datagram[..end]).count(), 0);
        }
        let body = whole_message(1, 0, &[9; 40]);
        for end in 0..body.len() {
            assert_eq!(fragments(&body[..end]).count(), 0);
        }
        assert_eq!(fragments(&body).next().map(|fragment| (fragment.kind, fragment.length, fragment.offset)), Some((1, 40, 0)));
    }

    #[test]
    fn a_fragment_that_reaches_past_its_message_is_refused() {
        let mut body = whole_message(1, 0, &[9; 40]);
        body[8] = 1;
        assert_eq!(fragments(&body).count(), 0);
    }

    #[test]
    fn renumbering_touches_only_clear_text() {
        let mut datagram = plain_record(HANDSHAKE, 1, b"x");
        let mut sealed = plain_record(HANDSHAKE, 1, b"y");
        sealed[4] = 1;
        datagram.extend(&sealed);
        datagram.extend(plain_record(ALERT, 1, b"z"));
        let mut next = 500;
        renumber(&mut datagram, &mut next);
        assert_eq!(next, 502);
        let numbers: Vec<_> = records(&datagram).map(|record| u16::from_be_bytes([record.whole[9], record.whole[10]])).collect();
        assert_eq!(numbers, [500, 1, 501]);
    }
}

use super::*;

const END: u16 = 5;

fn piece(sequence: u16, message: &[u8], from: usize, to: usize) -> Fragment<'_> {
    Fragment { kind: 1, length: message.len(), sequence, offset: from, body: &message[from..to] }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| index as u8).collect()
}

#[test]
fn a_message_comes_together_from_pieces_in_any_order_with_overlaps() {
    let message = bytes(100);
    let pieces = [(60, 100), (0, 10), (5, 30), (80, 90), (25, 61)];
    let mut reassembly = Reassembly::default();
    for (from, to) in pieces {
        assert_eq!(reassembly.pop(), None);
        reassembly.push(&piece(0, &message, from, to), END);
    }
    assert_eq!(reassembly.pop(), Some(Message { kind: 1, sequence: 0, body: message }));
    assert_eq!(reassembly.pop(), None);
}

#[test]
fn messages_are_delivered_in_order_once() {
    let (first, second) = (bytes(10), bytes(20));
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.push(&piece(1, &second, 0, 20), END), Pushed::Taken);
    assert_eq!(reassembly.pop(), None);
    assert_eq!(reassembly.push(&piece(0, &first, 0, 10), END), Pushed::Taken);
    assert_eq!(reassembly.pop().map(|message| message.sequence), Some(0));
    assert_eq!(reassembly.pop().map(|message| message.sequence), Some(1));
    assert_eq!(reassembly.push(&piece(0, &first, 0, 10), END), Pushed::Repeat);
    assert_eq!(reassembly.pop(), None);
}

#[test]
fn an_empty_message_is_whole() {
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.push(&piece(0, &[], 0, 0), END), Pushed::Taken);
    assert_eq!(reassembly.pop(), Some(Message { kind: 1, sequence: 0, body: vec![] }));
}

#[test]
fn repeats_of_a_piece_count_for_nothing() {
    let message = bytes(100);
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.push(&piece(0, &message, 0, 50), END), Pushed::Taken);
    for _ in 0..100_000 {
        assert_eq!(reassembly.push(&piece(0, &message, 0, 50), END), Pushed::Ignored);
    }
    assert_eq!(reassembly.push(&piece(0, &message, 50, 100), END), Pushed::Taken);
    assert!(reassembly.pop().is_some());
}

#[test]
fn a_piece_that_contradicts_its_message_is_ignored() {
    let (message, longer) = (bytes(100), bytes(101));
    let mut reassembly = Reassembly::default();
    reassembly.push(&piece(0, &message, 0, 50), END);
    assert_eq!(reassembly.push(&piece(0, &longer, 50, 101), END), Pushed::Ignored);
    let other = Fragment { kind: 2, ..piece(0, &message, 50, 100) };
    assert_eq!(reassembly.push(&other, END), Pushed::Ignored);
}

#[test]
fn messages_past_the_last_expected_one_are_ignored() {
    let message = bytes(10);
    assert_eq!(Reassembly::default().push(&piece(END, &message, 0, 10), END), Pushed::Ignored);
}

#[test]
fn one_byte_pieces_end_the_handshake() {
    let message = bytes(4000);
    let mut reassembly = Reassembly::default();
    let taken = (0..4000).take_while(|&at| reassembly.push(&piece(0, &message, at, at + 1), END) == Pushed::Taken).count();
    assert_eq!(taken, MAX_FRAGMENTS);
}

#[test]
fn announced_bytes_are_limited_before_they_are_allocated() {
    let mut reassembly = Reassembly::default();
    let huge = |sequence, length| Fragment { kind: 1, length, sequence, offset: 0, body: &[0] };
    assert_eq!(reassembly.push(&huge(0, MAX_HANDSHAKE_BYTES + 1), END), Pushed::TooLarge);
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.push(&huge(0, MAX_HANDSHAKE_BYTES), END), Pushed::Taken);
    assert_eq!(reassembly.push(&huge(1, 1), END), Pushed::TooLarge);
}

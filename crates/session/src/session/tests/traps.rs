//! What broke, or could break, a handshake: each guard by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{Client, Offer, Seen};
use super::line::{CERTIFICATE, Line, Random, To, Weather};
use crate::reassembly::{MAX_FRAGMENTS, MAX_HANDSHAKE_BYTES};
use crate::record::{self, ALERT, APPLICATION_DATA, FRAGMENT_HEADER, HANDSHAKE, fragments, plain_record, records, whole_message};
use crate::{Event, FailReason, FingerprintError, Session};

const MINUTE: Duration = Duration::from_secs(60);
const SERVER_HELLO: u8 = 2;
const SERVER_HELLO_DONE: u8 = 14;

fn good_line() -> Line {
    Line::new(1, Weather::default(), Offer::default())
}

/// The kinds of the clear-text handshake messages in a datagram.
fn kinds(datagram: &[u8]) -> Vec<u8> {
    let plain = records(datagram).filter(|record| record.content_type == HANDSHAKE && record.epoch == 0);
    plain.flat_map(|record| fragments(record.body).map(|fragment| fragment.kind)).collect()
}

fn has_sealed(datagram: &[u8]) -> bool {
    records(datagram).any(|record| record.epoch == 1)
}

/// Cuts every clear-text handshake message of a datagram into pieces of at most `size` bytes, a datagram each.
fn cut(datagram: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    for record in records(datagram) {
        for fragment in fragments(record.body) {
            for start in (0..fragment.length).step_by(size) {
                let end = (start + size).min(fragment.length);
                let mut body = whole_message(fragment.kind, fragment.sequence, &fragment.body[start..end]);
                body[1..4].copy_from_slice(&(fragment.length as u32).to_be_bytes()[1..]);
                body[6..9].copy_from_slice(&(start as u32).to_be_bytes()[1..]);
                pieces.push(plain_record(HANDSHAKE, 1000 + pieces.len() as u64, &body));
            }
        }
    }
    pieces
}

/// The session's answers to its client's first two messages, and the ClientHello with the cookie.
fn up_to_certificate(line: &mut Line) -> Vec<u8> {
    line.filter = Box::new(|_, _| false);
    let first = line.client.poll_transmit(line.now).expect("a hello");
    line.session.handle_datagram(line.now, &first);
    let verify = line.session.poll_transmit(line.now).expect("a cookie");
    line.client.handle_datagram(line.now, &verify);
    line.client.poll_transmit(line.now).expect("the hello with the cookie")
}

#[test]
fn a_lost_flight_4_is_sent_again_when_the_hello_is_repeated() {
    let mut line = good_line();
    let mut losses = 3;
    line.filter = Box::new(move |to, datagram| {
        let lost = to == To::Client && kinds(datagram).contains(&SERVER_HELLO) && losses > 0;
        losses -= u32::from(lost);
        !lost
    });
    assert!(line.run_until(Duration::from_secs(3), |line| line.has_keys() && line.client.established));
}

#[test]
fn a_lost_flight_4_is_sent_again_when_the_client_stays_silent() {
    let mut line = good_line();
    line.client.repeats = false;
    let mut losses = 3;
    line.filter = Box::new(move |to, datagram| {
        let lost = to == To::Client && kinds(datagram).contains(&SERVER_HELLO) && losses > 0;
        losses -= u32::from(lost);
        !lost
    });
    assert!(line.run_until(Duration::from_secs(5), |line| line.has_keys() && line.client.established));
}

#[test]
fn a_lost_last_flight_is_sent_again_beyond_what_rtc_dtls_would() {
    let mut line = good_line();
    let mut losses = 12;
    line.filter = Box::new(move |to, datagram| {
        let lost = to == To::Client && has_sealed(datagram) && losses > 0;
        losses -= u32::from(lost);
        !lost
    });
    assert!(line.run_until(MINUTE, |line| line.client.established));
}

#[test]
fn repeated_records_are_numbered_anew() {
    let mut line = good_line();
    line.filter = Box::new(|to, datagram| to == To::Server || !kinds(datagram).contains(&SERVER_HELLO_DONE));
    line.run(Duration::from_secs(2));
    let sent = line.sent.concat();
    let mut numbers: Vec<_> = records(&sent).map(|record| record.whole[5..11].to_vec()).collect();
    let all = numbers.len();
    numbers.sort();
    numbers.dedup();
    assert!(all > 10);
    assert_eq!(numbers.len(), all);
}

#[test]
fn a_hello_in_two_datagrams_is_answered_once_in_any_order_and_number() {
    for order in [vec![0, 1], vec![1, 0], vec![0, 0, 1, 1], vec![1, 1, 0, 1], vec![0, 1, 0, 1]] {
        let mut line = good_line();
        let second = up_to_certificate(&mut line);
        let size = second.len() / 2;
        let pieces = cut(&second, size);
        assert_eq!(pieces.len(), 2);
        let mut answers = Vec::new();
        for index in &order {
            line.session.handle_datagram(line.now, &pieces[*index]);
            while let Some(answer) = line.session.poll_transmit(line.now) {
                answers.push(answer);
            }
        }
        let hellos = answers.iter().flat_map(|answer| kinds(answer)).filter(|kind| *kind == SERVER_HELLO).count();
        assert_eq!(hellos, 1, "{order:?}");
        line.filter = Box::new(|_, _| true);
        answers.iter().for_each(|answer| line.client.handle_datagram(line.now, answer));
        assert!(line.run_until(MINUTE, |line| line.has_keys() && line.client.established), "{order:?}");
    }
}

#[test]
fn messages_that_share_a_record_are_told_apart() {
    let mut line = good_line();
    let second = up_to_certificate(&mut line);
    line.session.handle_datagram(line.now, &second);
    while let Some(answer) = line.session.poll_transmit(line.now) {
        line.client.handle_datagram(line.now, &answer);
    }
    let flight: Vec<_> = std::iter::from_fn(|| line.client.poll_transmit(line.now)).collect();
    let flight = flight.concat();
    let plain: Vec<u8> = records(&flight)
        .filter(|record| record.epoch == 0 && record.content_type == HANDSHAKE)
        .flat_map(|record| record.body.to_vec())
        .collect();
    assert_eq!(fragments(&plain).count(), 3);
    line.session.handle_datagram(line.now, &plain_record(HANDSHAKE, 99, &plain));
    let sealed: Vec<u8> = records(&flight).filter(|record| record.epoch == 1).flat_map(|record| record.whole.to_vec()).collect();
    line.session.handle_datagram(line.now, &sealed);
    line.drain();
    assert!(line.has_keys());
}

#[test]
fn a_finished_that_overtakes_the_certificate_is_kept() {
    let mut line = good_line();
    let second = up_to_certificate(&mut line);
    line.session.handle_datagram(line.now, &second);
    while let Some(answer) = line.session.poll_transmit(line.now) {
        line.client.handle_datagram(line.now, &answer);
    }
    let flight: Vec<_> = std::iter::from_fn(|| line.client.poll_transmit(line.now)).collect();
    let flight = flight.concat();
    let mut backwards: Vec<Vec<u8>> = records(&flight).map(|record| record.whole.to_vec()).collect();
    backwards.reverse();
    assert!(backwards.len() >= 4);
    for record in &backwards {
        line.session.handle_datagram(line.now, record);
    }
    line.drain();
    assert!(line.has_keys());
}

#[test]
fn sealed_data_before_the_end_of_the_handshake_does_not_disturb_it() {
    let mut line = good_line();
    let mut last_flight = None;
    let second = up_to_certificate(&mut line);
    line.session.handle_datagram(line.now, &second);
    while let Some(answer) = line.session.poll_transmit(line.now) {
        line.client.handle_datagram(line.now, &answer);
    }
    while let Some(datagram) = line.client.poll_transmit(line.now) {
        last_flight = Some(datagram);
    }
    // The client's handshake is complete only with the server's Finished, so its data is what a forger could send:
    // sealed, and without meaning. It must neither disturb the handshake nor stay.
    let mut sealed = plain_record(APPLICATION_DATA, 5, &[7; 100]);
    sealed[4] = 1;
    line.session.handle_datagram(line.now, &sealed);
    assert_eq!(line.session.kept_bytes(), sealed.len());
    line.session.handle_datagram(line.now, &last_flight.expect("a flight"));
    line.drain();
    assert!(line.has_keys());
    assert_eq!(line.session.kept_bytes(), 0);
}

#[test]
fn one_byte_fragments_are_cut_short() {
    let mut line = good_line();
    let first = line.client.poll_transmit(line.now).expect("a hello");
    let pieces = cut(&first, 1);
    assert!(pieces.len() > MAX_FRAGMENTS);
    let began = Instant::now();
    pieces.iter().for_each(|piece| line.inject(piece));
    assert_eq!(line.failure(), Some(FailReason::TooLarge));
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[test]
fn announcing_large_messages_ends_the_handshake() {
    let mut line = good_line();
    let length = (MAX_HANDSHAKE_BYTES as u32 / 2).to_be_bytes();
    for sequence in 1..4 {
        let mut body = whole_message(11, sequence, &[0; 100]);
        body[1..4].copy_from_slice(&length[1..]);
        line.inject(&plain_record(HANDSHAKE, u64::from(sequence), &body));
    }
    assert_eq!(line.failure(), Some(FailReason::TooLarge));
}

#[test]
fn messages_out_of_turn_end_the_handshake() {
    let cases = [(2, 16, FailReason::NoCertificate), (2, 15, FailReason::NoCertificate), (1, 11, FailReason::Handshake)];
    for (sequence, kind, reason) in cases {
        let mut line = good_line();
        let second = up_to_certificate(&mut line);
        if sequence == 2 {
            line.session.handle_datagram(line.now, &second);
        }
        line.session.handle_datagram(line.now, &plain_record(HANDSHAKE, 50, &whole_message(kind, sequence, &[0; 40])));
        line.drain();
        assert_eq!(line.failure(), Some(reason));
        let alert = line.sent.last().and_then(|datagram| records(datagram).next().map(|record| record.body.to_vec()));
        assert_eq!(alert, Some(vec![2, 10]), "unexpected_message");
    }
}

#[test]
fn sealed_records_before_the_end_of_the_handshake_are_capped() {
    let mut line = good_line();
    let second = up_to_certificate(&mut line);
    line.session.handle_datagram(line.now, &second);
    let answers: Vec<_> = std::iter::from_fn(|| line.session.poll_transmit(line.now)).collect();
    let mut sealed = plain_record(APPLICATION_DATA, 0, &[7; 1000]);
    sealed[4] = 1;
    let mut large = plain_record(APPLICATION_DATA, 0, &[7; 16_000]);
    large[4] = 1;
    let before = line.session.kept_bytes();
    for kind in [APPLICATION_DATA, HANDSHAKE, ALERT, record::CHANGE_CIPHER_SPEC] {
        sealed[0] = kind;
        large[0] = kind;
        (0..5).for_each(|_| line.session.handle_datagram(line.now, &large));
        assert!(line.session.kept_bytes() - before <= 16 * 2048, "{} bytes", line.session.kept_bytes());
        for _ in 0..100_000 {
            line.session.handle_datagram(line.now, &sealed);
        }
    }
    assert!(line.session.kept_bytes() - before <= 16 * 2048, "{} bytes", line.session.kept_bytes());
    assert_eq!(line.session.poll_transmit(line.now), None);
    // The client is served all the same.
    line.filter = Box::new(|_, _| true);
    answers.iter().for_each(|answer| line.client.handle_datagram(line.now, answer));
    assert!(line.run_until(MINUTE, |line| line.has_keys() && line.client.established));
}

#[test]
fn after_a_failure_the_alert_goes_out_and_nothing_starts_again() {
    let mut line = good_line();
    line.session = Session::new(CERTIFICATE.clone());
    line.session.set_remote_fingerprint(&"00:".repeat(32)[..95]).expect("a fingerprint");
    assert!(line.run_until(MINUTE, |line| line.failure().is_some()));
    let alert = line.sent.last().expect("an alert");
    assert_eq!(records(alert).next().map(|record| (record.content_type, record.body.to_vec())), Some((ALERT, vec![2, 42])));
    assert!(line.run_until(MINUTE, |line| line.client.failed));

    let sent = line.sent.len();
    line.client = Client::new(line.now, Offer::default());
    line.run(MINUTE);
    assert_eq!(line.sent.len(), sent);
    assert_eq!(line.session.poll_timeout(), None);
    assert_eq!(line.events.iter().filter(|event| matches!(event, Event::Failed(_))).count(), 1);
}

#[test]
fn after_a_close_a_new_hello_is_ignored() {
    let mut line = Line::established();
    line.session.close(line.now);
    line.run(Duration::from_secs(1));
    let sent = line.sent.len();
    line.client = Client::new(line.now, Offer::default());
    line.run(MINUTE);
    assert_eq!(line.sent.len(), sent);
}

#[test]
fn a_new_hello_after_the_handshake_disturbs_nothing() {
    let mut line = Line::established();
    let stranger = Client::new(line.now, Offer::default()).poll_transmit(line.now).expect("a hello");
    for _ in 0..1000 {
        line.inject(&stranger);
    }
    line.client.dial(line.now, 0, "chat", Default::default(), 0);
    assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Confirmed(0))));
    assert_eq!(line.failure(), None);
}

#[test]
fn garbage_changes_nothing() {
    let mut line = good_line();
    let mut random = Random(7);
    let seeds: Vec<Vec<u8>> = {
        let second = up_to_certificate(&mut line);
        vec![
            second,
            plain_record(APPLICATION_DATA, 0, b"clear"),
            plain_record(ALERT, 0, &[1, 90]),
            plain_record(HANDSHAKE, 0, &[]),
            vec![22; 13],
            vec![],
        ]
    };
    let mut line = Line::established();
    for round in 0..20_000 {
        let mut datagram = seeds[round % seeds.len()].clone();
        for _ in 0..random.next() % 8 {
            if !datagram.is_empty() {
                let at = random.next() as usize % datagram.len();
                datagram[at] = random.next() as u8;
            }
        }
        line.inject(&datagram);
    }
    line.client.dial(line.now, 0, "chat", Default::default(), 0);
    assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Confirmed(0))), "{:?}", line.failure());
}

#[test]
fn random_bytes_before_the_handshake_never_panic_and_cost_little() {
    let mut random = Random(11);
    for _ in 0..200 {
        let mut line = good_line();
        let hello = line.client.poll_transmit(line.now).expect("a hello");
        let mut sent = 0;
        for _ in 0..200 {
            let mut datagram = hello.clone();
            for _ in 0..1 + random.next() % 6 {
                let at = random.next() as usize % datagram.len();
                datagram[at] = random.next() as u8;
            }
            line.session.handle_datagram(line.now, &datagram);
            while let Some(answer) = line.session.poll_transmit(line.now) {
                sent += answer.len();
            }
        }
        assert!(sent < 2000, "{sent} bytes");
    }
}

#[test]
fn what_an_unauthenticated_client_gets_is_bounded() {
    let mut line = good_line();
    let second = up_to_certificate(&mut line);
    let (mut sent, mut time) = (0, line.now);
    for _ in 0..4000 {
        time += Duration::from_millis(10);
        line.session.handle_datagram(time, &second);
        line.session.handle_timeout(time);
        while let Some(answer) = line.session.poll_transmit(time) {
            sent += answer.len();
        }
        line.events.extend(std::iter::from_fn(|| line.session.poll_event()));
    }
    assert_eq!(line.failure(), Some(FailReason::TimedOut));
    println!("3000 repeated hellos got {sent} bytes");
    assert!(sent < 40_000, "{sent} bytes");
}

#[test]
fn a_client_that_stops_halfway_times_out() {
    let mut line = good_line();
    line.filter = Box::new(|to, _| to == To::Server);
    line.client.repeats = false;
    assert!(line.run_until(MINUTE, |line| line.failure().is_some()));
    assert_eq!(line.failure(), Some(FailReason::TimedOut));
    assert!((29..=31).contains(&line.elapsed().as_secs()));
}

#[test]
fn a_hello_before_the_fingerprint_is_answered_after_it() {
    let mut line = good_line();
    line.session = Session::new(CERTIFICATE.clone());
    line.client.repeats = false;
    assert!(!line.run_until(MINUTE, |line| !line.sent.is_empty()));
    assert_eq!(line.session.poll_timeout(), None);
    line.session.set_remote_fingerprint(line.client.fingerprint()).expect("a fingerprint");
    assert!(line.run_until(MINUTE, |line| line.has_keys() && line.client.established));
}

#[test]
fn datagrams_before_the_fingerprint_are_capped() {
    let mut session = Session::new(CERTIFICATE.clone());
    let now = Instant::now();
    for _ in 0..10_000 {
        session.handle_datagram(now, &plain_record(HANDSHAKE, 0, &[1; 1500]));
        session.handle_datagram(now, &plain_record(HANDSHAKE, 0, &[1; 60_000]));
    }
    assert!(session.kept_bytes() <= 4 * 2048);
    assert_eq!(session.poll_transmit(now), None);
}

#[test]
fn a_fingerprint_is_set_once() {
    let mut session = Session::new(Arc::clone(&CERTIFICATE));
    let (one, other) = ("0A:".repeat(32)[..95].to_owned(), "0B:".repeat(32)[..95].to_owned());
    assert_eq!(session.set_remote_fingerprint("0A"), Err(FingerprintError::Malformed));
    assert_eq!(session.set_remote_fingerprint(&one), Ok(()));
    assert_eq!(session.set_remote_fingerprint(&one.to_lowercase()), Ok(()));
    assert_eq!(session.set_remote_fingerprint(&other), Err(FingerprintError::Changed));
}

#[test]
fn a_fatal_alert_in_the_clear_counts_only_during_the_handshake() {
    let alert = plain_record(ALERT, 9, &[2, 42]);
    let mut line = good_line();
    line.session.handle_datagram(line.now, &alert);
    assert!(line.session.poll_event().is_none(), "there is no handshake yet");
    up_to_certificate(&mut line);
    line.inject(&alert);
    assert_eq!(line.failure(), Some(FailReason::Alert(Some(42))));

    let mut line = Line::established();
    line.inject(&alert);
    line.inject(&plain_record(APPLICATION_DATA, 10, b"forged"));
    assert_eq!(line.failure(), None);
}

#[test]
fn a_replayed_last_flight_gets_a_bounded_answer() {
    let mut line = Line::established();
    let before = line.sent.len();
    let mut body = whole_message(15, 4, &[0; 70]);
    body.truncate(FRAGMENT_HEADER + 70);
    for _ in 0..10_000 {
        line.now += Duration::from_millis(30);
        line.inject(&plain_record(HANDSHAKE, 5, &body));
    }
    assert!(line.sent.len() - before <= 30, "{}", line.sent.len() - before);
}

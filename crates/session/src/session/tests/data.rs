//! Data channels, on lines good and bad.

use std::time::Duration;

use rtc_datachannel::message::message_channel_open::ChannelType;
use rtc_sctp::PayloadProtocolIdentifier;

use super::client::{Offer, Seen};
use super::line::{Line, Random, To, Weather};
use crate::channels::{MAX_BUFFERED, MAX_CHANNELS, MAX_NAME};
use crate::waiting::OVERHEAD;
use crate::{Event, MAX_MESSAGE, OpenError, Reliability, SendError};

const MINUTE: Duration = Duration::from_secs(60);

fn opened(line: &Line) -> Vec<(u16, String, String, bool, Reliability)> {
    let opened = |event: &Event| match event.clone() {
        Event::ChannelOpened { id, label, protocol, ordered, reliability } => Some((id, label, protocol, ordered, reliability)),
        _ => None,
    };
    line.events.iter().filter_map(opened).collect()
}

fn closed(line: &Line) -> Vec<u16> {
    line.events.iter().filter_map(|event| if let Event::ChannelClosed(id) = event { Some(*id) } else { None }).collect()
}

/// A line with one reliable channel, 0, that the client opened.
fn with_channel() -> Line {
    let mut line = Line::established();
    line.client.dial(line.now, 0, "chat", ChannelType::Reliable, 0);
    assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Confirmed(0))));
    line.client.seen.clear();
    line
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed);
    (0..length).map(|_| random.next() as u8).collect()
}

#[test]
fn a_clients_channel_opens_with_what_it_asked_for() {
    let kinds = [
        (ChannelType::Reliable, 0, true, Reliability::Reliable),
        (ChannelType::ReliableUnordered, 0, false, Reliability::Reliable),
        (ChannelType::PartialReliableRexmit, 3, true, Reliability::MaxRetransmits(3)),
        (ChannelType::PartialReliableRexmitUnordered, 0, false, Reliability::MaxRetransmits(0)),
        (ChannelType::PartialReliableTimed, 500, true, Reliability::MaxLifetime(500)),
        (ChannelType::PartialReliableTimedUnordered, 70, false, Reliability::MaxLifetime(70)),
    ];
    let mut line = Line::established();
    for (index, (channel_type, parameter, ..)) in kinds.iter().enumerate() {
        line.client.dial(line.now, index as u16 * 2, &format!("kind {index}"), *channel_type, *parameter);
    }
    assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Confirmed(10))));
    let expected = kinds
        .iter()
        .enumerate()
        .map(|(index, &(_, _, ordered, reliability))| (index as u16 * 2, format!("kind {index}"), "test".to_owned(), ordered, reliability));
    assert_eq!(opened(&line), expected.collect::<Vec<_>>());
}

#[test]
fn the_server_dials_odd_ids_even_before_the_handshake() {
    let mut line = Line::new(1, Weather::default(), Offer::default());
    let early = line.session.open_channel(line.now, "early", "p", false, Reliability::MaxRetransmits(2)).expect("an id");
    assert_eq!(line.send(early, true, b"too soon"), Err(SendError::NotOpen));
    assert!(line.run_until(MINUTE, |line| opened(line).len() == 1));
    let late = line.session.open_channel(line.now, "late", "", true, Reliability::Reliable).expect("an id");
    assert!(line.run_until(MINUTE, |line| opened(line).len() == 2));
    assert_eq!((early, late), (1, 3));
    let dialled = Seen::Dialled(1, "early".to_owned(), "p".to_owned(), ChannelType::PartialReliableRexmitUnordered, 2);
    assert!(line.client.seen.contains(&dialled), "{:?}", line.client.seen);
    line.send(late, true, b"hello").expect("taken");
    assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Message(3, true, b"hello".to_vec()))));
}

#[test]
fn text_binary_and_empty_messages_arrive_as_what_they_are() {
    let mut line = with_channel();
    let messages: [(bool, &[u8]); 4] = [(true, b"text"), (false, b"\x00binary"), (true, b""), (false, b"")];
    for (text, data) in messages {
        line.send(0, text, data).expect("taken");
        line.client.send(line.now, 0, text, data);
    }
    assert!(line.run_until(MINUTE, |line| line.messages().len() == 4 && line.client.seen.len() == 4));
    for (index, (text, data)) in messages.into_iter().enumerate() {
        assert_eq!(line.messages()[index], (0, text, data.to_vec()));
        assert_eq!(line.client.seen[index], Seen::Message(0, text, data.to_vec()));
    }
}

#[test]
fn sixty_four_kilobytes_cross_a_bad_line_intact_both_ways() {
    for seed in 0..20 {
        let weather = Weather { loss: 10, repeat: 5, jitter: 50 };
        let mut line = Line::new(seed, weather, Offer::default());
        assert!(line.run_until(MINUTE, |line| line.has_keys() && line.client.seen.contains(&Seen::Connected)), "seed {seed}");
        line.client.dial(line.now, 0, "chat", ChannelType::Reliable, 0);
        assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Confirmed(0))), "seed {seed}");
        line.client.seen.clear();
        let (up, down) = (noise(seed, 65_536), noise(seed + 1000, 65_536));
        line.client.send(line.now, 0, false, &up);
        line.send(0, false, &down).expect("taken");
        assert!(line.run_until(10 * MINUTE, |line| !line.messages().is_empty() && !line.client.seen.is_empty()), "seed {seed}");
        assert_eq!(line.messages(), [(0, false, up)]);
        assert_eq!(line.client.seen, [Seen::Message(0, false, down)]);
    }
}

#[test]
fn messages_that_become_readable_together_are_all_read() {
    let mut line = with_channel();
    let mut lost = false;
    line.filter = Box::new(move |to, _| to == To::Client || std::mem::replace(&mut lost, true));
    let messages: Vec<_> = (0..10).map(|index| (0, true, vec![index; 1000])).collect();
    for (id, text, data) in &messages {
        line.client.send(line.now, *id, *text, data);
        line.drain();
    }
    assert!(line.run_until(MINUTE, |line| line.messages().len() == 10), "{} messages", line.messages().len());
    assert_eq!(line.messages(), messages);
}

#[test]
fn the_association_comes_up_on_a_line_that_loses_and_repeats_its_first_packets() {
    for seed in 0..100 {
        let mut line = Line::new(seed, Weather { loss: 30, repeat: 30, jitter: 1500 }, Offer::default());
        assert!(line.run_until(5 * MINUTE, |line| line.client.seen.contains(&Seen::Connected)), "seed {seed}: {:?}", line.failure());
        line.client.dial(line.now, 0, "chat", ChannelType::Reliable, 0);
        assert!(line.run_until(5 * MINUTE, |line| line.client.seen.contains(&Seen::Confirmed(0))), "seed {seed}");
    }
}

#[test]
fn the_largest_message_passes_and_a_larger_one_is_refused() {
    let mut line = with_channel();
    let largest = noise(1, MAX_MESSAGE);
    line.send(0, false, &largest).expect("taken");
    line.client.send(line.now, 0, false, &largest);
    assert_eq!(line.send(0, false, &vec![0; MAX_MESSAGE + 1]), Err(SendError::TooLarge));
    assert!(line.run_until(MINUTE, |line| !line.messages().is_empty() && !line.client.seen.is_empty()));
    assert_eq!(line.messages()[0].2, largest);
    assert_eq!(line.client.seen[0], Seen::Message(0, false, largest));
}

#[test]
fn what_waits_to_be_sent_is_limited_and_drains() {
    let mut line = with_channel();
    let mut taken = 0;
    while line.send(0, false, &[1; 10_000]).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, MAX_BUFFERED / (10_000 + OVERHEAD));
    assert_eq!(line.send(0, false, &[1; 10_000]), Err(SendError::Full));
    assert!(line.run_until(MINUTE, |line| line.client.seen.len() == taken));
    line.run(Duration::from_secs(1));
    assert_eq!(line.send(0, false, &[1; 10_000]), Ok(()));
}

#[test]
fn an_unreliable_message_is_given_up_and_a_reliable_one_is_not() {
    let mut line = with_channel();
    line.client.dial(line.now, 2, "lossy", ChannelType::PartialReliableRexmit, 0);
    assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Confirmed(2))));
    line.client.seen.clear();
    line.filter = Box::new(|to, _| to == To::Server);
    line.send(2, true, b"lost").expect("taken");
    line.send(0, true, b"kept").expect("taken");
    line.run(Duration::from_millis(500));
    line.filter = Box::new(|_, _| true);
    line.send(2, true, b"later").expect("taken");
    assert!(line.run_until(MINUTE, |line| line.client.seen.len() == 2));
    line.run(MINUTE);
    assert!(line.client.seen.contains(&Seen::Message(0, true, b"kept".to_vec())));
    assert!(line.client.seen.contains(&Seen::Message(2, true, b"later".to_vec())));
    assert_eq!(line.client.seen.len(), 2);
}

#[test]
fn data_is_delivered_after_two_minutes_of_silence() {
    let mut line = with_channel();
    line.filter = Box::new(|_, _| false);
    line.send(0, true, b"patient").expect("taken");
    line.run(2 * MINUTE);
    line.filter = Box::new(|_, _| true);
    assert!(line.run_until(2 * MINUTE, |line| line.client.seen.contains(&Seen::Message(0, true, b"patient".to_vec()))));
}

#[test]
fn a_channel_closed_by_the_client_is_reported_and_its_id_can_be_used_again() {
    let mut line = with_channel();
    line.client.reset(line.now, 0);
    assert!(line.run_until(MINUTE, |line| closed(line) == [0]));
    assert_eq!(line.send(0, true, b"late"), Err(SendError::NotOpen));
    assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Gone(0))));
    line.client.dial(line.now, 0, "again", ChannelType::Reliable, 0);
    assert!(line.run_until(MINUTE, |line| opened(line).len() == 2));
}

#[test]
fn a_channel_closed_by_the_server_ends_at_the_client_though_data_was_on_its_way() {
    let mut line = with_channel();
    for _ in 0..100 {
        line.client.send(line.now, 0, false, &[1; 3000]);
    }
    line.run(Duration::from_millis(21));
    line.session.close_channel(line.now, 0);
    assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Gone(0))));
    assert_eq!(closed(&line), [0]);
    line.client.dial(line.now, 2, "next", ChannelType::Reliable, 0);
    assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Confirmed(2))));
    for _ in 0..100 {
        line.client.send(line.now, 2, false, &[2; 3000]);
    }
    let arrived = |line: &Line| line.messages().iter().filter(|message| message.0 == 2).count();
    assert!(line.run_until(MINUTE, |line| arrived(line) == 100));
}

#[test]
fn channels_beyond_the_limit_are_refused() {
    let mut line = Line::established();
    let over = MAX_CHANNELS as u16 * 2;
    for id in (0..=over).step_by(2) {
        line.client.dial(line.now, id, "one of many", ChannelType::Reliable, 0);
    }
    assert!(line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Gone(over))));
    assert_eq!(opened(&line).len(), MAX_CHANNELS);
    assert_eq!(line.session.open_channel(line.now, "more", "", true, Reliability::Reliable), Err(OpenError::TooMany));
}

#[test]
fn channels_with_the_servers_ids_or_endless_names_are_refused() {
    let mut line = Line::established();
    line.client.dial(line.now, 501, "not the client's", ChannelType::Reliable, 0);
    line.client.dial(line.now, 502, &"x".repeat(MAX_NAME + 1), ChannelType::Reliable, 0);
    assert!(line.run_until(MINUTE, |line| [501, 502].iter().all(|id| line.client.seen.contains(&Seen::Gone(*id)))));
    assert_eq!(opened(&line), []);
}

#[test]
fn a_lost_association_closes_every_channel() {
    let mut line = with_channel();
    line.client.dial(line.now, 2, "other", ChannelType::Reliable, 0);
    assert!(line.run_until(MINUTE, |line| opened(line).len() == 2));
    line.client.association().abort().expect("aborted");
    assert!(line.run_until(MINUTE, |line| closed(line).len() == 2));
    assert_eq!(line.session.open_channel(line.now, "more", "", true, Reliability::Reliable), Err(OpenError::Ended));
    assert_eq!(line.failure(), None, "media goes on");
}

#[test]
fn the_end_of_the_session_closes_every_channel_first() {
    let mut line = with_channel();
    line.client.close(line.now);
    assert!(line.run_until(MINUTE, |line| matches!(line.events.back(), Some(Event::Closed))));
    assert_eq!(closed(&line), [0]);
    assert_eq!(line.session.open_channel(line.now, "more", "", true, Reliability::Reliable), Err(OpenError::Ended));
}

#[test]
fn a_client_that_opens_streams_without_end_loses_its_association() {
    let mut line = Line::established();
    for id in 0..400 {
        let _ = line.client.association().open_stream(id, PayloadProtocolIdentifier::Binary);
        line.client.write(line.now, id, PayloadProtocolIdentifier::Binary, b"x");
    }
    line.run(Duration::from_secs(2));
    assert_eq!(line.session.open_channel(line.now, "more", "", true, Reliability::Reliable), Err(OpenError::Ended));
}

#[test]
fn sctp_garbage_from_an_authenticated_client_ends_nothing_but_its_channels() {
    let mut random = Random(5);
    let mut seeds: Vec<Vec<u8>> = vec![noise(1, 60), vec![], vec![0; 12]];
    for kind in [0, 1, 2, 3, 4, 6, 7, 9, 10, 130, 192] {
        let mut packet = noise(kind, 12);
        packet.extend([kind as u8, 3, 0, 24]);
        packet.extend(noise(kind + 50, 20));
        seeds.push(packet);
    }
    let mut line = with_channel();
    for round in 0..5000 {
        let mut packet = seeds[round % seeds.len()].clone();
        for _ in 0..random.next() % 4 {
            if !packet.is_empty() {
                let at = random.next() as usize % packet.len();
                packet[at] = random.next() as u8;
            }
        }
        line.client.write_raw(line.now, &packet);
        line.run(Duration::from_millis(1));
    }
    line.run(MINUTE);
    assert_eq!(line.failure(), None);
}

//! Lines that are dead for a while: what was sent reliably arrives, soon after the line is back.

use std::time::Duration;

use rtc_datachannel::message::message_channel_open::ChannelType;

use super::client::Seen;
use super::line::{Line, Weather};
use crate::Event;

const MINUTE: Duration = Duration::from_secs(60);
/// In which data has to flow again.
const SOON: Duration = Duration::from_secs(3);

/// A line over which the client has opened a reliable channel, 0, and a lossy one, 2.
pub(super) fn with_both() -> Line {
    let mut line = Line::established();
    line.client.dial(line.now, 0, "reliable", ChannelType::Reliable, 0);
    line.client.dial(line.now, 2, "lossy", ChannelType::PartialReliableRexmitUnordered, 0);
    assert!(
        line.run_until(MINUTE, |line| line.client.seen.contains(&Seen::Confirmed(0)) && line.client.seen.contains(&Seen::Confirmed(2)))
    );
    line.client.seen.clear();
    line
}

/// What the client was sent on a channel.
pub(super) fn received(line: &Line, channel: u16) -> Vec<Vec<u8>> {
    let on = |seen: &Seen| match seen {
        Seen::Message(id, _, data) if *id == channel => Some(data.clone()),
        _ => None,
    };
    line.client.seen.iter().filter_map(on).collect()
}

/// A message of so many bytes that tells its number.
fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut message = number.to_be_bytes().to_vec();
    message.resize(len, 7);
    message
}

fn cut(line: &mut Line) {
    line.filter = Box::new(|_, _| false);
}

fn mend(line: &mut Line) {
    line.filter = Box::new(|_, _| true);
}

#[test]
fn nothing_reliable_is_lost_over_45_seconds_of_silence_and_it_arrives_within_three() {
    for hurries in [false, true] {
        let mut line = with_both();
        line.run(Duration::from_secs(5));
        cut(&mut line);
        let mut sent = Vec::new();
        for number in 0..450 {
            let message = numbered(number, 200);
            line.send(0, false, &message).expect("there is room for 45 s");
            sent.push(message);
            line.run(Duration::from_millis(100));
        }
        mend(&mut line);
        if hurries {
            line.session.hurry(line.now);
        }
        let back = line.now;
        let first = line.run_until(SOON, |line| !received(line, 0).is_empty());
        assert!(first, "nothing {SOON:?} after the line is back");
        if hurries {
            assert!(line.now - back < Duration::from_millis(100), "{:?}", line.now - back);
        }
        assert!(
            line.run_until(SOON - (line.now - back), |line| received(line, 0).len() == sent.len()),
            "{} of 450",
            received(&line, 0).len()
        );
        assert_eq!(received(&line, 0), sent);
    }
}

#[test]
fn after_an_outage_a_packet_that_is_lost_again_costs_seconds_and_not_a_minute() {
    let mut line = with_both();
    cut(&mut line);
    line.send(0, true, b"first").expect("taken");
    line.run(2 * MINUTE);
    mend(&mut line);
    line.session.hurry(line.now);
    // The first attempt is lost as well.
    let mut drops = 1;
    line.filter = Box::new(move |_, _| {
        drops -= 1;
        drops < 0
    });
    assert!(line.run_until(SOON, |line| !received(line, 0).is_empty()));
}

#[test]
fn a_line_that_flaps_loses_nothing_in_either_size() {
    let mut line = with_both();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let len = if number % 8 == 0 { 65_536 } else { 300 };
        let message = numbered(number, len);
        line.send(0, false, &message).expect("taken");
        line.client.send(line.now, 0, false, &message);
        up.push((0, false, message.clone()));
        down.push(message);
        if number % 5 == 4 {
            cut(&mut line);
            line.run(Duration::from_millis(2_500));
            mend(&mut line);
            line.session.hurry(line.now);
        }
        line.run(Duration::from_secs(1));
    }
    let arrived = |line: &Line| line.events.iter().filter(|event| matches!(event, Event::Message { .. })).count();
    assert!(line.run_until(10 * MINUTE, |line| line.client.seen.len() == 40 && arrived(line) == 40));
    assert_eq!(received(&line, 0), down);
    assert_eq!(line.messages(), up);
}

#[test]
fn hurrying_on_a_good_line_changes_nothing() {
    let mut line = with_both();
    line.weather = Weather { loss: 0, repeat: 0, jitter: 5 };
    for number in 0..200 {
        line.send(0, false, &numbered(number, 1_000)).expect("taken");
        line.session.hurry(line.now);
        line.run(Duration::from_millis(10));
    }
    line.run(Duration::from_secs(1));
    let datagrams = line.sent.len();
    assert_eq!(received(&line, 0).len(), 200);
    assert!(datagrams < 260, "{datagrams} datagrams for 200 messages");
}

#[test]
fn silence_ends_no_association() {
    let mut line = with_both();
    cut(&mut line);
    line.run(30 * MINUTE);
    mend(&mut line);
    line.send(0, true, b"still here").expect("taken");
    line.send(2, true, b"and here").expect("taken");
    assert!(line.run_until(SOON, |line| received(line, 0).len() == 1 && received(line, 2).len() == 1));
    assert!(!line.events.iter().any(|event| matches!(event, Event::ChannelClosed(_))));
}

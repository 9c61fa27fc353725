//! Clients that send too fast, and clients that take too little.

use std::time::Duration;

use super::line::Line;
use super::outages::{received, with_both};
use crate::channels::MAX_BUFFERED;
use crate::intake::{BURST, RATE};
use crate::waiting::OVERHEAD;
use crate::{Event, SendError};

const MINUTE: Duration = Duration::from_secs(60);

/// How many messages the session has taken.
fn taken(line: &Line) -> usize {
    line.events.iter().filter(|event| matches!(event, Event::Message { .. })).count()
}

#[test]
fn who_sends_too_fast_waits_and_loses_nothing() {
    let mut line = with_both();
    let total = BURST as usize + 4 * RATE as usize;
    let message = vec![1; 60_000];
    let count = total / message.len();
    for _ in 0..count {
        line.client.send(line.now, 0, false, &message);
    }
    let start = line.now;
    assert!(line.run_until(MINUTE, |line| taken(line) == count), "{} of {count}", taken(&line));
    let seconds = (line.now - start).as_secs_f64();
    println!("{total} bytes in {seconds} s");
    assert!(seconds > 3.9, "{total} bytes in {seconds} s are more than the rate");
    assert!(seconds < 8.0, "{total} bytes took {seconds} s: the client waits for its own timers");
    assert!(line.messages().iter().all(|(_, _, data)| *data == message));
}

#[test]
fn a_flood_of_short_messages_waits_as_well_and_keeps_its_channels() {
    let mut line = with_both();
    let count = 30_000u32;
    for number in 0..count {
        line.client.send(line.now, 0, false, &number.to_be_bytes());
    }
    assert!(line.run_until(10 * MINUTE, |line| taken(line) == count as usize), "{} of {count}", taken(&line));
    let numbers: Vec<u32> = line.messages().iter().map(|message| u32::from_be_bytes(message.2[..].try_into().unwrap())).collect();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
    assert!(!line.events.iter().any(|event| matches!(event, Event::ChannelClosed(_))));
}

#[test]
fn what_waits_for_a_client_that_is_away_is_bounded_also_in_short_messages() {
    for len in [1, 200, 10_000] {
        let mut line = with_both();
        line.filter = Box::new(|_, _| false);
        let mut count = 0;
        while line.send(0, false, &vec![1; len]).is_ok() {
            count += 1;
            if count % 100 == 0 {
                line.run(Duration::from_millis(100));
            }
        }
        assert_eq!(count, MAX_BUFFERED / (len + OVERHEAD));
        assert_eq!(line.send(0, false, &[1]), if len == 10_000 { Ok(()) } else { Err(SendError::Full) });
        line.filter = Box::new(|_, _| true);
        assert!(line.run_until(MINUTE, |line| received(line, 0).len() >= count));
    }
}

#[test]
fn a_lossy_channel_forgets_the_oldest_and_holds_nothing_else_up() {
    let mut line = with_both();
    line.filter = Box::new(|_, _| false);
    for number in 0..1_000u32 {
        line.send(2, false, &number.to_be_bytes()).expect("never full");
        line.run(Duration::from_millis(20));
    }
    line.send(0, true, b"reliable").expect("taken");
    line.filter = Box::new(|_, _| true);
    line.session.hurry(line.now);
    assert!(line.run_until(Duration::from_secs(1), |line| received(line, 0).len() == 1));
    line.run(Duration::from_secs(3));
    let numbers: Vec<u32> = received(&line, 2).iter().map(|data| u32::from_be_bytes(data[..].try_into().unwrap())).collect();
    assert!(numbers.contains(&999), "the latest arrives: {numbers:?}");
    assert!(numbers.len() < 200, "{} old ones", numbers.len());
    assert!(numbers.iter().all(|number| *number > 800), "{numbers:?}");
}

#[test]
fn a_lossy_channel_is_in_nobodys_way_while_a_reliable_one_is_full() {
    let mut line = with_both();
    while line.send(0, false, &[1; 10_000]).is_ok() {}
    line.send(2, true, b"now").expect("taken");
    assert!(line.run_until(Duration::from_millis(200), |line| received(line, 2).len() == 1), "it does not wait behind a megabyte");
}

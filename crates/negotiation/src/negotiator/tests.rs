//! The negotiator against descriptions that browsers wrote, and against a model of a client.

mod cost;
mod malformed;
mod model;
mod one_way;
mod random;
mod rooms;
mod story;

use std::sync::Arc;

use crate::*;

const CHROMIUM: &str = include_str!("../fixtures/chromium-plain.sdp");
const CHROMIUM_DATA: &str = include_str!("../fixtures/chromium-data.sdp");
const CHROMIUM_SIMULCAST: &str = include_str!("../fixtures/chromium-simulcast.sdp");
const FIREFOX: &str = include_str!("../fixtures/firefox-plain.sdp");
const FIREFOX_SIMULCAST: &str = include_str!("../fixtures/firefox-simulcast.sdp");

fn config(limits: Limits) -> Config {
    Config {
        mode: Mode::Meeting,
        session_id: 4_611_686_018_427_387_904,
        seed: 42,
        ice: IceCredentials { ufrag: "host0".into(), pwd: "a-password+of/the-server".replace('-', "x") },
        candidates: vec![
            Candidate { addr: "192.0.2.10:8080".parse().unwrap(), tcp: false },
            Candidate { addr: "[2001:db8::10]:8080".parse().unwrap(), tcp: false },
        ],
        fingerprint: vec!["0A"; 32].join(":"),
        limits,
        shared: Arc::default(),
    }
}

fn negotiator() -> Negotiator {
    Negotiator::new(config(Limits::default()))
}

fn one_way(mode: Mode) -> Negotiator {
    Negotiator::new(Config { mode, ..config(Limits::default()) })
}

fn no_restart() -> IceCredentials {
    unreachable!("this offer doesn't restart ICE")
}

fn events(negotiator: &mut Negotiator) -> Vec<Event> {
    std::iter::from_fn(|| negotiator.poll_event()).collect()
}

/// The session part, then each m-line with what belongs to it.
fn blocks(sdp: &str) -> Vec<Vec<&str>> {
    let mut blocks = vec![Vec::new()];
    for line in sdp.split_terminator("\r\n") {
        if line.starts_with("m=") {
            blocks.push(Vec::new());
        }
        blocks.last_mut().unwrap().push(line);
    }
    blocks
}

fn attribute<'a>(block: &[&'a str], name: &str) -> Option<&'a str> {
    attributes(block, name).next()
}

fn attributes<'a>(block: &[&'a str], name: &str) -> impl Iterator<Item = &'a str> {
    block.iter().filter_map(move |line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

#[test]
fn sessions_of_clients_that_say_the_same_share_it() {
    let config = config(Limits::default());
    let mut sessions = [Negotiator::new(config.clone()), Negotiator::new(Config { seed: 43, ..config })];
    for session in &mut sessions {
        assert!(session.handle_offer(CHROMIUM, no_restart).expect("an offer").is_some());
    }
    let [one, other] = &sessions;
    for (line, like) in one.agreed.lines.iter().zip(&other.agreed.lines) {
        assert!(line.body.iter().zip(&like.body).all(|(body, like)| Arc::ptr_eq(body, like)), "{:?}", line.mid);
        assert!(line.seen.iter().zip(&like.seen).all(|(seen, like)| Arc::ptr_eq(&seen.streams, &like.streams)), "{:?}", line.mid);
    }
    assert!(one.agreed.lines.iter().any(|line| line.body.is_some() && line.seen.is_some()));
}

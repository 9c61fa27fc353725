//! Whatever comes: no panic, and what is refused changes nothing.

use proptest::prelude::*;

use super::model::Client;
use super::*;

/// One change to a text.
#[derive(Clone, Debug)]
enum Edit {
    Drop(usize),
    Repeat(usize),
    Swap(usize, usize),
    Byte(usize, usize, u8),
    Cut(usize, usize),
    Splice(usize, usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<usize>;
    prop_oneof![
        at().prop_map(Edit::Drop),
        at().prop_map(Edit::Repeat),
        (at(), at()).prop_map(|(a, b)| Edit::Swap(a, b)),
        (at(), at(), any::<u8>()).prop_map(|(a, b, byte)| Edit::Byte(a, b, byte & 0x7f)),
        (at(), at()).prop_map(|(a, b)| Edit::Cut(a, b)),
        (at(), at(), at()).prop_map(|(a, b, c)| Edit::Splice(a, b, c)),
    ]
}

fn apply(sdp: &str, edits: &[Edit]) -> String {
    let mut lines: Vec<String> = sdp.split_inclusive('\n').map(str::to_owned).collect();
    for edit in edits {
        let count = lines.len().max(1);
        if lines.is_empty() {
            break;
        }
        match *edit {
            Edit::Drop(at) => drop(lines.remove(at % count)),
            Edit::Repeat(at) => lines.insert(at % count, lines[at / 7 % count].clone()),
            Edit::Swap(a, b) => lines.swap(a % count, b % count),
            Edit::Byte(line, at, byte) => {
                let mut bytes = lines[line % count].clone().into_bytes();
                let len = bytes.len().max(1);
                if let Some(old) = bytes.get_mut(at % len) {
                    *old = byte;
                }
                lines[line % count] = String::from_utf8_lossy(&bytes).into_owned();
            }
            Edit::Cut(line, at) => {
                let line = &mut lines[line % count];
                let at = at % (line.len() + 1);
                if line.is_char_boundary(at) {
                    line.truncate(at);
                }
            }
            // A piece of one line into another: numbers and names in wrong places.
            Edit::Splice(from, to, at) => {
                let piece: String = lines[from % count].chars().skip(at % 20).take(1 + at % 9).collect();
                let line = &mut lines[to % count];
                let at = at % (line.len() + 1);
                if line.is_char_boundary(at) {
                    line.insert_str(at, &piece);
                }
            }
        }
    }
    lines.concat()
}

fn fresh() -> IceCredentials {
    IceCredentials { ufrag: "fresh1".into(), pwd: "a1b2c3d4e5f6a1b2c3d4e5f6".into() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_first_offer_is_answered_or_changes_nothing(edits in prop::collection::vec(edit(), 1..6), which in 0..5usize) {
        let offer = apply([CHROMIUM, CHROMIUM_DATA, CHROMIUM_SIMULCAST, FIREFOX, FIREFOX_SIMULCAST][which], &edits);
        let mut server = negotiator();
        let before = format!("{server:?}");
        match server.handle_offer(&offer, no_restart) {
            Ok(answer) => prop_assert_eq!(blocks(&answer.unwrap()).len(), 1 + offer.split_inclusive('\n').filter(|line| line.starts_with("m=")).count()),
            Err(_) => prop_assert_eq!(format!("{server:?}"), before),
        }
    }

    #[test]
    fn a_mutated_reoffer_or_answer_is_taken_or_changes_nothing(edits in prop::collection::vec(edit(), 1..4), answers: bool) {
        let (mut server, mut client) = (negotiator(), Client::default());
        for kind in ["application", "audio", "video"] {
            client.add(kind, "sendonly");
        }
        let answer = server.handle_offer(&client.offer(), no_restart).unwrap().unwrap();
client.take_answer(&answer);
        server.set_slots(2);
        let offer = server.poll_offer().unwrap();
        let answer = client.take_offer(&offer.sdp, |_| false);
        if answers {
            let before = format!("{server:?}");
            if server.handle_answer(offer.revision, &apply(&answer, &edits)).is_err() {
                prop_assert_eq!(format!("{server:?}"), before);
                prop_assert_eq!(server.handle_answer(offer.revision, &answer), Ok(()));
            }
        } else {
            server.handle_answer(offer.revision, &answer).unwrap();
            let before = format!("{server:?}");
            let reoffer = client.offer();
            if server.handle_offer(&apply(&reoffer, &edits), fresh).is_err() {
                prop_assert_eq!(format!("{server:?}"), before);
                prop_assert!(server.handle_offer(&reoffer, no_restart).is_ok());
            }
        }
        for slot in server.slots() {
            prop_assert!(slot.audio.ssrc != 0 && slot.video.ssrc != 0);
        }
    }

    #[test]
    fn any_text_is_refused_or_answered(text in "\\PC{0,200}", candidate in "\\PC{0,80}") {
        let mut server = negotiator();
        let _ = server.handle_offer(&text, no_restart);
        let _ = server.handle_candidate(&candidate, Some(&text));
    }
}

/// One thing that happens in a meeting.
#[derive(Clone, Debug)]
enum Step {
    Slots(usize),
    Add(bool),
    Stop(usize),
    Toggle(usize),
    ClientOffers,
    ServerOffers,
    Glare,
    Lost,
    AppliedLate,
    Refuse(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..8usize).prop_map(Step::Slots),
        2 => any::<bool>().prop_map(Step::Add),
        1 => any::<usize>().prop_map(Step::Stop),
        1 => any::<usize>().prop_map(Step::Toggle),
        3 => Just(Step::ClientOffers),
        5 => Just(Step::ServerOffers),
        2 => Just(Step::Glare),
        1 => Just(Step::Lost),
        1 => Just(Step::AppliedLate),
        1 => any::<usize>().prop_map(Step::Refuse),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_in_whatever_order_both_ends_agree_in_the_end(steps in prop::collection::vec(step(), 1..40)) {
        let (mut server, mut client) = (negotiator(), Client::default());
        for kind in ["application", "audio", "video"] {
            client.add(kind, "sendonly");
        }
        let mut added = 3;
        let answer = server.handle_offer(&client.offer(), no_restart).unwrap().unwrap();
client.take_answer(&answer);
        for step in steps {
            match step {
                Step::Slots(count) => server.set_slots(count),
                Step::Add(video) if added < 12 => {
                    added += 1;
                    client.add(if video { "video" } else { "audio" }, "sendonly");
                }
                Step::Add(_) => {}
                // The data channels' m-line stays: browsers have no way to stop it.
                Step::Stop(at) => {
                    let mids: Vec<String> = client.lines[1..].iter().filter(|line| !line.stopped).map(|line| line.mid.clone()).collect();
                    if !mids.is_empty() {
                        client.stop(&mids[at % mids.len()]);
                    }
                }
                Step::Toggle(at) => {
                    let mut own: Vec<_> = client.lines.iter_mut().filter(|line| line.own && !line.stopped && line.kind != "application").collect();
                    let count = own.len().max(1);
                    if let Some(line) = own.get_mut(at % count) {
                        line.direction = if line.direction == "sendonly" { "inactive" } else { "sendonly" };
                    }
                }
                Step::Restart => {
                    client.ice += 1;
                    let answer = server.handle_offer(&client.offer(), fresh).unwrap().unwrap();
                    client.take_answer(&answer);
                }
                Step::ClientOffers => {
                    let answer = server.handle_offer(&client.offer(), no_restart).unwrap().unwrap();
                    client.take_answer(&answer);
                }
                Step::ServerOffers | Step::Glare | Step::Refuse(_) | Step::Lost | Step::AppliedLate => {
                    let Some(offer) = server.poll_offer() else { continue };
                    match step {
                        Step::Lost => server.rollback(),
                        Step::AppliedLate => {
                            client.take_offer(&offer.sdp, |_| false);
                            server.rollback();
                        }
                        _ => {
                            if let Step::Glare = step {
                                prop_assert_eq!(server.handle_offer(&client.offer(), no_restart), Ok(None));
                            }
                            let slots = client.receiving().len().max(1);
                            let refused = match step {
                                Step::Refuse(at) => client.receiving().get(at % slots).map(|mid| (*mid).to_owned()),
                                _ => None,
                            };
                            let answer = client.take_offer(&offer.sdp, |mid| refused.as_deref() == Some(mid));
                            server.handle_answer(offer.revision, &answer).unwrap();
                        }
                    }
                }
            }
        }
        // In the end all slots go, and come anew: nothing is left over from whatever happened.
        for count in [0, 3] {
            server.set_slots(count);
            while let Some(offer) = server.poll_offer() {
                let answer = client.take_offer(&offer.sdp, |_| false);
                server.handle_answer(offer.revision, &answer).unwrap();
            }
        }
        let answer = server.handle_offer(&client.offer(), no_restart).unwrap().unwrap();
        client.take_answer(&answer);
        let slots: Vec<String> = server.slots().iter().flat_map(|slot| [slot.audio.mid.clone(), slot.video.mid.clone()]).collect();
        let mut receiving = client.receiving();
        receiving.sort_unstable();
        let mut expected: Vec<&str> = slots.iter().map(String::as_str).collect();
        expected.sort_unstable();
        prop_assert_eq!(receiving, expected);
        prop_assert!(server.slots().iter().all(|slot| slot.audio.active && slot.video.active));
        let own: Vec<&str> = client.lines.iter().filter(|line| line.own && !line.stopped && line.kind != "application").map(|line| line.mid.as_str()).collect();
        prop_assert_eq!(server.receivers().iter().map(|receiver| receiver.mid.as_str()).collect::<Vec<_>>(), own);
        prop_assert!(client.lines.len() <= Limits::default().sections());
    }
}

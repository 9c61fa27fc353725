//! People come and go: the server against a client that checks the rules of RFC 9429.

use std::collections::BTreeSet;

use super::model::Client;
use super::*;

/// Both ends, with microphone, camera and data channel agreed.
fn meeting() -> (Negotiator, Client) {
    let (mut server, mut client) = (negotiator(), Client::default());
    client.add("application", "");
    client.add("audio", "sendonly");
    client.add("video", "sendonly");
    client_offers(&mut server, &mut client);
    (server, client)
}

fn client_offers(server: &mut Negotiator, client: &mut Client) {
    let answer = server.handle_offer(&client.offer(), no_restart).unwrap().unwrap();
    client.take_answer(&answer);
}

/// Returns how many m-lines and bytes the offer had.
fn server_offers(server: &mut Negotiator, client: &mut Client) -> (usize, usize) {
    let offer = server.poll_offer().unwrap();
    server.handle_answer(offer.revision, &client.take_offer(&offer.sdp, |_| false)).unwrap();
    (blocks(&offer.sdp).len() - 1, offer.sdp.len())
}

fn resize(server: &mut Negotiator, client: &mut Client, count: usize) {
    server.set_slots(count);
    server_offers(server, client);
    assert_agree(server, client);
}

/// Both ends have the same slots, and all of them are active.
fn assert_agree(server: &Negotiator, client: &Client) {
    let slots: BTreeSet<&str> = server.slots().iter().flat_map(|slot| [slot.audio.mid.as_str(), &slot.video.mid]).collect();
    assert_eq!(slots, client.receiving().into_iter().collect());
    assert!(server.slots().iter().enumerate().all(|(index, slot)| slot.index == index && slot.audio.active && slot.video.active));
}

#[test]
fn forty_joins_and_leaves_end_no_larger_than_the_largest_room_needed() {
    let (mut server, mut client) = meeting();
    let (mut fresh, mut fresh_client) = meeting();
    let largest = 9;
    fresh.set_slots(largest);
    let (lines, bytes) = server_offers(&mut fresh, &mut fresh_client);
    let (mut count, mut state) = (1usize, 0x1234_5678_u64);
    server.set_slots(1);
    server_offers(&mut server, &mut client);
    let mut reached = 1;
    for _ in 0..40 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let joins = (state >> 33) % 100 < 55;
        count = if joins && count < largest || count == 1 { count + 1 } else { count - 1 };
        reached = reached.max(count);
        server.set_slots(count);
        let (now_lines, now_bytes) = server_offers(&mut server, &mut client);
        assert!(now_lines <= lines && now_bytes <= bytes + 2, "the `o=` line's version alone may grow: {now_bytes} for {bytes}");
        assert_agree(&server, &client);
    }
    assert_eq!(reached, largest, "the walk gets there");
}

#[test]
fn slots_leave_from_the_end_and_their_m_lines_are_used_again_under_new_names() {
    let (mut server, mut client) = meeting();
    resize(&mut server, &mut client, 3);
    let before: Vec<Slot> = server.slots().to_vec();
    resize(&mut server, &mut client, 1);
    assert_eq!(server.slots(), &before[..1]);
    resize(&mut server, &mut client, 3);
    assert_eq!(client.lines.len(), 3 + 6, "nothing was appended");
    for (old, new) in before.iter().zip(server.slots()).skip(1) {
        assert_ne!((&old.audio.mid, old.video.ssrc, old.video.rtx_ssrc), (&new.audio.mid, new.video.ssrc, new.video.rtx_ssrc));
    }
}

#[test]
fn either_side_recycles_what_the_other_stopped() {
    let (mut server, mut client) = meeting();
    resize(&mut server, &mut client, 2);
    resize(&mut server, &mut client, 1);
    client.add("video", "sendonly");
    client.add("audio", "sendonly");
    client_offers(&mut server, &mut client);
    assert_eq!(client.lines.len(), 3 + 4, "the client took the second slot's m-lines");
    assert_eq!(server.receivers().len(), 4);
    let stopped = server.receivers()[3].mid.clone();
    client.stop(&stopped);
    client_offers(&mut server, &mut client);
    assert_eq!(server.receivers().len(), 3);
    resize(&mut server, &mut client, 2);
    assert_eq!(client.lines.len(), 3 + 4 + 1, "the server took one back and appended one");
}

#[test]
fn a_slot_whose_m_line_the_client_stops_is_no_longer_active_and_comes_back_with_the_next_growth() {
    let (mut server, mut client) = meeting();
    resize(&mut server, &mut client, 2);
    events(&mut server);
    let stopped = server.slots()[1].video.mid.clone();
    client.stop(&stopped);
    client_offers(&mut server, &mut client);
    assert_eq!(events(&mut server), [Event::SlotsChanged]);
    assert!(server.slots()[1].audio.active && !server.slots()[1].video.active);
    assert_eq!(server.poll_offer(), None, "what the client doesn't want is not pressed on it");
    server.set_slots(1);
    server_offers(&mut server, &mut client);
    resize(&mut server, &mut client, 2);
}

#[test]
fn a_slot_that_the_client_refuses_is_not_active_and_not_offered_over_and_over() {
    let (mut server, mut client) = meeting();
    server.set_slots(2);
    let offer = server.poll_offer().unwrap();
    server.handle_answer(offer.revision, &client.take_offer(&offer.sdp, |mid| mid == "s03")).unwrap();
    assert!(server.slots()[0].video.active && server.slots()[1].audio.active && !server.slots()[1].video.active);
    assert_eq!(server.poll_offer(), None);
}

#[test]
fn a_slot_answered_inactive_is_not_active_and_resumes_with_the_clients_next_offer() {
    let (mut server, mut client) = meeting();
    server.set_slots(1);
    let offer = server.poll_offer().unwrap();
    let answer = client.take_offer(&offer.sdp, |_| false);
    server.handle_answer(offer.revision, &answer.replace("a=recvonly", "a=inactive")).unwrap();
    assert!(!server.slots()[0].audio.active && !server.slots()[0].video.active);
    client_offers(&mut server, &mut client);
    assert_agree(&server, &client);
}

#[test]
fn the_client_turns_its_camera_off_and_on_by_direction() {
    let (mut server, mut client) = meeting();
    resize(&mut server, &mut client, 1);
    client.lines[2].direction = "inactive";
    client_offers(&mut server, &mut client);
    assert_eq!(server.receivers().iter().map(|receiver| receiver.active).collect::<Vec<_>>(), [true, false]);
    client.lines[2].direction = "sendonly";
    resize(&mut server, &mut client, 2);
    assert!(server.receivers()[1].active, "an answer to the server's offer resumes as well");
}

#[test]
fn of_two_crossing_offers_the_servers_counts_and_the_clients_comes_again() {
    let (mut server, mut client) = meeting();
    client.add("video", "sendonly");
    let ignored = client.offer();
    server.set_slots(1);
    let offer = server.poll_offer().unwrap();
    let before = format!("{server:?}");
    assert_eq!(server.handle_offer(&ignored, no_restart), Ok(None));
    assert_eq!(server.handle_offer("not even SDP", no_restart), Ok(None));
    assert_eq!(format!("{server:?}"), before);
    server.handle_answer(offer.revision, &client.take_offer(&offer.sdp, |_| false)).unwrap();
    client_offers(&mut server, &mut client);
    assert_eq!(server.receivers().len(), 3);
    assert_agree(&server, &client);
}

#[test]
fn an_offer_that_was_answered_too_late_leaves_both_ends_with_the_same_m_lines() {
    let (mut server, mut client) = meeting();
    resize(&mut server, &mut client, 2);
    for count in [4, 1, 3] {
        server.set_slots(count);
        let lost = server.poll_offer().unwrap();
        let late = client.take_offer(&lost.sdp, |_| false);
        server.rollback();
        assert_eq!(server.handle_answer(lost.revision, &late), Err(NegotiationError::NoOffer));
        let again = server.poll_offer().unwrap();
        assert!(again.revision > lost.revision);
        assert_eq!(
            server.handle_answer(lost.revision, &late),
            Err(NegotiationError::Revision { offered: again.revision, answered: lost.revision })
        );
        server.handle_answer(again.revision, &client.take_offer(&again.sdp, |_| false)).unwrap();
        assert_agree(&server, &client);
    }
}

#[test]
fn an_offer_that_was_applied_but_given_up_is_recognised_in_the_clients_own() {
    let (mut server, mut client) = meeting();
    resize(&mut server, &mut client, 2);
    for count in [4, 1] {
        server.set_slots(count);
        let lost = server.poll_offer().unwrap();
        client.take_offer(&lost.sdp, |_| false);
        server.rollback();
        client_offers(&mut server, &mut client);
        assert_agree(&server, &client);
        assert_eq!(server.poll_offer(), None);
    }
}

#[test]
fn an_offer_that_never_arrived_is_made_again() {
    let (mut server, mut client) = meeting();
    for client_speaks in [false, true] {
        server.set_slots(server.slots().len() + 2);
        server.poll_offer().unwrap();
        server.rollback();
        if client_speaks {
            client.add("audio", "sendonly");
            client_offers(&mut server, &mut client);
        }
        server_offers(&mut server, &mut client);
        assert_agree(&server, &client);
    }
}

#[test]
fn slots_that_may_never_have_arrived_are_confirmed_before_they_go() {
    let (mut server, mut client) = meeting();
    resize(&mut server, &mut client, 1);
    resize(&mut server, &mut client, 0);
    for arrives in [false, true] {
        server.set_slots(1);
        let lost = server.poll_offer().unwrap();
        if arrives {
            client.take_offer(&lost.sdp, |_| false);
        }
        server.rollback();
        server.set_slots(0);
        server_offers(&mut server, &mut client);
        assert_eq!(server.slots().len(), 1);
        resize(&mut server, &mut client, 0);
        assert_eq!(server.poll_offer(), None);
    }
}

#[test]
fn no_m_line_before_the_tagging_one_is_recycled_by_the_server() {
    let (mut server, mut client) = (negotiator(), Client::default());
    client.add("audio", "sendonly");
    client.add("video", "sendonly");
    client_offers(&mut server, &mut client);
    client.stop("0");
    client_offers(&mut server, &mut client);
    server.set_slots(1);
    let offer = server.poll_offer().unwrap();
    let text = blocks(&offer.sdp);
    assert!(text[1][0].starts_with("m=audio 0 "));
    assert_eq!(attribute(&text[0], "group"), Some("BUNDLE 1 s00 s01"));
    server.handle_answer(offer.revision, &client.take_offer(&offer.sdp, |_| false)).unwrap();
    assert_agree(&server, &client);
}

#[test]
fn a_client_that_stops_everything_keeps_its_transport() {
    let (mut server, mut client) = meeting();
    for mid in ["0", "1", "2"] {
        client.stop(mid);
    }
    client_offers(&mut server, &mut client);
    assert!(server.receivers().is_empty() && !server.remote().unwrap().data_channel);
    client.add("application", "");
    client_offers(&mut server, &mut client);
    assert!(server.remote().unwrap().data_channel);
}

#[test]
fn an_ice_restart_in_a_full_room_changes_the_credentials_and_nothing_else() {
    let (mut server, mut client) = meeting();
    resize(&mut server, &mut client, 5);
    let (slots, receivers) = (server.slots().to_vec(), server.receivers().to_vec());
    events(&mut server);
    client.ice += 1;
    let fresh = IceCredentials { ufrag: "fresh1".into(), pwd: "a1b2c3d4e5f6a1b2c3d4e5f6".into() };
    let answer = server.handle_offer(&client.offer(), || fresh).unwrap().unwrap();
    client.take_answer(&answer);
    assert_eq!(events(&mut server), [Event::IceRestarted]);
    assert_eq!(client.server_ufrag, "fresh1");
    assert_eq!((server.slots(), server.receivers()), (&slots[..], &receivers[..]));
    resize(&mut server, &mut client, 6);
    assert_eq!(client.server_ufrag, "fresh1");
}

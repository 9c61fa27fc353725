use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use switchyard_forward::{PeerKey, SocketId, TrackKey};
use switchyard_rtp::{Codec, ExtensionMap};

use super::*;
use crate::{Config, udp};

const HERE: WorkerIndex = WorkerIndex(0);
const THERE: WorkerIndex = WorkerIndex(1);

/// The way out of worker 0 of two, with room for `events`.
fn outlet(events: usize) -> (Outlet, mpsc::Receiver<(WorkerIndex, Event)>) {
    let socket = udp::open(&Config::default()).unwrap().0.remove(0);
    let inboxes = Arc::new([Inbox::new(false).unwrap(), Inbox::new(false).unwrap()]);
    let (sender, receiver) = mpsc::channel(events);
    (Outlet::new(HERE, socket, Streams::new().unwrap(), inboxes, None, sender), receiver)
}

fn remote(n: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], n))
}

fn address(n: u16) -> Remote {
    Remote::Address { remote: remote(n), owner: Some(HERE) }
}

#[test]
fn the_kernel_is_told_of_addresses_that_were_proved_and_forgets_those_that_are_nobodys() {
    let config = Config { workers: 2, ..Config::default() };
    let (socket, _other) = {
        let mut sockets = udp::open(&config).unwrap().0.into_iter();
        (sockets.next().unwrap(), sockets.next().unwrap())
    };
    let steering = Arc::new(udp::Steering::attach(socket.fd()).expect("CAP_BPF"));
    let inboxes = Arc::new([Inbox::new(false).unwrap(), Inbox::new(false).unwrap()]);
    let (sender, _events) = mpsc::channel(1);
    let astray = Some(Astray::new(Arc::clone(&steering)));
    let mut outlet = Outlet::new(HERE, socket, Streams::new().unwrap(), inboxes, astray, sender);
    let at = Instant::now();
    let mut hand_over = |n, datagram: &[u8]| {
        let path = Path { socket: SocketId(0), local: IpAddr::V4(Ipv4Addr::LOCALHOST), remote: remote(n) };
        outlet.hand_over(THERE, &path, at, datagram);
        steering.find(remote(n))
    };
    assert_eq!(hand_over(1, &[0, 1, 0, 0]), None, "anybody can write a binding request");
    assert_eq!(hand_over(2, &[0x80, 96, 0, 0]), Some(1));
    outlet.tell(THERE, Remote::Address { remote: remote(2), owner: Some(HERE) });
    assert_eq!(steering.find(remote(2)), Some(1));
    outlet.tell(THERE, Remote::Address { remote: remote(2), owner: None });
    assert_eq!(steering.find(remote(2)), None);
}

#[test]
fn packets_that_do_not_fit_another_inbox_are_counted() {
    let (mut outlet, _events) = outlet(1);
    let path = Path { socket: SocketId(0), local: IpAddr::V4(Ipv4Addr::LOCALHOST), remote: remote(1) };
    let packet = TrunkPacket { track: TrackKey(1), codec: Codec::Vp8, extensions: ExtensionMap::default(), encoding: 0, index: 1 };
    let (mut handed, at) = (0, Instant::now());
    while outlet.tally().hand_over_drops.get() == 0 {
        outlet.hand_over(THERE, &path, at, &[0; 20]);
        handed += 1;
    }
    assert_eq!(outlet.tally().handed_over.get(), handed - 1);
    outlet.trunk(THERE, &packet, &[0; 20]);
    assert_eq!(outlet.tally().trunk_drops.get(), 1);
    assert_eq!(outlet.tally().trunk_packets.get(), 0);
    outlet.hand_over(HERE, &path, at, &[0; 20]);
    outlet.hand_over(WorkerIndex(9), &path, at, &[0; 20]);
    assert_eq!(outlet.tally().hand_over_drops.get(), 3, "nobody hands over to itself or to nobody");
}

#[test]
fn a_new_address_reaches_a_worker_whose_inbox_was_full() {
    let (mut outlet, _events) = outlet(1);
    while outlet.tally().message_drops.get() == 0 {
        outlet.tell(THERE, Remote::RequestKeyframe { track: TrackKey(1), encoding: 0 });
    }
    outlet.tell(THERE, address(1));
    outlet.tell(THERE, address(2));
    assert!(outlet.is_pending());
    let inboxes = outlet.inboxes.clone();
    while let Some(message) = inboxes[1].messages.pop() {
        assert!(matches!(message, Remote::RequestKeyframe { .. }));
    }
    // Room again: what comes now stays behind what waits.
    outlet.tell(THERE, address(3));
    outlet.finish();
    assert!(!outlet.is_pending());
    let order: Vec<_> = std::iter::from_fn(|| inboxes[1].messages.pop())
        .map(|message| match message {
            Remote::Address { remote, .. } => remote.port(),
            _ => 0,
        })
        .collect();
    assert_eq!(order, [1, 2, 3]);
    assert_eq!(outlet.tally().message_drops.get(), 1);
}

#[test]
fn whose_an_address_is_wakes_nobody_while_there_is_room() {
    let (mut outlet, _events) = outlet(1);
    let rings = |outlet: &mut Outlet| std::mem::take(&mut outlet.put[1]).is_some();
    outlet.tell(THERE, address(1));
    assert!(!rings(&mut outlet));
    outlet.tell(THERE, Remote::RequestKeyframe { track: TrackKey(1), encoding: 0 });
    assert!(rings(&mut outlet));
    while !outlet.is_pending() {
        assert!(!rings(&mut outlet));
        outlet.tell(THERE, address(1));
    }
    assert!(rings(&mut outlet), "nothing is heard before there is room");
    outlet.tell(THERE, Remote::RequestKeyframe { track: TrackKey(1), encoding: 0 });
    assert!(rings(&mut outlet));
}

#[test]
fn a_busy_control_plane_misses_dtls_but_no_change_of_path() {
    let (mut outlet, mut events) = outlet(2);
    let peer = PeerKey(7);
    let dtls = || Event::Dtls { peer, datagram: vec![22] };
    outlet.event(dtls());
    outlet.event(dtls());
    outlet.event(dtls());
    outlet.event(Event::Connected { peer, remote: remote(1) });
    outlet.event(Event::Expired { peer });
    outlet.event(dtls());
    outlet.finish();
    assert_eq!(outlet.tally().event_drops.get(), 2);
    let mut heard = Vec::new();
    while outlet.is_pending() {
        heard.push(events.try_recv().unwrap().1);
        outlet.finish();
    }
    while let Ok((worker, event)) = events.try_recv() {
        assert_eq!(worker, HERE);
        heard.push(event);
    }
    assert!(matches!(heard[..], [Event::Dtls { .. }, Event::Dtls { .. }, Event::Connected { .. }, Event::Expired { .. }]), "{heard:?}");
}

#[test]
fn a_control_plane_that_is_gone_is_no_trouble() {
    let (mut outlet, events) = outlet(1);
    drop(events);
    for _ in 0..10 {
        outlet.event(Event::Expired { peer: PeerKey(1) });
    }
    outlet.finish();
    assert!(!outlet.is_pending());
}

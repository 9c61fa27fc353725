//! A TURN server of our own (RFC 8656): by TCP and TLS at HTTP's port, and by UDP. It relays to nobody but this server's media, and that within this machine whatever
//! address of the server's a client asks for: so it works behind a NAT, and needs no open port for what it relays.
//!
//! Each client is a task with a protocol machine (`turn-server-proto`) that knows nobody else. TCP and TLS are cut into messages here, so that the machine sees
//! datagrams only.

mod wire;

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::ReadBuf;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use turn_server_proto::api::{SocketAllocateError, TcpConnectError, Transmit, TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_server_proto::types::attribute::XorPeerAddress;
use turn_server_proto::types::message::{CHANNEL_BIND, CREATE_PERMISSION};
use turn_server_proto::types::prelude::DelayedTransmitBuild;
use turn_server_proto::types::stun::attribute::{Attribute, AttributeFromRaw, AttributeStaticType, ErrorCode, Username};
use turn_server_proto::types::stun::message::{Message, MessageClass, MessageWriteVec};
use turn_server_proto::types::stun::prelude::{MessageWrite, MessageWriteExt};
use turn_server_proto::types::{AddressFamily, Instant as TurnInstant, TransportType};

use super::Credentials;
use crate::signaling::stopped;
use crate::stream::Stream;
use wire::Wire;

/// Bytes of a message: a datagram of an Ethernet's size, its frame and a long user name included.
const MAX_MESSAGE: usize = 2048;
/// Clients that have an allocation.
const MAX_CLIENTS: usize = 1024;
/// Clients that haven't yet, and perhaps never will: by TCP and TLS, and by UDP, where anybody can be anybody.
const MAX_STRANGERS: usize = 1024;
/// Of one address.
const MAX_STRANGERS_OF_ONE: usize = 64;
/// How long a client may take to allocate: two round trips on the slowest line on which a meeting makes sense.
const STRANGER: Duration = Duration::from_secs(5);
/// Clients of the same person. A browser makes one for each of its interfaces and address families, and as many again at an ICE restart.
const MAX_OF_ONE: usize = 16;
/// Messages of one client by UDP that wait; more are dropped, as by a router.
const WAITING: usize = 64;
/// How long a client may take nothing of what is sent to it by TCP.
const STALLED: Duration = Duration::from_secs(15);
/// How long to wait after the socket could not be read.
const PAUSE: Duration = Duration::from_millis(10);
/// Of every STUN message (RFC 8489 §5).
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const REALM: &str = "switchyard";

/// The relay that all clients share.
pub struct Relay {
    credentials: Arc<Credentials>,
    /// Where clients know this server's media to be, and where it is on this machine: nothing else is relayed to.
    peers: Vec<(SocketAddr, SocketAddr)>,
    clients: Arc<Semaphore>,
    /// By streams, and by datagrams.
    strangers: [Arc<Semaphore>; 2],
    /// How many clients there are of the same person, and how many strangers of the same address.
    users: Counts<String>,
    addresses: Counts<IpAddr>,
    stop: watch::Receiver<bool>,
}

impl Relay {
    /// One that relays to `peers`, all of which are this server's port `media`.
    pub fn new(credentials: Arc<Credentials>, peers: Vec<SocketAddr>, media: u16, stop: watch::Receiver<bool>) -> Arc<Self> {
        let places = |count| Arc::new(Semaphore::new(count));
        let (clients, strangers) = (places(MAX_CLIENTS), [places(MAX_STRANGERS), places(MAX_STRANGERS)]);
        let peers = (2..=u8::MAX - 1).zip(peers).map(|(number, peer)| (peer, inside(peer, number, media))).collect();
        Arc::new(Self { credentials, peers, clients, strangers, users: Counts::default(), addresses: Counts::default(), stop })
    }

    /// How many clients have an allocation.
    pub fn clients(&self) -> usize {
        MAX_CLIENTS - self.clients.available_permits()
    }

    /// Takes a connection over of which `begun` was read already.
    pub fn adopt(self: &Arc<Self>, stream: Stream, begun: &[u8]) {
        let tcp: &TcpStream = stream.tcp();
        let (Ok(client), Ok(here)) = (tcp.peer_addr(), tcp.local_addr()) else { return };
        self.serve(Wire::stream(stream, begun), canonical(client), canonical(here), || {});
    }

    /// Serves clients by UDP until the server stops.
    pub async fn listen(self: Arc<Self>, socket: UdpSocket) {
        let Ok(here) = socket.local_addr() else { return };
        let socket = Arc::new(socket);
        let mut clients: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
        let (ended, mut ends) = mpsc::unbounded_channel();
        let mut room = vec![0; MAX_MESSAGE];
        loop {
            let (len, client) = tokio::select! {
                received = socket.recv_from(&mut room) => match received {
                    Ok(received) => received,
                    // ICMP's word about somebody, as a rule; or no memory, of which there is more soon.
                    Err(_) => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                },
                Some(client) = ends.recv() => {
                    // Who came back meanwhile has another inbox.
                    if clients.get(&client).is_some_and(mpsc::Sender::is_closed) {
                        clients.remove(&client);
                    }
                    continue;
                }
                () = stopped(self.stop.clone()) => return,
            };
            let message = room[..len].to_vec();
            let known = clients.get(&client).map(|inbox| inbox.try_send(message.clone()));
            if !matches!(known, None | Some(Err(mpsc::error::TrySendError::Closed(_)))) {
                continue;
            }
            // Nobody's first word is anything else (RFC 8489 §5).
            if message.len() < 20 || message[0] != 0 || message[4..8] != MAGIC_COOKIE {
                continue;
            }
            let (inbox, incoming) = mpsc::channel(WAITING);
            let _ = inbox.try_send(message);
            let ended = ended.clone();
            let wire = Wire::datagrams(Arc::clone(&socket), client, incoming);
            if self.serve(wire, canonical(client), canonical(here), move || {
                let _ = ended.send(client);
            }) {
                clients.insert(client, inbox);
            }
        }
    }

    /// Serves one client in a task of its own, unless there are too many.
    fn serve(self: &Arc<Self>, wire: Wire, client: SocketAddr, here: SocketAddr, ended: impl FnOnce() + Send + 'static) -> bool {
        let strangers = &self.strangers[usize::from(matches!(wire, Wire::Datagrams(..)))];
        let Ok(place) = Arc::clone(strangers).try_acquire_owned() else { return false };
        let Some(held) = self.addresses.hold(client.ip(), MAX_STRANGERS_OF_ONE) else { return false };
        let relay = Arc::clone(self);
        tokio::spawn(async move {
            let _ended = Ended(Some(ended));
            let served = Client::new(&relay, wire, client, here, (place, held));
            tokio::select! {
                () = served.run() => {}
                () = stopped(relay.stop.clone()) => {}
            }
        });
        true
    }

    /// Whether there is anything to relay to.
    fn knows(&self, family: AddressFamily) -> bool {
        self.peers.iter().any(|(peer, _)| peer.is_ipv4() == (family == AddressFamily::IPV4))
    }
}

/// Is told that a client is gone, however that came.
struct Ended<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for Ended<F> {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            ended();
        }
    }
}

/// How many there are of each.
struct Counts<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Eq + Hash> Counts<K> {
    /// One more of these, if there are fewer than `most`.
    fn hold(&self, key: K, most: usize) -> Option<Held<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.clone()).or_default();
        (*count < most).then(|| {
            *count += 1;
            Held { counts: Arc::clone(&self.0), key }
        })
    }
}

/// Counts as long as it lives.
struct Held<K: Eq + Hash> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
}

impl<K: Eq + Hash> Drop for Held<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// IPv4 in an IPv6 socket is IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Where `peer` is on this machine, which may know nothing of that address: one of loopback's for each, so that it shows which of them an answer comes from.
/// IPv6 has only one of those, but is not translated either.
fn inside(peer: SocketAddr, number: u8, media: u16) -> SocketAddr {
    match peer.ip() {
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::new(127, 0, 0, number), media)),
        IpAddr::V6(ip) => SocketAddr::from((ip, media)),
    }
}

/// An address that a client has here, and its socket.
struct Allocation {
    relayed: SocketAddr,
    socket: UdpSocket,
}

struct Client<'a> {
    relay: &'a Arc<Relay>,
    wire: Wire,
    client: SocketAddr,
    here: SocketAddr,
    machine: TurnServer,
    /// Among strangers, until the first allocation.
    stranger: Option<(OwnedSemaphorePermit, Held<IpAddr>)>,
    /// Who it says it is, of those whom credentials were given: which person.
    user: Option<String>,
    /// Among clients, and among that person's, once it has shown that it is who it says.
    place: Option<(OwnedSemaphorePermit, Held<String>)>,
    allocations: Vec<Allocation>,
    since: Instant,
}

impl<'a> Client<'a> {
    fn new(
        relay: &'a Arc<Relay>,
        wire: Wire,
        client: SocketAddr,
        here: SocketAddr,
        stranger: (OwnedSemaphorePermit, Held<IpAddr>),
    ) -> Self {
        let machine = TurnServer::new(TransportType::Udp, here, REALM.to_owned());
        Self {
            relay,
            wire,
            client,
            here,
            machine,
            stranger: Some(stranger),
            user: None,
            place: None,
            allocations: Vec::new(),
            since: Instant::now(),
        }
    }

    /// Serves until the client is gone, has no allocation any more or doesn't get one in time.
    async fn run(mut self) {
        let mut room = [0; MAX_MESSAGE];
        loop {
            let Some(wake) = self.turn() else { return };
            let heard = {
                let allocations = &self.allocations;
                tokio::select! {
                    message = self.wire.next() => match message {
                        Some(message) => Heard::Client(message),
                        None => return,
                    },
                    (relayed, from, len) = std::future::poll_fn(|context| poll_allocations(allocations, &mut room, context)) => {
                        Heard::Media(relayed, from, len)
                    }
                    () = tokio::time::sleep_until(wake.into()) => continue,
                }
            };
            let sent = match heard {
                Heard::Client(message) => self.handle(message),
                Heard::Media(relayed, from, len) => match self.relay.peers.iter().find(|(_, inside)| *inside == from) {
                    Some((peer, _)) => self.dispatch(Transmit::new(&room[..len], TransportType::Udp, *peer, relayed)),
                    None => continue,
                },
            };
            if sent.is_err() {
                return;
            }
        }
    }

    /// Does what the machine asks for; until when nothing more is to be done, `None` if that is for ever.
    fn turn(&mut self) -> Option<Instant> {
        loop {
            let now = Instant::now();
            match self.machine.poll(self.now()) {
                TurnServerPollRet::AllocateSocket { transport, listen_addr, client_addr, allocation_transport, family } => {
                    let allocated = self.allocate(allocation_transport, family);
                    if allocated.is_err() && !self.allocations.is_empty() {
                        // The machine would forget the other of two that were asked for at once.
                        return None;
                    }
                    let at = self.now();
                    self.machine.allocated_socket(transport, listen_addr, client_addr, allocation_transport, family, allocated, at);
                }
                TurnServerPollRet::TcpConnect { relayed_addr, peer_addr, listen_addr, client_addr } => {
                    let at = self.now();
                    self.machine.tcp_connected(relayed_addr, peer_addr, listen_addr, client_addr, Err(TcpConnectError::Forbidden), at);
                }
                TurnServerPollRet::TcpClose { .. } => {}
                TurnServerPollRet::SocketClose { listen_addr, .. } => {
                    self.allocations.retain(|allocation| allocation.relayed != listen_addr);
                    if self.allocations.is_empty() {
                        // The answer to the request that ended it is on its way already.
                        return None;
                    }
                }
                TurnServerPollRet::WaitUntil(wake) => {
                    let at = self.now();
                    while let Some(transmit) = self.machine.poll_transmit(at) {
                        self.wire.send(&transmit.data).ok()?;
                    }
                    if self.allocations.is_empty() {
                        let over = self.since + STRANGER;
                        return (now < over).then_some(over);
                    }
                    return Some(wake.to_std(self.since));
                }
            }
        }
    }

    fn now(&self) -> TurnInstant {
        TurnInstant::from_std(self.since)
    }

    /// A socket for the client: at the address of this machine that it came to, if that is of the family.
    fn allocate(&mut self, transport: TransportType, family: AddressFamily) -> Result<SocketAddr, SocketAllocateError> {
        let full = SocketAllocateError::InsufficientCapacity;
        if transport != TransportType::Udp {
            return Err(full);
        }
        let family = match family {
            _ if self.relay.knows(family) => family,
            // Who names no family wants IPv4 (RFC 8656 §7.2), and browsers name none: where there is only IPv6 this is what they get, as of coturn's
            // `allocation-default-address-family=keep`.
            AddressFamily::IPV4 if self.relay.knows(AddressFamily::IPV6) => AddressFamily::IPV6,
            _ => return Err(SocketAllocateError::AddressFamilyNotSupported),
        };
        if self.place.is_none() {
            let place = Arc::clone(&self.relay.clients).try_acquire_owned().map_err(|_| full)?;
            let held = self.user.clone().and_then(|user| self.relay.users.hold(user, MAX_OF_ONE)).ok_or(full)?;
            self.place = Some((place, held));
            self.stranger = None;
        }
        let ip = match (self.here.ip(), family == AddressFamily::IPV4) {
            (here, is_ipv4) if here.is_ipv4() == is_ipv4 && !here.is_unspecified() => here,
            (_, true) => Ipv4Addr::LOCALHOST.into(),
            (_, false) => Ipv6Addr::LOCALHOST.into(),
        };
        let socket = std::net::UdpSocket::bind((ip, 0)).and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let socket = socket.and_then(UdpSocket::from_std).map_err(|_| full)?;
        let relayed = socket.local_addr().map_err(|_| full)?;
        self.allocations.push(Allocation { relayed, socket });
        Ok(relayed)
    }

    /// Takes a message of the client's.
    fn handle(&mut self, message: Vec<u8>) -> io::Result<()> {
        if let Ok(parsed) = Message::from_bytes(&message) {
            if let Some(refusal) = self.refusal(&parsed) {
                return self.wire.send(&refusal);
            }
            self.learn(&parsed);
        }
        self.dispatch(Transmit::new(&message, TransportType::Udp, self.client, self.here))
    }

    /// A client that shows a user name, for the first time, may be one whom credentials were given.
    fn learn(&mut self, message: &Message<'_>) {
        let Ok(name) = message.attribute::<Username>() else { return };
        if self.user.is_some() {
            return;
        }
        let Some(password) = self.relay.credentials.password(name.username()) else { return };
        self.user = name.username().split_once(':').map(|(_, person)| person.to_owned());
        self.machine.add_user(name.username().to_owned(), password);
    }

    /// What is answered to who wants to reach anybody else (RFC 8656 §10.2, §12.2).
    fn refusal(&self, message: &Message<'_>) -> Option<Vec<u8>> {
        if !message.has_class(MessageClass::Request) || !matches!(message.method(), CREATE_PERMISSION | CHANNEL_BIND) {
            return None;
        }
        // Permissions are for an address and all its ports (RFC 8656 §9), channels for one.
        let is_channel = message.method() == CHANNEL_BIND;
        let is_ours =
            |asked: SocketAddr| self.relay.peers.iter().any(|(peer, _)| if is_channel { *peer == asked } else { peer.ip() == asked.ip() });
        let mut peers = message.iter_attributes().filter(|(_, attribute)| attribute.get_type() == XorPeerAddress::TYPE);
        let is_foreign = peers
            .any(|(_, attribute)| XorPeerAddress::from_raw(attribute).map_or(true, |peer| !is_ours(peer.addr(message.transaction_id()))));
        if !is_foreign {
            return None;
        }
        let mut answer = Message::builder_error(message, MessageWriteVec::new());
        answer.add_attribute(&ErrorCode::builder(ErrorCode::FORBIDDEN).build().ok()?).ok()?;
        Some(answer.finish())
    }

    /// Hands something to the machine, and what comes of it to whom it is for.
    fn dispatch(&mut self, received: Transmit<impl AsRef<[u8]> + std::fmt::Debug>) -> io::Result<()> {
        let at = self.now();
        let Some(made) = self.machine.recv(received, at) else { return Ok(()) };
        let (from, to, bytes) = (made.from, made.to, made.data.build());
        if from == self.here {
            self.wire.send(&bytes)?;
        } else if let Some((_, inside)) = self.relay.peers.iter().find(|(peer, _)| *peer == to)
            && let Some(allocation) = self.allocations.iter().find(|allocation| allocation.relayed == from)
        {
            // As a router does that has no room.
            let _ = allocation.socket.try_send_to(&bytes, *inside);
        }
        Ok(())
    }
}

enum Heard {
    Client(Vec<u8>),
    /// At this allocation, from this address, so many bytes.
    Media(SocketAddr, SocketAddr, usize),
}

/// The next datagram for any of the allocations.
fn poll_allocations(allocations: &[Allocation], room: &mut [u8], context: &mut Context<'_>) -> Poll<(SocketAddr, SocketAddr, usize)> {
    for allocation in allocations {
        let mut room = ReadBuf::new(room);
        // Errors are ICMP's word that the server is not there: it is about to go down.
        if let Poll::Ready(Ok(from)) = allocation.socket.poll_recv_from(context, &mut room) {
            return Poll::Ready((allocation.relayed, from, room.filled().len()));
        }
    }
    Poll::Pending
}

//! A TURN server of our own (RFC 8656): by TCP and TLS at HTTP's port, and by UDP. It relays to nobody but this server's media, and that within this machine whatever
//! address of the server's a client asks for: so it works behind a NAT, and needs no open port for what it relays.
//!
//! Each client is a task with a protocol machine (`turn-server-proto`) that knows nobody else. TCP and TLS are cut into messages here, so that the machine sees
//! datagrams only.

mod wire;

use std::collections::HashMap;
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
/// Clients that haven't yet, and perhaps never will.
const MAX_STRANGERS: usize = 1024;
/// How long a client may take to allocate: two round trips on the slowest line on which a meeting makes sense.
const STRANGER: Duration = Duration::from_secs(5);
/// Clients with the same credentials. A browser makes one for each of its interfaces and address families, and as many again at an ICE restart.
const MAX_OF_ONE: usize = 16;
/// Messages of one client by UDP that wait; more are dropped, as by a router.
const WAITING: usize = 64;
/// How long a client may take nothing of what is sent to it by TCP.
const STALLED: Duration = Duration::from_secs(15);
const REALM: &str = "switchyard";

/// The relay that all clients share.
pub struct Relay {
    credentials: Arc<Credentials>,
    /// Where clients know this server's media to be, and where it is on this machine: nothing else is relayed to.
    peers: Vec<(SocketAddr, SocketAddr)>,
    clients: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// How many clients use the same credentials.
    users: Mutex<HashMap<String, usize>>,
    stop: watch::Receiver<bool>,
}

impl Relay {
    /// One that relays to `peers`, all of which are this server's port `media`.
    pub fn new(credentials: Arc<Credentials>, peers: Vec<SocketAddr>, media: u16, stop: watch::Receiver<bool>) -> Arc<Self> {
        let places = |count| Arc::new(Semaphore::new(count));
        let (clients, strangers) = (places(MAX_CLIENTS), places(MAX_STRANGERS));
        let peers = (2..=u8::MAX - 1).zip(peers).map(|(number, peer)| (peer, inside(peer, number, media))).collect();
        Arc::new(Self { credentials, peers, clients, strangers, users: Mutex::default(), stop })
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
                    // ICMP's word about somebody; nothing to do about it here.
                    Err(_) => continue,
                },
                Some(client) = ends.recv() => {
                    clients.remove(&client);
                    continue;
                }
                () = stopped(self.stop.clone()) => return,
            };
            let message = room[..len].to_vec();
            let known = clients.get(&client).map(|inbox| inbox.try_send(message.clone()));
            if !matches!(known, None | Some(Err(mpsc::error::TrySendError::Closed(_)))) {
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
        let Ok(permit) = Arc::clone(&self.strangers).try_acquire_owned() else { return false };
        let relay = Arc::clone(self);
        tokio::spawn(async move {
            let served = Client::new(&relay, wire, client, here, permit);
            tokio::select! {
                () = served.run() => {}
                () = stopped(relay.stop.clone()) => {}
            }
            ended();
        });
        true
    }

    /// Whether there is anything to relay to.
    fn knows(&self, family: AddressFamily) -> bool {
        self.peers.iter().any(|(peer, _)| peer.is_ipv4() == (family == AddressFamily::IPV4))
    }

    /// A place among those with these credentials.
    fn admit(self: &Arc<Self>, user: &str) -> Option<Held> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let count = users.entry(user.to_owned()).or_default();
        (*count < MAX_OF_ONE).then(|| {
            *count += 1;
            Held { relay: Arc::clone(self), user: user.to_owned() }
        })
    }
}

/// A client counts among those with its credentials as long as this lives.
struct Held {
    relay: Arc<Relay>,
    user: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut users = self.relay.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user);
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
    /// Among strangers at first, among clients with the first allocation.
    permit: OwnedSemaphorePermit,
    /// Who it says it is, of those whom credentials were given.
    user: Option<String>,
    /// Its place among those with its credentials, once it has shown that it is who it says.
    held: Option<Held>,
    allocations: Vec<Allocation>,
    since: Instant,
}

impl<'a> Client<'a> {
    fn new(relay: &'a Arc<Relay>, wire: Wire, client: SocketAddr, here: SocketAddr, permit: OwnedSemaphorePermit) -> Self {
        let machine = TurnServer::new(TransportType::Udp, here, REALM.to_owned());
        Self { relay, wire, client, here, machine, permit, user: None, held: None, allocations: Vec::new(), since: Instant::now() }
    }

    /// Serves until the client is gone, has no allocation any more or doesn't get one in time.
    async fn run(mut self) {
        let mut room = [0; MAX_MESSAGE];
        loop {
            let Some(wake) = self.turn().await else { return };
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
                Heard::Client(message) => self.handle(message).await,
                Heard::Media(relayed, from, len) => match self.relay.peers.iter().find(|(_, inside)| *inside == from) {
                    Some((peer, _)) => self.dispatch(Transmit::new(&room[..len], TransportType::Udp, *peer, relayed)).await,
                    None => continue,
                },
            };
            if sent.is_err() {
                return;
            }
        }
    }

    /// Does what the machine asks for; until when nothing more is to be done, `None` if that is for ever.
    async fn turn(&mut self) -> Option<Instant> {
        loop {
            let now = Instant::now();
            match self.machine.poll(self.now()) {
                TurnServerPollRet::AllocateSocket { transport, listen_addr, client_addr, allocation_transport, family } => {
                    let allocated = self.allocate(allocation_transport, family);
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
                        self.send(&transmit.data).await.ok()?;
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
        if !self.relay.knows(family) {
            return Err(SocketAllocateError::AddressFamilyNotSupported);
        }
        if self.held.is_none() {
            let place = Arc::clone(&self.relay.clients).try_acquire_owned().map_err(|_| full)?;
            self.held = Some(self.user.as_deref().and_then(|user| self.relay.admit(user)).ok_or(full)?);
            self.permit = place;
        }
        let ip = match (self.here.ip(), family == AddressFamily::IPV4) {
            (here, is_ipv4) if here.is_ipv4() == is_ipv4 => here,
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
    async fn handle(&mut self, message: Vec<u8>) -> io::Result<()> {
        if let Ok(parsed) = Message::from_bytes(&message) {
            if let Some(refusal) = self.refusal(&parsed) {
                return self.send(&refusal).await;
            }
            self.learn(&parsed);
        }
        self.dispatch(Transmit::new(&message, TransportType::Udp, self.client, self.here)).await
    }

    /// A client that shows a user name, for the first time, may be one whom credentials were given.
    fn learn(&mut self, message: &Message<'_>) {
        let Ok(name) = message.attribute::<Username>() else { return };
        if self.user.is_some() {
            return;
        }
        let Some(password) = self.relay.credentials.password(name.username()) else { return };
        self.user = Some(name.username().to_owned());
        self.machine.add_user(name.username().to_owned(), password);
    }

    /// What is answered to who wants to reach anybody else (RFC 8656 §10.2, §12.2).
    fn refusal(&self, message: &Message<'_>) -> Option<Vec<u8>> {
        if !message.has_class(MessageClass::Request) || !matches!(message.method(), CREATE_PERMISSION | CHANNEL_BIND) {
            return None;
        }
        let is_ours = |ip: IpAddr| self.relay.peers.iter().any(|(peer, _)| peer.ip() == ip);
        let mut peers = message.iter_attributes().filter(|(_, attribute)| attribute.get_type() == XorPeerAddress::TYPE);
        let is_foreign = peers.any(|(_, attribute)| {
            XorPeerAddress::from_raw(attribute).map_or(true, |peer| !is_ours(peer.addr(message.transaction_id()).ip()))
        });
        if !is_foreign {
            return None;
        }
        let mut answer = Message::builder_error(message, MessageWriteVec::new());
        answer.add_attribute(&ErrorCode::builder(ErrorCode::FORBIDDEN).build().ok()?).ok()?;
        Some(answer.finish())
    }

    /// Hands something to the machine, and what comes of it to whom it is for.
    async fn dispatch(&mut self, received: Transmit<impl AsRef<[u8]> + std::fmt::Debug>) -> io::Result<()> {
        let at = self.now();
        let Some(made) = self.machine.recv(received, at) else { return Ok(()) };
        let (from, to, bytes) = (made.from, made.to, made.data.build());
        if from == self.here {
            self.send(&bytes).await?;
        } else if let Some((_, inside)) = self.relay.peers.iter().find(|(peer, _)| *peer == to)
            && let Some(allocation) = self.allocations.iter().find(|allocation| allocation.relayed == from)
        {
            // As a router does that has no room.
            let _ = allocation.socket.try_send_to(&bytes, *inside);
        }
        Ok(())
    }

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        tokio::time::timeout(STALLED, self.wire.send(message)).await?
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

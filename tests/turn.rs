//! The server's own TURN server, and who would use it for something else. Browsers go through it in tests/network/own_turn.test.mjs.

#[path = "support/http.rs"]
mod http;
mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::AwsLcRsProvider;
use rtc_stun::attributes::*;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::*;
use rtc_stun::xoraddr::XorMappedAddress;
use support::{SOON, Server, lasting_port};
use switchyard_protocol::{IceServer, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Where clients believe the server to be, behind a NAT that isn't there.
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

async fn server(more: &[&str]) -> Server {
    Server::start(&[&["--turn", "--advertise", "192.0.2.7", "--admin", "127.0.0.1:0"], more].concat()).await
}

/// What somebody who joined was given.
async fn given(server: &Server) -> IceServer {
    let (_, joined) = server.join("a", "Ada").await;
    assert_eq!(joined.ice_servers.len(), 1);
    joined.ice_servers[0].clone()
}

/// How many clients the server says it has.
async fn clients(server: &Server) -> u32 {
    let metrics = http::request(server.admin.expect("operators' HTTP"), "GET", "/metrics", &[], b"").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("switchyard_turn_clients ")).expect("a metric");
    line.parse().expect("a number")
}

enum Wire {
    Tcp(TcpStream),
    Udp(tokio::net::UdpSocket),
}

/// A client that does as it is told.
struct Client {
    wire: Wire,
    username: String,
    password: String,
    nonce: Vec<u8>,
}

/// The number of an error response; 0 for success.
type Outcome = u16;

impl Client {
    async fn tcp(server: &Server, given: &IceServer) -> Self {
        Self::new(Wire::Tcp(TcpStream::connect(server.http).await.expect("connected")), given)
    }

    fn new(wire: Wire, given: &IceServer) -> Self {
        let credential = |text: &Option<String>| text.clone().expect("credentials");
        Self { wire, username: credential(&given.username), password: credential(&given.credential), nonce: Vec::new() }
    }

    /// A message with these attributes and addresses of peers; authenticated, if it is a request and there is a nonce.
    fn message(&self, method: Method, class: MessageClass, attributes: &[(AttrType, &[u8])], peers: &[SocketAddr]) -> Message {
        let mut message = Message::new();
        message.new_transaction_id().expect("randomness");
        message.set_type(MessageType::new(method, class));
        message.write_header();
        for peer in peers {
            let address = XorMappedAddress { ip: peer.ip(), port: peer.port() };
            address.add_to_as(&mut message, ATTR_XOR_PEER_ADDRESS).expect("an address");
        }
        for (kind, value) in attributes {
            message.add(*kind, value);
        }
        if class == CLASS_REQUEST && !self.nonce.is_empty() {
            message.add(ATTR_USERNAME, self.username.as_bytes());
            message.add(ATTR_REALM, b"switchyard");
            message.add(ATTR_NONCE, &self.nonce);
            let provider = AwsLcRsProvider::default();
            let crypto = provider.crypto();
            let (user, password) = (self.username.clone(), self.password.clone());
            let integrity = MessageIntegrity::new_long_term_integrity_with_provider(user, "switchyard".into(), password, crypto);
            integrity.expect("a key").add_to(&mut message).expect("integrity");
        }
        message
    }

    async fn send(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Tcp(stream) => stream.write_all(bytes).await.expect("sent"),
            Wire::Udp(socket) => drop(socket.send(bytes).await.expect("sent")),
        }
    }

    /// The next message; `None` if there are none any more.
    async fn receive(&mut self) -> Option<Message> {
        let mut raw = vec![0; 20];
        let received = async {
            match &mut self.wire {
                Wire::Tcp(stream) => {
                    stream.read_exact(&mut raw).await.ok()?;
                    let len = usize::from(u16::from_be_bytes([raw[2], raw[3]]));
                    raw.resize(20 + len, 0);
                    stream.read_exact(&mut raw[20..]).await.ok()?;
                }
                Wire::Udp(socket) => {
                    raw.resize(2_000, 0);
                    let len = socket.recv(&mut raw).await.ok()?;
                    raw.truncate(len);
                }
            }
            Some(())
        };
        tokio::time::timeout(2 * SOON, received).await.expect("in time")?;
        let mut message = Message::new();
        message.unmarshal_binary(&raw).expect("STUN");
        Some(message)
    }

    async fn ask(&mut self, method: Method, attributes: &[(AttrType, &[u8])], peers: &[SocketAddr]) -> (Outcome, Message) {
        let request = self.message(method, CLASS_REQUEST, attributes, peers);
        self.send(&request.raw).await;
        let answer = self.receive().await.expect("an answer");
        assert_eq!(answer.transaction_id, request.transaction_id);
        let code = answer.get(ATTR_ERROR_CODE).map_or(0, |value| u16::from(value[2]) * 100 + u16::from(value[3]));
        (code, answer)
    }

    /// Asks for an allocation, twice: the first answer has the nonce.
    async fn allocate(&mut self) -> (Outcome, Message) {
        const UDP: (AttrType, &[u8]) = (ATTR_REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        let (code, challenge) = self.ask(METHOD_ALLOCATE, &[UDP], &[]).await;
        assert_eq!(code, 401, "nobody is known without having said who it is");
        self.nonce = challenge.get(ATTR_NONCE).expect("a nonce");
        self.ask(METHOD_ALLOCATE, &[UDP], &[]).await
    }

    async fn refresh(&mut self, seconds: u32) -> Outcome {
        self.ask(METHOD_REFRESH, &[(ATTR_LIFETIME, &seconds.to_be_bytes())], &[]).await.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joined_is_given_an_address_by_tcp_and_udp_until_they_give_it_back() {
    let udp = lasting_port();
    let server = server(&["--turn-udp", &format!("127.0.0.1:{udp}")]).await;
    let given = given(&server).await;
    let port = server.http.port();
    assert_eq!(given.urls, [format!("turn:127.0.0.1:{udp}?transport=udp"), format!("turn:127.0.0.1:{port}?transport=tcp")]);
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.connect(("127.0.0.1", udp)).await.expect("connected");
    let own = socket.local_addr().expect("an address");
    let mut clients_ = [Client::tcp(&server, &given).await, Client::new(Wire::Udp(socket), &given)];
    for client in &mut clients_ {
        let (code, allocated) = client.allocate().await;
        assert_eq!(code, 0);
        let mut address = XorMappedAddress::default();
        address.get_from_as(&allocated, ATTR_XOR_RELAYED_ADDRESS).expect("an address");
        assert_eq!(address.ip, IpAddr::V4(Ipv4Addr::LOCALHOST));
        address.get_from_as(&allocated, ATTR_XORMAPPED_ADDRESS).expect("an address");
        if let Wire::Udp(_) = client.wire {
            assert_eq!((address.ip, address.port), (own.ip(), own.port()));
        }
        assert_eq!(client.refresh(600).await, 0);
        assert_eq!(client.ask(METHOD_CREATE_PERMISSION, &[], &[SocketAddr::new(PUBLIC, server.media)]).await.0, 0);
    }
    assert_eq!(clients(&server).await, 2);
    for client in &mut clients_ {
        assert_eq!(client.refresh(0).await, 0);
    }
    let deadline = Instant::now() + SOON;
    while clients(&server).await > 0 {
        assert!(Instant::now() < deadline, "an allocation that was given back stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(clients_[0].receive().await.is_none(), "the connection has no use any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_given_nothing_gets_nothing() {
    let server = server(&[]).await;
    let right = given(&server).await;
    let other = given(&self::server(&[]).await).await;
    let with = |username: &str, credential: &str| IceServer {
        urls: Vec::new(),
        username: Some(username.to_owned()),
        credential: Some(credential.to_owned()),
    };
    let (name, password) = (right.username.clone().expect("a name"), right.credential.clone().expect("a password"));
    for (wrong, why) in [
        (other, "another server's"),
        (with(&name, "guessed"), "another password"),
        (with(&name, ""), "no password"),
        (with(&name.replace(':', "1:"), &password), "another time"),
        (with("1600000000:1", &password), "expired"),
        (with("", ""), "nobody"),
    ] {
        let mut client = Client::tcp(&server, &wrong).await;
        for _ in 0..2 {
            assert_eq!(client.allocate().await.0, 401, "{why}");
        }
    }
    assert_eq!(clients(&server).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_relayed_to_anybody_but_this_servers_media() {
    let server = server(&[]).await;
    let mut client = Client::tcp(&server, &given(&server).await).await;
    assert_eq!(client.allocate().await.0, 0);
    // Whoever could be reached: on loopback, where the server's media is reached within the machine, and on this machine at large.
    let bystanders: Vec<UdpSocket> = ["127.0.0.1:0", "127.0.0.2:0", "0.0.0.0:0"].map(|at| UdpSocket::bind(at).expect("a socket")).into();
    let ours = SocketAddr::new(PUBLIC, server.media);
    let mut foreign: Vec<SocketAddr> = bystanders.iter().map(|socket| socket.local_addr().expect("an address")).collect();
    for ip in [
        "127.0.0.2",
        "0.0.0.0",
        "169.254.169.254",
        "10.0.0.1",
        "255.255.255.255",
        "224.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:192.0.2.7",
    ] {
        foreign.push(SocketAddr::new(ip.parse().expect("an address"), server.media));
    }
    for (number, peer) in (0x4000_u16..).zip(&foreign) {
        assert_eq!(client.ask(METHOD_CREATE_PERMISSION, &[], &[*peer]).await.0, 403, "{peer}");
        assert_eq!(client.ask(METHOD_CREATE_PERMISSION, &[], &[ours, *peer]).await.0, 403, "{peer} behind one that is right");
        let channel = [&number.to_be_bytes()[..], &[0, 0]].concat();
        assert_eq!(client.ask(METHOD_CHANNEL_BIND, &[(ATTR_CHANNEL_NUMBER, &channel)], &[*peer]).await.0, 403, "{peer}");
    }
    // With a permission for the address, which is for all of its ports.
    assert_eq!(client.ask(METHOD_CREATE_PERMISSION, &[], &[ours]).await.0, 0);
    let ports: Vec<SocketAddr> = foreign[..bystanders.len()].iter().map(|address| SocketAddr::new(PUBLIC, address.port())).collect();
    for (number, port) in (0x4100_u16..).zip(&ports) {
        let channel = [&number.to_be_bytes()[..], &[0, 0]].concat();
        assert_eq!(
            client.ask(METHOD_CHANNEL_BIND, &[(ATTR_CHANNEL_NUMBER, &channel)], &[*port]).await.0,
            403,
            "{port}: another port of ours"
        );
        client.send(&[&number.to_be_bytes()[..], &[0, 4], b"data"].concat()).await;
    }
    for peer in foreign.iter().chain(&ports) {
        let indication = client.message(METHOD_SEND, CLASS_INDICATION, &[(ATTR_DATA, b"data")], &[*peer]);
        client.send(&indication.raw).await;
    }
    let channel = [&0x4200_u16.to_be_bytes()[..], &[0, 0]].concat();
    assert_eq!(client.ask(METHOD_CHANNEL_BIND, &[(ATTR_CHANNEL_NUMBER, &channel)], &[ours]).await.0, 0);
    // All of that was looked at before this is answered.
    assert_eq!(client.refresh(600).await, 0);
    for socket in bystanders {
        socket.set_nonblocking(true).expect("set");
        assert!(socket.recv(&mut [0; 64]).is_err(), "{:?} was reached", socket.local_addr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_has_a_few_connections_whatever_the_credentials() {
    let server = server(&[]).await;
    let (mut ada, joined) = server.join("a", "Ada").await;
    let given = joined.ice_servers[0].clone();
    let mut all = Vec::new();
    for number in 0..17 {
        let mut client = Client::tcp(&server, &given).await;
        let (code, _) = client.allocate().await;
        assert_eq!(code == 0, number < 16, "{number}: {code}");
        all.push(client);
    }
    // Other credentials come with another second.
    let other = loop {
        let Ok(Reply::IceServers(more)) = ada.request(Request::IceServers).await else { panic!("ICE servers") };
        if more.ice_servers[0].username != given.username {
            break more.ice_servers[0].clone();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(Client::tcp(&server, &other).await.allocate().await.0, 508);
    assert_eq!(all[0].refresh(0).await, 0);
    assert!(all[0].receive().await.is_none());
    assert_eq!(Client::tcp(&server, &other).await.allocate().await.0, 0, "there is a place again");
    assert_eq!(Client::tcp(&server, &self::given(&server).await).await.allocate().await.0, 0, "somebody else has theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_keeps_nobody_out() {
    let udp = lasting_port();
    let server = server(&["--turn-udp", &format!("127.0.0.1:{udp}")]).await;
    let given = given(&server).await;
    for _ in 0..1_100 {
        let noise = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        noise.send_to(b"noise", ("127.0.0.1", udp)).expect("sent");
    }
    // As many as one address may have, who say nothing more; those of another are let in.
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.http).await.expect("connected");
        stream.write_all(&[0, 3]).await.expect("sent");
        silent.push(stream);
    }
    let socket = tokio::net::UdpSocket::bind("127.0.0.5:0").await.expect("a socket");
    socket.connect(("127.0.0.1", udp)).await.expect("connected");
    assert_eq!(Client::new(Wire::Udp(socket), &given).allocate().await.0, 0);
    let from = tokio::net::TcpSocket::new_v4().expect("a socket");
    from.bind("127.0.0.5:0".parse().expect("an address")).expect("bound");
    let stream = from.connect(server.http).await.expect("connected");
    assert_eq!(Client::new(Wire::Tcp(stream), &given).allocate().await.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_pieces_and_together_are_understood_and_what_is_none_is_closed() {
    let server = server(&[]).await;
    let given = given(&server).await;
    let mut client = Client::tcp(&server, &given).await;
    assert_eq!(client.allocate().await.0, 0);
    let requests = [0, 1, 2].map(|_| client.message(METHOD_REFRESH, CLASS_REQUEST, &[], &[]));
    for byte in &requests[0].raw {
        client.send(&[*byte]).await;
    }
    assert_eq!(client.receive().await.expect("an answer").transaction_id, requests[0].transaction_id);
    client.send(&[&requests[1].raw[..], &requests[2].raw].concat()).await;
    for request in &requests[1..] {
        assert_eq!(client.receive().await.expect("an answer").transaction_id, request.transaction_id);
    }
    // Neither STUN nor channel data; or more than a datagram has.
    for wrong in [&[0x80, 0, 0, 0][..], &[0, 1, 0x10, 0]] {
        let mut client = Client::tcp(&server, &given).await;
        assert_eq!(client.allocate().await.0, 0);
        client.send(wrong).await;
        assert!(client.receive().await.is_none(), "{wrong:?}");
    }
    // Who never says who it is.
    let begun = Instant::now();
    let mut stranger = Client::tcp(&server, &given).await;
    stranger.send(&stranger.message(BINDING_REQUEST.method, CLASS_REQUEST, &[], &[]).raw.clone()).await;
    assert!(stranger.receive().await.is_some_and(|answer| answer.contains(ATTR_XORMAPPED_ADDRESS)));
    assert!(stranger.receive().await.is_none());
    assert!((4..9).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

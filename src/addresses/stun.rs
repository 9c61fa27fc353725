//! The machine's address as others see it, asked of a STUN server (RFC 8489 §2).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, TransactionId};
use rtc_stun::xoraddr::XorMappedAddress;
use tokio::net::UdpSocket;

/// How long an answer is waited for before the next: the first of RFC 8489 §6.2.1, which has it twice as long each time.
const FIRST_TIMEOUT: Duration = Duration::from_millis(500);
/// Requests before the server is given up, after 7.5 s.
const REQUESTS: u32 = 4;
/// The port of STUN (RFC 8489 §18.6).
const PORT: u16 = 3478;

/// A STUN server: `stun:HOST` or `stun:HOST:PORT` (RFC 7064).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StunServer {
    host: String,
    port: u16,
}

/// What a STUN server says of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub ip: IpAddr,
    /// The port is another one outside: this NAT does more than give another address.
    pub changes_ports: bool,
}

/// Why it says nothing.
#[derive(Debug, thiserror::Error)]
pub enum StunError {
    #[error("{0} has no IPv4 address")]
    NoAddress(StunServer),
    #[error("{0} can't be reached: {1}")]
    Unreachable(StunServer, #[source] io::Error),
    #[error("{0} doesn't answer")]
    Silent(StunServer),
}

impl StunServer {
    /// Asks which IPv4 address this machine has outside; a NAT that gives IPv6 addresses others is nowhere to be expected.
    pub async fn ask(&self) -> Result<Seen, StunError> {
        self.ask_within(FIRST_TIMEOUT).await
    }

    async fn ask_within(&self, mut timeout: Duration) -> Result<Seen, StunError> {
        let unreachable = |error| StunError::Unreachable(self.clone(), error);
        let mut addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        let server = addresses.find(SocketAddr::is_ipv4).ok_or_else(|| StunError::NoAddress(self.clone()))?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.map_err(unreachable)?;
        socket.connect(server).await.map_err(unreachable)?;
        let port = socket.local_addr().map_err(unreachable)?.port();

        let id = TransactionId::new();
        for _ in 0..REQUESTS {
            // A server that isn't there yet refuses what was sent before.
            let _ = socket.send(&request(id)).await;
            if let Ok(outside) = tokio::time::timeout(timeout, answer(&socket, id)).await {
                return Ok(Seen { ip: outside.ip(), changes_ports: outside.port() != port });
            }
            timeout *= 2;
        }
        Err(StunError::Silent(self.clone()))
    }
}

fn request(id: TransactionId) -> Vec<u8> {
    let mut request = Message::new();
    request.typ = BINDING_REQUEST;
    request.transaction_id = id;
    request.write_header();
    request.raw
}

/// Waits for the answer to a request; anything else that comes is passed over.
async fn answer(socket: &UdpSocket, id: TransactionId) -> SocketAddr {
    let mut datagram = [0; 1500];
    loop {
        match socket.recv(&mut datagram).await {
            Ok(length) => {
                if let Some(outside) = read(&datagram[..length], id) {
                    return outside;
                }
            }
            // The next request may do better; its time has to come.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The address in an answer to a request.
fn read(datagram: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let mut message = Message::new();
    message.unmarshal_binary(datagram).ok()?;
    let mut outside = XorMappedAddress::default();
    let is_answer = message.typ == BINDING_SUCCESS && message.transaction_id == id;
    (is_answer && outside.get_from(&message).is_ok()).then(|| SocketAddr::new(outside.ip, outside.port))
}

impl FromStr for StunServer {
    type Err = String;

    /// What stands behind `stun:`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').map_or((text, Ok(PORT)), |(host, port)| (host, port.parse()));
        let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
        match port {
            Ok(port) if is_host && port != 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err("a STUN server is stun:HOST or stun:HOST:PORT".into()),
        }
    }
}

impl fmt::Display for StunServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stun:{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use rtc_stun::message::Setter;

    use super::*;

    /// A STUN server that says nothing to the first `deaf` requests, and to the next that this is who asks.
    async fn server(deaf: usize, outside: Option<SocketAddr>) -> StunServer {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut datagram = [0; 1500];
            for heard in 0.. {
                let (length, client) = socket.recv_from(&mut datagram).await.unwrap();
                let mut request = Message::new();
                request.unmarshal_binary(&datagram[..length]).unwrap();
                assert_eq!(request.typ, BINDING_REQUEST);
                if heard >= deaf {
                    let outside = outside.unwrap_or(client);
                    // What answers another request comes first.
                    for id in [TransactionId([7; 12]), request.transaction_id] {
                        let mut answer = Message::new();
                        (answer.typ, answer.transaction_id) = (BINDING_SUCCESS, id);
                        answer.write_header();
                        let ip = if id == request.transaction_id { outside.ip() } else { Ipv4Addr::BROADCAST.into() };
                        XorMappedAddress { ip, port: outside.port() }.add_to(&mut answer).unwrap();
                        socket.send_to(&answer.raw, client).await.unwrap();
                    }
                }
            }
        });
        StunServer { host: "127.0.0.1".into(), port }
    }

    #[tokio::test]
    async fn a_server_says_which_address_it_sees_and_whether_the_port_is_the_same() {
        let here = server(0, None).await.ask().await.unwrap();
        assert_eq!(here, Seen { ip: Ipv4Addr::LOCALHOST.into(), changes_ports: false });
        let outside = server(0, Some("203.0.113.7:9".parse().unwrap())).await.ask().await.unwrap();
        assert_eq!(outside, Seen { ip: "203.0.113.7".parse().unwrap(), changes_ports: true });
    }

    #[tokio::test]
    async fn it_is_asked_again_and_in_the_end_given_up() {
        let ip: IpAddr = "203.0.113.7".parse().unwrap();
        assert_eq!(server(1, Some(SocketAddr::new(ip, 9))).await.ask().await.unwrap().ip, ip);
        let deaf = server(usize::MAX, None).await;
        assert!(matches!(deaf.ask_within(Duration::from_millis(1)).await, Err(StunError::Silent(_))));
    }

    #[test]
    fn servers_are_written_with_or_without_a_port() {
        for (text, server) in [
            ("stun.example.org", Some("stun:stun.example.org:3478")),
            ("192.0.2.7:19302", Some("stun:192.0.2.7:19302")),
            ("", None),
            (":3478", None),
            ("example.org:0", None),
            ("example.org:port", None),
            ("//example.org", None),
        ] {
            assert_eq!(text.parse::<StunServer>().ok().map(|server| server.to_string()).as_deref(), server, "{text}");
        }
    }
}

//! A firewall that lets a participant's media through over TCP only (RFC 4571 frames), and that can stop taking what the server sends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What its end of the connection keeps unread.
const RECEIVE_BUFFER: u32 = 16 * 1024;

/// Gone when dropped.
pub struct Firewall {
    /// Where the participant sends what is for the server.
    pub inside: SocketAddr,
    takes: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Firewall {
    /// Towards the server's port of HTTP, which takes media as well.
    pub async fn new(server: SocketAddr) -> Self {
        let inside = UdpSocket::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.expect("a socket");
        let address = inside.local_addr().expect("an address");
        let (takes, taken) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(run(inside, server, taken));
        Self { inside: address, takes, _tasks: tasks }
    }

    /// Reads what the server sends, or nothing any more.
    pub fn take(&self, takes: bool) {
        self.takes.send_replace(takes);
    }
}

async fn run(inside: UdpSocket, server: SocketAddr, taken: watch::Receiver<bool>) {
    let inside = Arc::new(inside);
    let mut frame = vec![0; 2_002];
    // The first datagram says who is inside.
    let (mut len, participant) = inside.recv_from(&mut frame[2..]).await.expect("a datagram");
    inside.connect(participant).await.expect("connected");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a buffer");
    let stream = socket.connect(server).await.expect("connected");
    stream.set_nodelay(true).expect("no delay");
    let (down, mut up) = stream.into_split();
    let mut tasks = JoinSet::new();
    tasks.spawn(bring(down, Arc::clone(&inside), taken));
    loop {
        frame[..2].copy_from_slice(&(len as u16).to_be_bytes());
        if up.write_all(&frame[..len + 2]).await.is_err() {
            return;
        }
        len = match inside.recv(&mut frame[2..]).await {
            Ok(len) => len,
            Err(_) => return,
        };
    }
}

async fn bring(mut down: OwnedReadHalf, inside: Arc<UdpSocket>, mut taken: watch::Receiver<bool>) {
    let mut datagram = vec![0; 2_000];
    while taken.wait_for(|takes| *takes).await.is_ok()
        && let Ok(len) = down.read_u16().await
        && down.read_exact(&mut datagram[..usize::from(len)]).await.is_ok()
    {
        let _ = inside.send(&datagram[..usize::from(len)]).await;
    }
}

//! A NAT between one participant and the server: a port of its own for each, which it can change, and a line it can cut.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

enum Order {
    Rebind,
    Cut(bool),
}

/// Gone when dropped.
pub struct Nat {
    /// Where the participant sends what is for the server.
    pub inside: SocketAddr,
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

impl Nat {
    /// Towards the server's media port.
    pub async fn new(media: u16) -> Self {
        let inside = UdpSocket::bind(LOOPBACK).await.unwrap();
        let (orders, received) = mpsc::unbounded_channel();
        let address = inside.local_addr().unwrap();
        let task = tokio::spawn(run(inside, SocketAddr::new(LOOPBACK.ip(), media), received));
        Self { inside: address, orders, task }
    }

    /// Gives the participant another port from now on; what is sent to the old one is lost.
    pub fn rebind(&self) {
        self.orders.send(Order::Rebind).unwrap();
    }

    /// Loses everything, or nothing any more.
    pub fn cut(&self, cut: bool) {
        self.orders.send(Order::Cut(cut)).unwrap();
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(inside: UdpSocket, server: SocketAddr, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut outside = UdpSocket::bind(LOOPBACK).await.unwrap();
    let (mut participant, mut is_cut) = (None, false);
    let (mut up, mut down) = (vec![0; 2_000], vec![0; 2_000]);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Rebind) => outside = UdpSocket::bind(LOOPBACK).await.unwrap(),
                Some(Order::Cut(cut)) => is_cut = cut,
                None => return,
            },
            Ok((len, from)) = inside.recv_from(&mut up) => {
                participant = Some(from);
                if !is_cut {
                    let _ = outside.send_to(&up[..len], server).await;
                }
            }
            Ok((len, from)) = outside.recv_from(&mut down) => {
                if let Some(participant) = participant && from == server && !is_cut {
                    let _ = inside.send_to(&down[..len], participant).await;
                }
            }
        }
    }
}

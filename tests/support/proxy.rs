//! A TCP proxy that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Takes connections for the server while it is whole; while it is cut, it breaks those there are and those that come.
pub struct Proxy {
    pub address: SocketAddr,
    whole: watch::Sender<bool>,
    attempts: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("bound");
        let (whole, watched) = watch::channel(true);
        let attempts = Arc::new(AtomicUsize::new(0));
        tokio::spawn(accept(listener, server, watched, attempts.clone()));
        Self { address, whole, attempts }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.address)
    }

    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub fn mend(&self) {
        self.whole.send_replace(true);
    }

    /// Connections that came so far.
    pub fn attempts(&self) -> usize {
        self.attempts.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, whole: watch::Receiver<bool>, attempts: Arc<AtomicUsize>) {
    while let Ok((mut client, _)) = listener.accept().await {
        attempts.fetch_add(1, Ordering::Relaxed);
        let mut whole = whole.clone();
        if !*whole.borrow() {
            continue;
        }
        tokio::spawn(async move {
            let Ok(mut upstream) = TcpStream::connect(server).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut upstream) => {}
                _ = whole.wait_for(|whole| !whole) => {}
            }
        });
    }
}

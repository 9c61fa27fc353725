//! The crate's tokio runtime with sockets that fit a load generator.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime, TokioRuntime, Transmit, UdpSockRef,
    UdpSocketState,
};

use crate::direct::{Lane, MediaSocket};

/// Bytes of a socket's receive buffer: a second of 2,750 packets of 1,200 bytes. The kernel grants `net.core.rmem_max` at most.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// [`TokioRuntime`] whose sockets have a large receive buffer and don't fail, and which keep the media for its lane if there is one.
#[derive(Debug)]
pub(crate) struct LoadRuntime {
    pub(crate) lane: Option<Arc<Lane>>,
}

/// A socket whose failures to send are losses: an address that can't be reached is for ICE to find out, not for the log.
#[derive(Debug)]
struct Lossy(Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for Lossy {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.0.poll_send(cx, transmit).map(|sent| Ok(sent.unwrap_or(transmit.contents.len())))
    }

    fn poll_recv(&self, cx: &mut Context<'_>, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, buffers, meta)
    }

    fn max_gso_segments(&self) -> usize {
        self.0.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.0.max_gro_segments()
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Runtime for LoadRuntime {
    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        if let Some(lane) = &self.lane {
            return Ok(Arc::new(MediaSocket::new(socket, RECEIVE_BUFFER, lane.clone())?));
        }
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        state.set_recv_buffer_size(UdpSockRef::from(&socket), RECEIVE_BUFFER)?;
        Ok(Arc::new(Lossy(TokioRuntime.wrap_udp_socket(socket)?)))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(&'a self, remote: SocketAddr) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(remote)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        let is_roused = self.lane.as_ref().is_some_and(|lane| lane.is_roused());
        TokioRuntime.sleep(if is_roused { Duration::ZERO } else { duration })
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Boxed<'static, ()> {
        TokioRuntime.yield_now()
    }
}

//! The socket of one participant: what is media goes to its lane, the rest to the peer connection.

mod impaired;
mod telling;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

use super::Lane;
use impaired::Impaired;

/// Bytes of one message as the kernel gives it: a run of datagrams.
const MESSAGE: usize = 64 * 1024;
/// Messages taken at once: one participant's of some milliseconds.
const MESSAGES: usize = 8;
/// Datagrams that wait for the peer connection: answers to its checks, which come again.
const MAX_WAITING_STUN: usize = 64;
/// With the rest, a handshake's flights among it.
const MAX_WAITING: usize = 4 * MAX_WAITING_STUN;

/// The type of the answer to a connectivity check (RFC 8489 §5).
const BINDING_SUCCESS: [u8; 2] = [1, 1];

/// Content types of DTLS (RFC 6347 §4.1, RFC 5246 §6.2.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// What is sent and received through.
#[derive(Debug)]
pub(crate) struct Port {
    io: UdpSocket,
    batch: UdpSocketState,
    /// A bad line, on the way out and in.
    impaired: Option<Impaired>,
}

impl Port {
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        self.io.local_addr().ok()
    }

    pub(super) fn send(&self, to: SocketAddr, datagram: &[u8]) {
        self.send_run(to, datagram, datagram.len());
    }

    /// Sends `run` as datagrams of `segment` bytes, the last shorter. A full socket buffer is a loss, as on any line.
    pub(super) fn send_run(&self, to: SocketAddr, run: &[u8], segment: usize) {
        match &self.impaired {
            Some(impaired) => run.chunks(segment.max(1)).for_each(|datagram| impaired.push_out(datagram, to)),
            None => self.send_now(to, run, segment),
        }
    }

    fn send_now(&self, to: SocketAddr, run: &[u8], segment: usize) {
        let segment_size = (run.len() > segment).then_some(segment);
        let transmit = Transmit { destination: to, ecn: None, contents: run, segment_size, src_ip: None };
        let _ = self.io.try_io(Interest::WRITABLE, || self.batch.try_send(UdpSockRef::from(&self.io), &transmit));
    }
}

/// The socket that the peer connection is given. A task of its own reads it, so that media does not wake the peer connection, of which that wants nothing.
#[derive(Debug)]
pub(crate) struct MediaSocket {
    port: Arc<Port>,
    lane: Arc<Lane>,
    waiting: Arc<Waiting>,
    reader: AbortHandle,
}

impl Drop for MediaSocket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Datagrams for the peer connection.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    datagrams: Mutex<VecDeque<(Vec<u8>, SocketAddr)>>,
    waker: Mutex<Option<Waker>>,
    /// The last flight that is not encrypted has come whole: it was answered.
    answered: AtomicBool,
}

impl Waiting {
    /// Takes note of DTLS that the peer connection sends.
    fn sent(&self, datagram: &[u8]) {
        if records(datagram).any(|(content, _)| content == CHANGE_CIPHER_SPEC) {
            self.answered.store(true, Ordering::Relaxed);
        }
    }

    /// Takes what came. The server's flight once more means that the answer to it was lost, which `rtc` would send again when its timer says so; but it stops that timer
    /// with each message that comes, and then waits for good. So it does not hear of it.
    fn push(&self, datagram: &[u8], from: SocketAddr) {
        if records(datagram).next() == Some((HANDSHAKE, 0)) && self.answered.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.datagrams.lock().unwrap_or_else(PoisonError::into_inner);
        // RFC 7983 §7.
        let most = if matches!(datagram.first(), Some(0..=3)) { MAX_WAITING_STUN } else { MAX_WAITING };
        if waiting.len() < most {
            waiting.push_back((datagram.to_vec(), from));
        }
    }

    /// Has the peer connection look.
    fn wake(&self) {
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

/// Content type and epoch of each of a datagram's DTLS records (RFC 6347 §4.1).
fn records(datagram: &[u8]) -> impl Iterator<Item = (u8, u16)> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (&[content, _, _, epoch_high, epoch_low, .., high, low], body) = rest.split_first_chunk::<13>()?;
        rest = body.get(usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default();
        Some((content, u16::from_be_bytes([epoch_high, epoch_low])))
    })
}

thread_local! {
    /// Where a batch is received: half a megabyte for each thread rather than for each participant.
    static SLAB: RefCell<Vec<u8>> = RefCell::new(vec![0; MESSAGES * MESSAGE]);
}

impl MediaSocket {
    /// To be called within a tokio runtime.
    pub(crate) fn new(socket: std::net::UdpSocket, receive_buffer: usize, lane: Arc<Lane>) -> io::Result<Self> {
        let batch = UdpSocketState::new(UdpSockRef::from(&socket))?;
        batch.set_recv_buffer_size(UdpSockRef::from(&socket), receive_buffer)?;
        socket.set_nonblocking(true)?;
        let impaired = lane.lines().map(Impaired::new).transpose().map_err(io::Error::other)?;
        let port = Arc::new(Port { io: UdpSocket::from_std(socket)?, batch, impaired });
        let waiting = Arc::new(Waiting::default());
        if port.impaired.is_some() {
            tokio::spawn(impaired::run(Arc::downgrade(&port), Arc::downgrade(&lane), waiting.clone()));
        }
        if lane.tells_arrivals() {
            tokio::spawn(telling::run(Arc::downgrade(&lane)));
        }
        lane.attach(&port);
        let reader = tokio::spawn(read(port.clone(), lane.clone(), waiting.clone())).abort_handle();
        Ok(Self { port, lane, waiting, reader })
    }

    fn take(&self, buffer: &mut [u8], meta: &mut RecvMeta) -> bool {
        let Some((datagram, from)) = self.waiting.datagrams.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else {
            return false;
        };
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        *meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (from, len, len.max(1));
        true
    }
}

/// Takes what comes, for as long as the socket is in use.
async fn read(port: Arc<Port>, lane: Arc<Lane>, waiting: Arc<Waiting>) {
    loop {
        // Nothing that goes wrong lasts.
        let _ = port.io.readable().await;
        let _ = receive(&port, &lane, &waiting);
        tokio::task::consume_budget().await;
    }
}

/// Receives a batch; an error of the kind `WouldBlock` when there is nothing.
fn receive(port: &Port, lane: &Lane, waiting: &Waiting) -> io::Result<()> {
    SLAB.with_borrow_mut(|slab| {
        let mut meta = [RecvMeta::default(); MESSAGES];
        let mut count = 0;
        let received = port.io.try_io(Interest::READABLE, || {
            let mut buffers = slab.chunks_exact_mut(MESSAGE).map(IoSliceMut::new);
            let mut buffers: [IoSliceMut<'_>; MESSAGES] = std::array::from_fn(|_| buffers.next().expect("one for each"));
            count = port.batch.recv(UdpSockRef::from(&port.io), &mut buffers, &mut meta)?;
            // Less than there is room for was all that there was: there is nothing to be had before the kernel says so again, and no need to ask. Elsewhere there is
            // never more than one.
            if cfg!(target_os = "linux") && count < MESSAGES { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if count == 0 {
            return received;
        }
        let datagrams = slab.chunks_exact_mut(MESSAGE).zip(&meta[..count]).flat_map(|(bytes, meta)| {
            let at = meta.timestamp.map_or_else(crate::now_micros, |at| u64::try_from(at.as_micros()).unwrap_or(u64::MAX));
            bytes[..meta.len].chunks_mut(meta.stride.max(1)).map(move |datagram| (datagram, at, meta.addr))
        });
        match &port.impaired {
            Some(impaired) => datagrams.for_each(|(datagram, _, from)| impaired.push_in(datagram, from)),
            None => deliver(lane, waiting, datagrams),
        }
        Ok(())
    })
}

/// Gives media to the lane and the rest to the peer connection.
fn deliver<'a>(lane: &Lane, waiting: &Waiting, datagrams: impl Iterator<Item = (&'a mut [u8], u64, SocketAddr)>) {
    let mut is_any = false;
    lane.handle_batch(datagrams.filter_map(|(datagram, at, from)| match datagram.first() {
        // RFC 7983 §7.
        Some(128..=191) => Some((datagram, at)),
        _ => {
            waiting.push(datagram, from);
            if datagram.starts_with(&BINDING_SUCCESS) && !waiting.answered.load(Ordering::Relaxed) {
                lane.rouse();
            }
            is_any = true;
            None
        }
    }));
    if is_any {
        waiting.wake();
    }
}

impl AsyncUdpSocket for MediaSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.port.io.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        // DTLS goes where the connection has decided to send; checks go everywhere.
        if transmit.contents.first().is_some_and(|first| (20..64).contains(first)) {
            self.lane.set_remote(transmit.destination);
            self.waiting.sent(transmit.contents);
        }
        if self.port.impaired.is_some() {
            self.port.send(transmit.destination, transmit.contents);
            return Poll::Ready(Ok(transmit.contents.len()));
        }
        loop {
            match self.port.io.poll_send_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            match self.port.io.try_io(Interest::WRITABLE, || self.port.batch.try_send(UdpSockRef::from(&self.port.io), transmit)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An address that can't be reached is for ICE to find out.
                _ => return Poll::Ready(Ok(transmit.contents.len())),
            }
        }
    }

    fn poll_recv(&self, cx: &mut Context<'_>, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else { return Poll::Ready(Ok(0)) };
        *self.waiting.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if self.take(buffer, meta) { Poll::Ready(Ok(1)) } else { Poll::Pending }
    }

    fn max_gso_segments(&self) -> usize {
        1
    }

    fn max_gro_segments(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use webrtc::runtime::Runtime as _;

    use super::*;
    use crate::runtime::LoadRuntime;

    /// A record with two bytes in it.
    fn record(content: u8, epoch: u8) -> Vec<u8> {
        vec![content, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2]
    }

    #[test]
    fn a_flight_that_was_answered_is_not_heard_of_again() {
        let (waiting, from) = (Waiting::default(), SocketAddr::from(([127, 0, 0, 1], 9)));
        let count = || waiting.datagrams.lock().unwrap().len();
        let flight = [record(HANDSHAKE, 0), record(HANDSHAKE, 0)].concat();
        waiting.sent(&record(HANDSHAKE, 0));
        waiting.push(&flight, from);
        waiting.push(&flight, from);
        assert_eq!(count(), 2, "a part of it may be missing");
        waiting.sent(&[record(HANDSHAKE, 0), record(CHANGE_CIPHER_SPEC, 0), record(HANDSHAKE, 1)].concat());
        waiting.push(&flight, from);
        assert_eq!(count(), 2);
        for end in [[record(CHANGE_CIPHER_SPEC, 0), record(HANDSHAKE, 1)].concat(), record(HANDSHAKE, 1), record(23, 1), vec![1, 1, 0, 0]] {
            waiting.push(&end, from);
        }
        assert_eq!(count(), 6);
    }

    struct Deaf;

    impl crate::Sink for Deaf {
        fn handle_packet(&mut self, _: &crate::Arrival<'_>) -> bool {
            false
        }

        fn handle_lag(&mut self, _: u64) {}
    }

    #[tokio::test]
    async fn an_answer_to_a_check_is_acted_upon_at_once() {
        let lane = Lane::new(Box::new(Deaf), None, false);
        let runtime = LoadRuntime { lane: Some(lane.clone()) };
        let (waiting, from) = (Waiting::default(), SocketAddr::from(([127, 0, 0, 1], 9)));
        let roused = async |mut datagram: Vec<u8>| {
            deliver(&lane, &waiting, std::iter::once((&mut datagram[..], 0, from)));
            let mut times = 0;
            while tokio::time::timeout(Duration::from_millis(50), runtime.sleep(Duration::from_secs(3600))).await.is_ok() {
                times += 1;
            }
            times
        };
        assert_eq!(roused(vec![0, 1, 0, 0]).await, 0, "a check of the other side's");
        assert_eq!(roused(vec![22, 254, 253]).await, 0);
        assert_eq!(roused(vec![1, 1, 0, 0]).await, 2);
    }
}

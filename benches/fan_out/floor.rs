//! The least a forwarded packet can cost: a bare loop that seals and sends.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes collected before they are sent, as the forwarder does.
const ARENA: usize = 256 * 1024;
/// Messages in one `sendmmsg`.
const MESSAGES: usize = 256;
/// Bytes of an RTP header, which is authenticated and not encrypted.
const HEADER: usize = 12;
const TAG: usize = 16;
/// The control message of a run: its header and the segment's size, aligned.
const CONTROL: usize = 24;

/// Where a datagram goes and what it is sealed with.
struct Destination {
    address: libc::sockaddr_in,
    key: LessSafeKey,
}

/// A bare loop's state.
pub struct Floor {
    socket: UdpSocket,
    destinations: Vec<Destination>,
    arena: Vec<u8>,
    runs: Vec<Run>,
    /// Counts datagrams: no nonce comes twice.
    nonce: u64,
    /// Whether nothing is sent.
    mute: bool,
    /// System calls, runs and datagrams so far.
    pub calls: usize,
    pub runs_sent: usize,
    pub datagrams: usize,
}

struct Run {
    destination: usize,
    start: usize,
    len: usize,
    segment: usize,
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL]);

impl Floor {
    /// A loop that sends to `sinks` on IPv4 through `socket`.
    pub fn new(socket: UdpSocket, sinks: impl IntoIterator<Item = SocketAddr>) -> anyhow::Result<Self> {
        let mut destinations = Vec::new();
        for (i, sink) in sinks.into_iter().enumerate() {
            let SocketAddr::V4(sink) = sink else { anyhow::bail!("the floor is measured on IPv4") };
            let mut key = [7; 16];
            key[..8].copy_from_slice(&(i as u64).to_be_bytes());
            let key = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| anyhow::anyhow!("a key of 16 bytes"))?;
            destinations.push(Destination { address: sockaddr(sink), key: LessSafeKey::new(key) });
        }
        let (arena, runs) = (Vec::with_capacity(ARENA), Vec::with_capacity(MESSAGES));
        Ok(Self { socket, destinations, arena, runs, nonce: 0, mute: false, calls: 0, runs_sent: 0, datagrams: 0 })
    }

    /// Sends nothing from now on: what is left is sealing.
    pub fn mute(&mut self) {
        self.mute = true;
    }

    /// Seals `packets`, plaintext RTP, for each destination and sends them: what is of one length, and one shorter, as a run.
    pub fn send(&mut self, packets: &[&[u8]]) -> anyhow::Result<()> {
        self.add(packets, None)?;
        self.flush()
    }

    /// Seals `packets` for each destination but `except`, and sends them with the next [`Floor::flush`] or before.
    pub fn add(&mut self, packets: &[&[u8]], except: Option<usize>) -> anyhow::Result<()> {
        for destination in (0..self.destinations.len()).filter(|destination| Some(*destination) != except) {
            let mut open = false;
            for packet in packets {
                if self.arena.len() + packet.len() + TAG > ARENA || self.runs.len() == MESSAGES {
                    self.flush()?;
                    open = false;
                }
                let start = self.arena.len();
                self.arena.extend_from_slice(packet);
                self.nonce += 1;
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&self.nonce.to_be_bytes());
                let (header, payload) = self.arena[start..].split_at_mut(HEADER);
                let key = &self.destinations[destination].key;
                let tag = key
                    .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(header), payload)
                    .map_err(|_| anyhow::anyhow!("sealing failed"))?;
                self.arena.extend_from_slice(tag.as_ref());
                let len = packet.len() + TAG;
                self.datagrams += 1;
                match self.runs.last_mut() {
                    Some(run) if open && len <= run.segment => {
                        run.len += len;
                        open = len == run.segment;
                    }
                    _ => {
                        self.runs.push(Run { destination, start, len, segment: len });
                        open = true;
                    }
                }
            }
        }
        Ok(())
    }

    /// Sleeps until something comes, and takes all there is: at most `packets.len()` datagrams. How many.
    pub fn receive(&self, packets: &mut [Vec<u8>]) -> anyhow::Result<usize> {
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid `pollfd`.
        unsafe { libc::poll(&mut poll, 1, -1) };
        let mut count = 0;
        while let Some(packet) = packets.get_mut(count) {
            packet.resize(2048, 0);
            match self.socket.recv(packet) {
                Ok(len) => packet.truncate(len),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            count += 1;
        }
        Ok(count)
    }

    /// Sends what was added.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        let mut vectors: [libc::iovec; MESSAGES] = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; MESSAGES];
        let mut controls = [Control([0; CONTROL]); MESSAGES];
        // SAFETY: a C struct of integers and pointers, for which zeroes are valid.
        let mut headers: [libc::mmsghdr; MESSAGES] = [unsafe { std::mem::zeroed() }; MESSAGES];
        for (i, run) in self.runs.iter().enumerate() {
            vectors[i] = libc::iovec { iov_base: self.arena[run.start..].as_ptr().cast_mut().cast(), iov_len: run.len };
            let control = &mut controls[i].0;
            control[..8].copy_from_slice(&18u64.to_ne_bytes());
            control[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
            control[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
            control[16..18].copy_from_slice(&(run.segment as u16).to_ne_bytes());
            let header = &mut headers[i].msg_hdr;
            header.msg_name = std::ptr::from_ref(&self.destinations[run.destination].address).cast_mut().cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as _;
            header.msg_iov = &raw mut vectors[i];
            header.msg_iovlen = 1;
            if run.len > run.segment {
                header.msg_control = controls[i].0.as_mut_ptr().cast();
                header.msg_controllen = CONTROL as _;
            }
        }
        let mut sent = if self.mute { self.runs.len() } else { 0 };
        while sent < self.runs.len() {
            let waiting = &mut headers[sent..self.runs.len()];
            // SAFETY: the headers point into locals and `self`, which live through the call.
            let count = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), waiting.as_mut_ptr(), waiting.len() as _, 0) };
            anyhow::ensure!(count > 0, "sendmmsg: {}", std::io::Error::last_os_error());
            sent += count as usize;
            self.calls += 1;
        }
        self.runs_sent += sent;
        self.runs.clear();
        self.arena.clear();
        Ok(())
    }
}

fn sockaddr(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as _,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

/// Sends datagrams from a publisher with one system call, as one turn of a browser's pacer does.
pub fn send_together(socket: &UdpSocket, to: SocketAddrV4, datagrams: &[Vec<u8>]) -> anyhow::Result<()> {
    let address = sockaddr(to);
    let mut vectors: Vec<_> =
        datagrams.iter().map(|bytes| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }).collect();
    let mut headers: Vec<_> = vectors
        .iter_mut()
        .map(|vector| {
            // SAFETY: a C struct of integers and pointers, for which zeroes are valid.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = std::ptr::from_ref(&address).cast_mut().cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as _;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    // SAFETY: the headers point into locals and `datagrams`, which live through the call.
    let count = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as _, 0) };
    anyhow::ensure!(usize::try_from(count) == Ok(datagrams.len()), "sendmmsg sent {count}: {}", std::io::Error::last_os_error());
    Ok(())
}

//! Media at the socket, past the peer connection: for load, where one process is thousands of participants.
//!
//! The peer connection of `webrtc` negotiates, checks paths, does the DTLS handshake and carries data channels. RTP and RTCP, which it would
//! pass through a dozen queues and allocations a packet, are opened and sealed here, with the keys that the handshake exported ([`keys`]), in
//! batches as the kernel gives and takes them ([`socket`]). A receiver behaves as a browser does: it reports every second, asks for
//! what is missing and for keyframes ([`reception`]), and tells when packets arrived ([`arrivals`]). A sender answers such requests
//! ([`sending`]). None of it is the server's code but SRTP itself and the formats of RTP and RTCP.

mod arrivals;
mod keys;
mod reception;
mod sending;
mod socket;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use rtc::crypto::RTCCryptoProvider;
use switchyard_rtp::rtcp::{Packet, Packets, RtcpWriter};
use switchyard_rtp::srtp::{Opener, Sealer};

use crate::sdp;
use arrivals::Arrivals;
use keys::KeyTap;
use reception::Reception;
pub(crate) use sending::StreamName;
use sending::Transmission;
pub use sending::{Outgoing, Sender};
pub(crate) use socket::MediaSocket;
use socket::Port;

/// Bytes of a compound RTCP packet: what fits into a datagram on any line.
const MAX_RTCP: usize = 1200;

/// An RTP packet, decrypted.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Whose it is; of a retransmission (RFC 4588), the original's.
    pub ssrc: u32,
    /// Its number; of a retransmission, the original's.
    pub sequence: u16,
    /// On the media's clock.
    pub timestamp: u32,
    /// The last of a video frame, the first of a talk spurt.
    pub marker: bool,
    /// Without padding; of a retransmission, without the original's number. Empty: the number stands for nothing.
    pub payload: &'a [u8],
    /// When the kernel received it, on the clock of [`crate::now_micros`].
    pub at_micros: u64,
    /// Whether it came as a retransmission.
    pub retransmitted: bool,
}

/// Who looks at a participant's packets.
pub trait Sink: Send {
    /// Takes a packet; returns whether its source has to send a keyframe for decoding to go on. Called on the way of every packet, with the
    /// connection's lock held: it counts, and does nothing that waits.
    fn handle_packet(&mut self, arrival: &Arrival<'_>) -> bool;

    /// Told when packets of this process' own were late in being read, in microseconds, once for a batch.
    fn handle_lag(&mut self, micros: u64);

    /// Told that a keyframe of the participant's own stream `ssrc` is asked for, and when that came, as [`Arrival::at_micros`].
    fn handle_keyframe_request(&mut self, _ssrc: u32, _at_micros: u64) {}
}

/// A bad line for one participant.
#[derive(Clone, Debug)]
pub struct Lines {
    /// From the participant to the server.
    pub up: switchyard_netem::Config,
    /// From the server to the participant.
    pub down: switchyard_netem::Config,
    /// Of what happens by chance.
    pub seed: u64,
}

/// One participant's media.
pub(crate) struct Lane {
    keys: Arc<KeyTap>,
    lines: Option<Lines>,
    /// The socket it goes through, which belongs to the peer connection.
    port: OnceLock<Weak<Port>>,
    /// How often the peer connection is to be roused before its time.
    rouse: AtomicU8,
    state: Mutex<State>,
}

struct State {
    /// Another has taken its place.
    retired: bool,
    /// Once the handshake is done.
    crypto: Option<(Opener, Sealer)>,
    /// Where the peer connection sends what it sends.
    remote: Option<SocketAddr>,
    reception: Reception,
    transmission: Transmission,
    /// If the server is told when packets arrive.
    arrivals: Option<Arrivals>,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

impl Lane {
    /// `tells_arrivals`: by which the server estimates what the line carries.
    pub(crate) fn new(sink: Box<dyn Sink>, lines: Option<Lines>, tells_arrivals: bool) -> Arc<Self> {
        let state = State {
            retired: false,
            crypto: None,
            remote: None,
            reception: Reception::new(sink),
            transmission: Transmission::default(),
            arrivals: tells_arrivals.then(Arrivals::new),
        };
        Arc::new(Self { keys: Arc::new(KeyTap::new()), lines, port: OnceLock::new(), rouse: AtomicU8::new(0), state: Mutex::new(state) })
    }

    /// What takes its place in the participant's next session: `sink` goes over, and what still comes or is to be sent here goes nowhere.
    pub(crate) fn succeed(&self) -> Arc<Self> {
        let mut state = self.lock();
        (state.retired, state.crypto) = (true, None);
        let tells_arrivals = state.arrivals.is_some();
        Self::new(state.reception.retire(), self.lines.clone(), tells_arrivals)
    }

    /// What the peer connection has to use.
    pub(crate) fn provider(&self) -> Arc<dyn RTCCryptoProvider> {
        self.keys.clone()
    }

    /// Takes what the server's description says of its streams and of what it accepts.
    pub(crate) fn describe(&self, incoming: &[sdp::Incoming], sdp: &str) {
        let mut state = self.lock();
        state.reception.describe(incoming, &sdp::formats::formats(sdp));
        state.transmission.describe(sdp);
        if let Some(arrivals) = &mut state.arrivals {
            arrivals.describe(sdp);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A sink that panicked has lost count; the others go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A check was answered. What `rtc` makes of it, the handshake's first flight, it sends when its timer says so, which is set for the next check: it is to look at once. Twice,
    /// because once may be before it has heard the answer.
    fn rouse(&self) {
        self.rouse.store(2, Ordering::Relaxed);
    }

    /// Whether the peer connection is not to sleep now.
    pub(crate) fn is_roused(&self) -> bool {
        self.rouse.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |times| times.checked_sub(1)).is_ok()
    }

    /// The socket the participant's media goes through.
    fn attach(&self, port: &Arc<Port>) {
        let _ = self.port.set(Arc::downgrade(port));
    }

    fn port(&self) -> Option<Arc<Port>> {
        self.port.get()?.upgrade()
    }

    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.port()?.local_address()
    }

    /// Whether the server is told when packets arrive.
    fn tells_arrivals(&self) -> bool {
        self.lock().arrivals.is_some()
    }

    /// Tells of what has arrived.
    fn tell_arrivals(&self) {
        let (mut state, Some(port)) = (self.lock(), self.port()) else { return };
        let State { crypto: Some((_, sealer)), remote: Some(remote), arrivals: Some(arrivals), .. } = &mut *state else { return };
        let mut buffer = [0; MAX_RTCP + 32];
        let mut writer = RtcpWriter::new(&mut buffer[..MAX_RTCP]);
        arrivals.write(&mut writer);
        let len = writer.len();
        if len > 0
            && let Ok(len) = sealer.seal_rtcp(&mut buffer, len)
        {
            port.send(*remote, &buffer[..len]);
        }
    }

    fn lines(&self) -> Option<&Lines> {
        self.lines.as_ref()
    }

    /// The peer connection sends to `remote`, which is therefore where media goes too.
    fn set_remote(&self, remote: SocketAddr) {
        self.lock().remote = Some(remote);
    }

    /// Takes a batch of SRTP and SRTCP datagrams with the time of their arrival in microseconds, and sends what they ask for.
    fn handle_batch<'a>(&self, datagrams: impl Iterator<Item = (&'a mut [u8], u64)>) {
        let now = crate::now_micros();
        let mut state = self.lock();
        state.prepare(&self.keys);
        let mut first = None;
        // Whether there are keys or not: the iterator puts aside what is not media as it goes.
        for (datagram, at) in datagrams {
            first.get_or_insert(at);
            state.handle_datagram(datagram, at);
        }
        if let Some(first) = first {
            state.reception.handle_lag(now.saturating_sub(first));
        }
        if let Some(port) = self.port() {
            state.feed_back(now, &port);
        }
    }
}

impl State {
    /// Whether there are keys.
    fn prepare(&mut self, keys: &KeyTap) -> bool {
        if self.crypto.is_none()
            && !self.retired
            && let Some(keys) = keys.keys()
        {
            self.crypto = Some((Opener::new(keys.profile, &keys.remote), Sealer::new(keys.profile, &keys.local)));
        }
        self.crypto.is_some()
    }

    fn handle_datagram(&mut self, datagram: &mut [u8], at_micros: u64) {
        let Some((opener, _)) = &mut self.crypto else { return };
        // RFC 5761 §4: the packet types of RTCP are told from payload types by the second byte.
        if datagram.get(1).is_some_and(|second| (192..224).contains(second)) {
            let Ok(len) = opener.open_rtcp(datagram) else { return };
            for packet in Packets::parse(&datagram[..len]).map_while(Result::ok) {
                self.handle_rtcp(&packet, at_micros);
            }
            return;
        }
        // What is forged, or the same datagram again, which the replay window drops, is not counted.
        if let Ok(opened) = opener.open_rtp(datagram) {
            if let Some(arrivals) = &mut self.arrivals {
                arrivals.handle(&opened.header, datagram, at_micros);
            }
            let payload = &datagram[opened.header.payload(opened.len)];
            self.reception.handle_rtp(&opened.header, payload, at_micros);
        }
    }

    fn handle_rtcp(&mut self, packet: &Packet<'_>, at_micros: u64) {
        match packet {
            Packet::SenderReport(report) => self.reception.handle_sender_report(report.ssrc, report.ntp, at_micros),
            Packet::ReceiverReport(report) => report.reports().for_each(|block| self.transmission.acknowledged(block.ssrc)),
            Packet::Nack(nack) => self.transmission.handle_nack(nack.media, nack.sequences()),
            Packet::PictureLossIndication { media, .. } => self.handle_keyframe_request(*media, at_micros),
            Packet::FullIntraRequest(request) => {
                for (ssrc, _) in request.entries() {
                    self.handle_keyframe_request(ssrc, at_micros);
                }
            }
            _ => {}
        }
    }

    fn handle_keyframe_request(&mut self, ssrc: u32, at_micros: u64) {
        self.transmission.keyframe_requested(ssrc);
        self.reception.handle_keyframe_request(ssrc, at_micros);
    }

    /// Sends what is asked for, missing or due.
    fn feed_back(&mut self, now: u64, port: &Port) {
        let (Some((_, sealer)), Some(remote)) = (&mut self.crypto, self.remote) else { return };
        self.transmission.retransmit(now, sealer, |datagram| port.send(remote, datagram));
        let mut buffer = [0; MAX_RTCP + 32];
        let mut writer = RtcpWriter::new(&mut buffer[..MAX_RTCP]);
        self.reception.write_feedback(now, &mut writer);
        let len = writer.len();
        if len > 0
            && let Ok(len) = sealer.seal_rtcp(&mut buffer, len)
        {
            port.send(remote, &buffer[..len]);
        }
    }
}

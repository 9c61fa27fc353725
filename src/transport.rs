//! One participant's end of the peer connection: negotiation, DTLS and data channels, and what the worker is told of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_forward::{Command, IceCredentials, ReceiverConfig, SenderConfig, Simulcast};
use switchyard_negotiation::{
    Config, Event as Negotiated, Limits, Mode, NegotiationError, Negotiator, Offer, Receiver, Sender, Simulcast as Encodings, Slot,
};
use switchyard_protocol::{CloseReason, ErrorCode, Kind, ParticipantId, ProtocolError, VideoCodec};
use switchyard_room::{Codecs, SlotMids};
use switchyard_rtp::{Codec, MediaKind};
use switchyard_session::{ChannelId, Event as SessionEvent, Session};

use crate::delivery::{Delivery, TooMany};
use crate::outbox::Close;
use crate::peers::{Channel, Relayed};
use crate::rooms::Seat;
use crate::server::Server;

/// The labels of the data channels that are relayed between participants; messages on others go nowhere.
const CHANNELS: [(&str, Channel); 2] = [("switchyard", Channel::Reliable), ("switchyard-lossy", Channel::Lossy)];
/// In a binary relayed message: everybody else, instead of a participant's id.
const EVERYBODY: u32 = u32::MAX;
/// Bytes of payload in a relayed message: what every browser's data channel takes.
const MAX_RELAY_BYTES: usize = 64 * 1024;
/// Between two times that a client is told how many messages it missed: they are many when there are any.
const MISSED_INTERVAL: Duration = Duration::from_secs(1);

/// How long a client may take to begin the transport anew after its DTLS has failed here: as long as to restart ICE.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(60);
/// How long a client that closed its DTLS has to say that it leaves: browsers do both at once, over different ways.
const LEAVE_GRACE: Duration = Duration::from_secs(2);

/// Negotiation and DTLS of one participant.
pub struct Transport {
    negotiator: Negotiator,
    session: Session,
    /// When the offer in flight is given up, unless the client is not connected.
    offer_deadline: Option<Instant>,
    /// Whether the client hears of offers.
    connected: bool,
    /// When the session ends because the client closed its DTLS, or did not begin anew after that had failed.
    closed_deadline: Option<Instant>,
    mode: Mode,
    /// DTLS was up once, for this peer connection or one before.
    was_secure: bool,
    /// The client is to be told to begin anew.
    renewal_due: bool,
    /// When a session ends that nothing but its DTLS keeps alive, unless that is up by then.
    handshake_deadline: Option<Instant>,
    request_timeout: Duration,
    /// What goes over the client's latest reliable channel.
    delivery: Delivery,
    /// Its latest lossy one.
    lossy: Option<ChannelId>,
    /// Messages of reliable channels that the client missed, and when it is told.
    missed: u32,
    missed_due: Option<Instant>,
}

impl Transport {
    /// Begins to answer STUN.
    pub async fn open(server: &Server, seat: &Seat, mode: Mode) -> Result<Self, ProtocolError> {
        let ice = fresh_credentials(seat)?;
        seat.command(Command::AddPeer { peer: seat.peer, ice: ice.clone() }).await;
        let handshake_deadline = (mode != Mode::Meeting).then(|| Instant::now() + server.request_timeout);
        Ok(Self {
            negotiator: negotiator(server, mode, negotiated(ice))?,
            session: Session::new(server.certificate.clone()),
            offer_deadline: None,
            connected: true,
            closed_deadline: None,
            mode,
            was_secure: false,
            renewal_due: false,
            handshake_deadline,
            request_timeout: server.request_timeout,
            delivery: Delivery::new(mode == Mode::Meeting),
            lossy: None,
            missed: 0,
            missed_due: None,
        })
    }

    /// Begins anew, with nothing negotiated and another DTLS session, for another peer connection of the client's, to which `received` reliable messages have
    /// come on the one before. How many have come from there; the others are sent again. `Err`: nothing changed.
    pub async fn renew(&mut self, server: &Server, seat: &mut Seat, received: u32) -> Result<u32, ProtocolError> {
        let too_many = |TooMany| ProtocolError::new(ErrorCode::WrongState, "the server has not sent that many messages");
        let (came, lost) = self.delivery.renew(received).map_err(too_many)?;
        seat.renew().await?;
        let next = Self::open(server, seat, Mode::Meeting).await?;
        let before = std::mem::replace(self, next);
        (self.connected, self.delivery, self.was_secure) = (before.connected, before.delivery, before.was_secure);
        (self.missed, self.missed_due) = (before.missed, before.missed_due);
        self.missed(Instant::now(), lost);
        Ok(came)
    }

    /// Whether its media is, or was, secure.
    pub const fn was_secure(&self) -> bool {
        self.was_secure
    }

    /// Whether the client is to be told to begin anew; once.
    pub fn poll_renewal(&mut self) -> bool {
        std::mem::take(&mut self.renewal_due)
    }

    /// The client's offer; `None`: ignored, it collided with the server's.
    pub fn handle_offer(&mut self, sdp: &str, seat: &Seat) -> Result<Option<String>, ProtocolError> {
        let fresh = fresh_credentials(seat)?;
        self.negotiator.handle_offer(sdp, || negotiated(fresh)).map_err(refused)
    }

    /// The client's answer.
    pub fn handle_answer(&mut self, revision: u32, sdp: &str) -> Result<(), ProtocolError> {
        self.negotiator.handle_answer(revision, sdp).map_err(refused)?;
        self.offer_deadline = None;
        Ok(())
    }

    /// A fragment with candidates, or one that restarts ICE and is answered by another.
    pub fn handle_fragment(&mut self, fragment: &str, seat: &Seat) -> Result<Option<String>, ProtocolError> {
        let fresh = fresh_credentials(seat)?;
        self.negotiator.handle_fragment(fragment, || negotiated(fresh)).map_err(refused)
    }

    /// What tells this ICE session from others, after a restart as well.
    pub fn ice_session(&self) -> &str {
        &self.negotiator.local_ice().ufrag
    }

    /// A trickled candidate; empty: no more will come.
    pub fn handle_candidate(&mut self, candidate: &str, mid: Option<&str>) -> Result<(), ProtocolError> {
        self.negotiator.handle_candidate(candidate, mid).map_err(refused)
    }

    /// Refuses to publish an m-line that can't carry the source. One that is not negotiated yet can.
    pub fn check_publish(&self, mid: &str, kind: Kind) -> Result<(), ProtocolError> {
        let kind = match kind {
            Kind::Audio => MediaKind::Audio,
            Kind::Video => MediaKind::Video,
        };
        let fits = self.negotiator.receivers().iter().find(|receiver| receiver.mid == mid).is_none_or(|receiver| receiver.kind == kind);
        let receives = self.negotiator.slots().iter().any(|slot| slot.audio.mid == mid || slot.video.mid == mid);
        if fits && !receives {
            return Ok(());
        }
        Err(ProtocolError::new(ErrorCode::InvalidMid, "this m-line can't carry this source"))
    }

    /// Wants this many slots from now on.
    pub fn set_slots(&mut self, count: usize) {
        self.negotiator.set_slots(count);
    }

    /// A DTLS datagram of the client's.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        self.session.handle_datagram(now, datagram);
    }

    /// The client is heard again after a gap, or over another path: what was sent in vain is sent again.
    pub fn hurry(&mut self, now: Instant) {
        self.session.hurry(now);
    }

    /// Sends another participant's message on, if the client has a channel of its kind.
    pub fn relay(&mut self, now: Instant, message: &Arc<Relayed>) {
        match (message.channel, self.lossy) {
            (Channel::Reliable, _) => {
                let lost = self.delivery.send(now, message, &mut self.session);
                self.missed(now, u32::from(lost));
            }
            (Channel::Lossy, Some(channel)) => {
                // Whoever minds that it is lost does not send it this way.
                let _ = self.session.send(now, channel, message.text, message.bytes.clone());
            }
            (Channel::Lossy, None) => {}
        }
    }

    /// So many messages did not even come here.
    pub fn missed(&mut self, now: Instant, messages: u32) {
        self.missed = self.missed.saturating_add(messages);
        if messages > 0 {
            self.missed_due.get_or_insert(now + MISSED_INTERVAL);
        }
    }

    /// How many messages the client is to be told that it missed.
    pub fn poll_missed(&mut self, now: Instant) -> Option<u32> {
        self.missed_due.take_if(|due| *due <= now)?;
        Some(std::mem::take(&mut self.missed))
    }

    /// Whether the client hears of offers. One in flight is waited for anew once it does again.
    pub fn set_connected(&mut self, now: Instant, connected: bool) {
        if connected && !self.connected {
            self.offer_deadline = self.offer_deadline.map(|_| now + self.request_timeout);
        }
        self.connected = connected;
    }

    /// When [`Transport::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let offer_deadline = self.offer_deadline.filter(|_| self.connected);
        let own = [offer_deadline, self.closed_deadline, self.handshake_deadline, self.missed_due];
        own.into_iter().chain([self.delivery.poll_timeout(), self.session.poll_timeout()]).flatten().min()
    }

    /// Does what is due: DTLS and SCTP timers; an offer that was not answered in time is given up, which the client is to be told.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<Option<ProtocolError>, Close> {
        if self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
        self.delivery.tell(now, &mut self.session);
        if self.closed_deadline.is_some_and(|at| at <= now) {
            return Err(Close::Because(CloseReason::TransportFailed));
        }
        if self.handshake_deadline.is_some_and(|at| at <= now) {
            return Err(Close::Because(CloseReason::TransportTimeout));
        }
        if self.connected && self.offer_deadline.is_some_and(|at| at <= now) {
            self.offer_deadline = None;
            self.negotiator.rollback();
            return Ok(Some(ProtocolError::new(ErrorCode::Timeout, "the server's offer was not answered in time; it is made again")));
        }
        Ok(None)
    }

    /// Carries out what negotiation and session want done; the offer, if there is one now, is for the client. To be called after anything
    /// else was.
    pub async fn drive(&mut self, now: Instant, seat: &Seat) -> Result<Option<Offer>, Close> {
        while let Some(event) = self.negotiator.poll_event() {
            self.negotiated(event, seat).await?;
        }
        let mut is_any = false;
        loop {
            is_any |= self.transmit(now, seat).await;
            let event = self.session.poll_event();
            let is_keys = matches!(event, Some(SessionEvent::Keys(_)));
            // The keys are for what comes after the flight that ends the handshake: both at once. Anything else may wait for the room.
            if std::mem::replace(&mut is_any, is_keys) && !is_keys {
                seat.ring();
            }
            let Some(event) = event else { break };
            self.session_event(now, event, seat).await?;
        }
        let offer = self.negotiator.poll_offer();
        if offer.is_some() {
            self.offer_deadline = Some(now + self.request_timeout);
        }
        Ok(offer)
    }

    /// Says goodbye to the client's DTLS.
    pub async fn close(&mut self, now: Instant, seat: &Seat) {
        self.session.close(now);
        self.transmit(now, seat).await;
        seat.ring();
    }

    /// Puts what the session sends before the worker, which is to be rung for. Whether there was anything.
    async fn transmit(&mut self, now: Instant, seat: &Seat) -> bool {
        let mut is_any = false;
        while let Some(datagram) = self.session.poll_transmit(now) {
            seat.put(Command::Send { peer: seat.peer, datagram }).await;
            is_any = true;
        }
        is_any
    }

    async fn negotiated(&mut self, event: Negotiated, seat: &Seat) -> Result<(), Close> {
        let peer = seat.peer;
        match event {
            Negotiated::RemoteChanged => {
                if let Some(remote) = self.negotiator.remote()
                    && let Err(error) = self.session.set_remote_fingerprint(&remote.fingerprint)
                {
                    tracing::info!(peer = peer.0, %error, "a fingerprint was refused");
                    return Err(Close::Because(CloseReason::TransportFailed));
                }
            }
            Negotiated::IceRestarted => {
                let ice = self.negotiator.local_ice();
                let ice = IceCredentials { ufrag: ice.ufrag.clone(), pwd: ice.pwd.clone() };
                let client = self.negotiator.remote().map_or_else(String::new, |remote| remote.ice.ufrag.clone());
                seat.command(Command::RestartIce { peer, ice, client }).await;
            }
            Negotiated::ReceiversChanged => {
                let receivers = self.negotiator.receivers().iter().filter(|receiver| receiver.active).map(receiver_config).collect();
                seat.command(Command::SetReceivers { peer, receivers }).await;
            }
            Negotiated::SlotsChanged => {
                let slots = self.negotiator.slots();
                let senders = slots.iter().flat_map(|slot| [&slot.audio, &slot.video]).map(sender_config).collect();
                seat.command(Command::SetSenders { peer, senders }).await;
                seat.slots_changed(slots.iter().map(slot_mids).collect(), decoded(slots)).await;
            }
        }
        Ok(())
    }

    async fn session_event(&mut self, now: Instant, event: SessionEvent, seat: &Seat) -> Result<(), Close> {
        match event {
            SessionEvent::Keys(keys) => {
                tracing::debug!(peer = seat.peer.0, profile = ?keys.profile, "DTLS is up");
                self.handshake_deadline = None;
                self.was_secure = true;
                // Rung for with the flight that ends the handshake.
                seat.put(Command::SetKeys { peer: seat.peer, keys: Box::new(keys) }).await;
            }
            SessionEvent::Failed(reason) => {
                tracing::info!(peer = seat.peer.0, %reason, "DTLS failed");
                if self.was_secure && self.mode == Mode::Meeting {
                    self.renewal_due = true;
                    self.closed_deadline = Some(now + RENEWAL_PATIENCE);
                    return Ok(());
                }
                return Err(Close::Because(CloseReason::TransportFailed));
            }
            SessionEvent::Closed => self.closed_deadline = Some(now + LEAVE_GRACE),
            SessionEvent::ChannelOpened { id, label, .. } => {
                match CHANNELS.iter().find(|(known, _)| label == *known).map(|(_, kind)| kind) {
                    Some(Channel::Reliable) => {
                        let lost = self.delivery.open(now, id, &mut self.session);
                        self.missed(now, lost);
                    }
                    Some(Channel::Lossy) => self.lossy = Some(id),
                    None => {}
                }
            }
            SessionEvent::ChannelClosed(id) => {
                self.delivery.close(id);
                self.lossy.take_if(|channel| *channel == id);
            }
            SessionEvent::Message { channel, text, data } => {
                if self.delivery.is_on(channel) {
                    if self.delivery.take(now, text, &data) {
                        relay_out(Channel::Reliable, text, &data, seat).await;
                    }
                } else if self.lossy == Some(channel) {
                    relay_out(Channel::Lossy, text, &data, seat).await;
                }
            }
        }
        Ok(())
    }
}

/// Gives a client's message to the room. One that names nobody or is too long is dropped: a data channel has no replies.
async fn relay_out(channel: Channel, text: bool, data: &[u8], seat: &Seat) {
    if let Some((to, payload)) = destination(text, data)
        && payload.len() <= MAX_RELAY_BYTES
    {
        seat.relay(to, channel, text, payload.to_vec()).await;
    }
}

/// Whom a data channel message is for (`None`: all others), and what it says: text is `<to>\n<payload>` with `*` for all others; binary begins
/// with the id in four bytes, big-endian.
fn destination(text: bool, data: &[u8]) -> Option<(Option<ParticipantId>, &[u8])> {
    if text {
        // Ten digits hold any id.
        let line = data.iter().take(11).position(|&byte| byte == b'\n')?;
        let to = match &data[..line] {
            b"*" => None,
            digits => Some(ParticipantId(std::str::from_utf8(digits).ok()?.parse().ok()?)),
        };
        return Some((to, &data[line + 1..]));
    }
    let (to, payload) = data.split_first_chunk()?;
    let to = u32::from_be_bytes(*to);
    Some(((to != EVERYBODY).then_some(ParticipantId(to)), payload))
}

/// The m-lines on which a client will send that makes this offer, in order; or why the offer is refused. Nobody hears of it.
pub fn preview(server: &Server, mode: Mode, sdp: &str) -> Result<Vec<(String, MediaKind)>, ProtocolError> {
    let nobodys = switchyard_negotiation::IceCredentials { ufrag: String::new(), pwd: String::new() };
    let mut negotiator = negotiator(server, mode, nobodys.clone())?;
    negotiator.handle_offer(sdp, || nobodys).map_err(refused)?;
    Ok(negotiator.receivers().iter().map(|receiver| (receiver.mid.clone(), receiver.kind)).collect())
}

fn negotiator(server: &Server, mode: Mode, ice: switchyard_negotiation::IceCredentials) -> Result<Negotiator, ProtocolError> {
    Ok(Negotiator::new(Config {
        mode,
        session_id: getrandom::u64().map_err(no_randomness)?,
        seed: getrandom::u64().map_err(no_randomness)?,
        ice,
        candidates: server.candidates.clone(),
        fingerprint: server.certificate.fingerprint().to_owned(),
        limits: Limits::default(),
        shared: Arc::clone(&server.descriptions),
    }))
}

fn fresh_credentials(seat: &Seat) -> Result<IceCredentials, ProtocolError> {
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(no_randomness)?;
    Ok(IceCredentials::generate(seat.worker, random))
}

/// What a client is told when the system has no randomness to give.
pub fn no_randomness(error: getrandom::Error) -> ProtocolError {
    tracing::error!(%error, "no randomness for a session");
    ProtocolError::new(ErrorCode::Internal, "no randomness for a session")
}

fn negotiated(ice: IceCredentials) -> switchyard_negotiation::IceCredentials {
    switchyard_negotiation::IceCredentials { ufrag: ice.ufrag, pwd: ice.pwd }
}

fn refused(error: NegotiationError) -> ProtocolError {
    let code = match error {
        NegotiationError::NoOffer | NegotiationError::Revision { .. } => ErrorCode::WrongState,
        NegotiationError::Candidate => ErrorCode::InvalidCandidate,
        _ => ErrorCode::InvalidSdp,
    };
    ProtocolError::new(code, error.to_string())
}

fn receiver_config(receiver: &Receiver) -> ReceiverConfig {
    ReceiverConfig {
        mid: receiver.mid.clone(),
        kind: receiver.kind,
        payloads: receiver.payloads.clone(),
        extensions: receiver.extensions,
        ssrcs: receiver.ssrcs.iter().map(|pair| (pair.ssrc, pair.rtx)).collect(),
        simulcast: match &receiver.simulcast {
            Encodings::Off => Simulcast::Off,
            Encodings::Rids(rids) => Simulcast::Rids(rids.clone()),
            Encodings::Ssrcs => Simulcast::Ssrcs,
        },
        nack: receiver.feedback.nack,
        transport_cc: receiver.feedback.transport_cc,
    }
}

fn sender_config(sender: &Sender) -> Option<SenderConfig> {
    sender.active.then(|| SenderConfig {
        codecs: sender.codecs.clone(),
        extensions: sender.extensions,
        mid: sender.mid.clone(),
        kind: sender.kind,
        ssrc: sender.ssrc,
        rtx_ssrc: sender.rtx_ssrc,
        nack: sender.feedback.nack,
        remb: sender.feedback.remb,
    })
}

fn slot_mids(slot: &Slot) -> SlotMids {
    let mid = |sender: &Sender| sender.active.then(|| sender.mid.clone());
    SlotMids { audio: mid(&slot.audio), video: mid(&slot.video) }
}

/// What the client decodes in all slots on which it receives video; `None` if there is none.
fn decoded(slots: &[Slot]) -> Option<Codecs> {
    let videos = slots.iter().map(|slot| &slot.video).filter(|video| video.active);
    let decoded =
        |video: &Sender| VideoCodec::ALL.into_iter().filter(|codec| video.codecs.media(profile(*codec)).is_some()).collect::<Codecs>();
    videos.map(decoded).reduce(Codecs::intersection)
}

/// A codec in the profile that publishers choose it in.
fn profile(codec: VideoCodec) -> Codec {
    match codec {
        VideoCodec::Vp8 => Codec::Vp8,
        VideoCodec::Vp9 => Codec::Vp9Profile0,
        VideoCodec::H264 => Codec::H264ConstrainedBaseline1,
        VideoCodec::Av1 => Codec::Av1,
        VideoCodec::H265 => Codec::H265,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_channel_message_names_its_destination() {
        let ben = Some(ParticipantId(7));
        assert_eq!(destination(true, b"*\nhi\nthere"), Some((None, &b"hi\nthere"[..])));
        assert_eq!(destination(true, b"7\n"), Some((ben, &b""[..])));
        assert_eq!(destination(false, &[0, 0, 0, 7, 1, 2]), Some((ben, &[1, 2][..])));
        assert_eq!(destination(false, &[255, 255, 255, 255]), Some((None, &[][..])));
        for malformed in [&b""[..], b"7", b"\nhi", b"-1\nhi", b"12345678901\nhi", b"4294967296\nhi", b"\xff\nhi"] {
            assert_eq!(destination(true, malformed), None, "{malformed:?}");
        }
        assert_eq!(destination(false, &[0, 0, 1]), None);
    }
}

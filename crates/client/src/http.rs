//! A session by HTTP: a publisher by WHIP (RFC 9725) or a player by WHEP (draft-ietf-wish-whep), with media at the socket. Any server that
//! speaks these will do.

mod exchange;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hyper::{Method, StatusCode};
use switchyard_protocol::Kind;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::debug;
use url::Url;
use webrtc::peer_connection::PeerConnection;

use crate::client::Feedback;
use crate::direct::{Lane, Lines, Sender, Sink};
use crate::error::ClientError;
use crate::peer::{Line, Peer, PeerEvent, PeerOptions, rtx_of};
use crate::sdp::formats::{Formats, formats};
use crate::sdp::fragment;
use crate::state::Transport;
use exchange::{Exchange, address};

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// Redirections that are followed: to a region, to a node, to one to spare.
const MAX_REDIRECTS: usize = 3;
/// How long gathering may take: a socket's own address is known at once.
const GATHERING: Duration = Duration::from_secs(1);
/// Between the first SSRCs of two sessions: more m-lines than WHIP knows uses for.
const SSRCS: u32 = 16;

/// Why a session by HTTP can't be had, or has ended.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is none of `http://host[:port]/path`.
    #[error("not an http:// URL: {0:?}")]
    Url(String),
    /// The address asks for TLS.
    #[error("TLS is not spoken here, only http://, not {0:?}")]
    Tls(String),
    /// The server can't be reached, or went away during a request.
    #[error("can't connect: {0}")]
    Connect(String),
    /// The server did not answer in time.
    #[error("unanswered for {0:?}")]
    Timeout(Duration),
    /// The server answered with an error.
    #[error("refused ({status} {code}): {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem's `code`, as this project's server names it; empty if there is none.
        code: String,
        /// For people.
        detail: String,
        /// Whether another try may succeed.
        retryable: bool,
    },
    /// The server answered with something of no use.
    #[error("the server's answer is of no use: {0}")]
    Answer(String),
    /// The peer connection failed at something.
    #[error(transparent)]
    Peer(#[from] ClientError),
    /// The transport did not connect in time, or was given up.
    #[error("the transport is {state:?} after {after:?}")]
    NotConnected {
        /// How long was waited.
        after: Duration,
        /// How far it was.
        state: Transport,
    },
}

/// A publisher or a player. Dropping it ends its connection; [`HttpSession::leave`] tells the server before.
pub struct HttpSession {
    peer: Peer,
    lane: Arc<Lane>,
    /// What is published, with what the server agreed to; taken by [`HttpSession::senders`].
    lines: Vec<(Line, Formats)>,
    /// The session at the server.
    resource: Option<Url>,
    etag: Option<String>,
    answer: String,
    /// `candidate:…`, of the one socket.
    candidates: Vec<String>,
    transport: watch::Receiver<Transport>,
    /// Ends the connection by being dropped.
    _alive: oneshot::Sender<()>,
}

impl std::fmt::Debug for HttpSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSession")
            .field("resource", &self.resource)
            .field("transport", &*self.transport.borrow())
            .finish_non_exhaustive()
    }
}

impl HttpSession {
    /// Publishes one track for each of `kinds` at a WHIP endpoint: Opus and VP8. The packets come from [`HttpSession::senders`]; `sink` gets
    /// nothing. `lines`: a bad line that everything but HTTP goes over.
    pub async fn publish(url: &str, kinds: &[Kind], sink: Box<dyn Sink>, lines: Option<Lines>) -> Result<Self, HttpError> {
        Self::start(url, kinds, &[], Lane::new(sink, lines, false)).await
    }

    /// Plays on `audio` and `video` m-lines at a WHEP endpoint; what comes goes to `sink`.
    pub async fn play(url: &str, audio: usize, video: usize, sink: Box<dyn Sink>, lines: Option<Lines>) -> Result<Self, HttpError> {
        // In turn: servers may pair them up.
        let pairs = (0..audio.max(video)).flat_map(|at| [(at < audio).then_some(Kind::Audio), (at < video).then_some(Kind::Video)]);
        Self::start(url, &[], &pairs.flatten().collect::<Vec<_>>(), Lane::new(sink, lines, false)).await
    }

    async fn start(url: &str, sending: &[Kind], receiving: &[Kind], lane: Arc<Lane>) -> Result<Self, HttpError> {
        static NEXT_SSRC: AtomicU32 = AtomicU32::new(0x0200_0000);
        let mut url = address(url)?;
        let mut exchange = Exchange::open(&url).await?;
        let (events, mut from_peer) = mpsc::unbounded_channel();
        let options =
            PeerOptions { local: exchange.local, server: exchange.server, feedback: Feedback::NONE, srtp: None, lane: Some(lane.clone()) };
        let mut peer = Peer::new(options, Arc::default(), events).await?;
        // Servers may pass them on, so they differ within this process.
        let first_ssrc = NEXT_SSRC.fetch_add(SSRCS, Ordering::Relaxed) & 0x7fff_ffff;
        let mut own = Vec::new();
        for (ssrc, kind) in (first_ssrc..).zip(sending) {
            own.push(peer.add_line(*kind, ssrc, Vec::new()).await?);
        }
        for kind in receiving {
            peer.add_receiving_line(*kind).await?;
        }
        let (alive, over) = oneshot::channel();
        let offer = peer.offer(false).await?;
        let candidates = gather(&mut from_peer).await;
        let (transport, watched) = watch::channel(Transport::New);
        tokio::spawn(attend(peer.connection(), from_peer, transport, over));

        let offer = fragment::with_candidates(&offer, &candidates);
        let mut response = exchange.send(Method::POST, &url, Some(SDP), None, offer.clone()).await?;
        for _ in 0..MAX_REDIRECTS {
            if !response.is_redirect() {
                break;
            }
            let elsewhere = response.location(&url).ok_or_else(|| HttpError::Answer("a redirection to nowhere".into()))?;
            url = address(elsewhere.as_str())?;
            exchange = Exchange::open(&url).await?;
            response = exchange.send(Method::POST, &url, Some(SDP), None, offer.clone()).await?;
        }
        if response.status != StatusCode::CREATED {
            return Err(response.refusal());
        }
        let (resource, etag) = (response.location(&url), response.etag());
        let mut session =
            Self { peer, lane, lines: Vec::new(), resource, etag, answer: response.body, candidates, transport: watched, _alive: alive };
        match session.take_up(own).await {
            Ok(()) => Ok(session),
            Err(error) => {
                // Nobody else knows of the session that the server has made.
                let _ = session.leave().await;
                Err(error)
            }
        }
    }

    /// Applies the answer, and finds what it says of each track.
    async fn take_up(&mut self, own: Vec<Line>) -> Result<(), HttpError> {
        self.apply().await?;
        let mut agreed = formats(&self.answer);
        for line in own {
            let mid = self.peer.mid(&line).await.unwrap_or_default();
            let index = agreed.iter().position(|formats| formats.mid == mid && formats.receives);
            let formats = index.map(|index| agreed.swap_remove(index)).filter(|formats| formats.codec(codec(line.kind)).is_some());
            let formats = formats.ok_or_else(|| HttpError::Answer(format!("no {} on m-line {mid}", codec(line.kind))))?;
            self.lines.push((line, formats));
        }
        Ok(())
    }

    async fn apply(&mut self) -> Result<(), HttpError> {
        self.peer.apply_answer(&self.answer).await?;
        self.lane.describe(self.peer.incoming(), &self.answer);
        Ok(())
    }

    /// What sends the packets of each track, in the order they were published. There is one for each track: a second call returns none.
    pub fn senders(&mut self) -> Vec<Sender> {
        let sender = |(line, formats): (Line, Formats)| {
            let (payload_type, repair) = formats.codec(codec(line.kind))?;
            let rtx = repair.filter(|_| line.kind == Kind::Video).map(|payload_type| (rtx_of(line.ssrc), payload_type));
            Some(Sender::new(self.lane.clone(), line.kind, line.ssrc, payload_type, rtx, None))
        };
        self.lines.drain(..).filter_map(sender).collect()
    }

    /// Waits until media flows.
    pub async fn wait_connected(&self, timeout: Duration) -> Result<(), HttpError> {
        let mut transport = self.transport.clone();
        let settled = transport.wait_for(|state| *state == Transport::Connected || is_over(*state));
        let state = match tokio::time::timeout(timeout, settled).await {
            Ok(Ok(state)) if *state == Transport::Connected => return Ok(()),
            _ => *self.transport.borrow(),
        };
        Err(HttpError::NotConnected { after: timeout, state })
    }

    /// Waits until the transport is given up, which it is half a minute after the last sign of life.
    pub async fn wait_over(&self) {
        let _ = self.transport.clone().wait_for(|state| is_over(*state)).await;
    }

    /// The local address of the media socket.
    pub fn media_address(&self) -> Option<SocketAddr> {
        self.lane.local_address()
    }

    /// Restarts ICE (RFC 9725 §4.3.3), and waits until a path is there again: other credentials on both sides, on the same socket.
    pub async fn restart_ice(&mut self, timeout: Duration) -> Result<(), HttpError> {
        self.transport.borrow_and_update();
        let resource = self.resource.clone().ok_or_else(|| HttpError::Answer("the session has no address".into()))?;
        let offer = self.peer.offer(true).await?;
        let restarted = self.ask_for_restart(&resource, &offer).await;
        if restarted.is_err() {
            self.peer.roll_back().await?;
        }
        self.answer = restarted?;
        self.apply().await?;
        // It begins to connect anew, whatever it was before.
        let mut transport = self.transport.clone();
        let _ = tokio::time::timeout(timeout, transport.changed()).await;
        self.wait_connected(timeout).await
    }

    async fn ask_for_restart(&mut self, resource: &Url, offer: &str) -> Result<String, HttpError> {
        let fragment = fragment::restart(offer, &self.candidates).ok_or_else(|| HttpError::Answer("an offer without m-lines".into()))?;
        let exchange = Exchange::open(&address(resource.as_str())?).await?;
        let response = exchange.send(Method::PATCH, resource, Some(FRAGMENT), Some("*"), fragment).await?;
        if response.status != StatusCode::OK {
            return Err(response.refusal());
        }
        self.etag = response.etag();
        let answer = fragment::restarted(&self.answer, &response.body);
        answer.ok_or_else(|| HttpError::Answer("a restart without credentials".into()))
    }

    /// The ICE session, as the server names it.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Ends the session at the server and here. A server that knows nothing of it any more has ended it already.
    pub async fn leave(self) -> Result<(), HttpError> {
        let Some(resource) = &self.resource else { return Ok(()) };
        let exchange = Exchange::open(&address(resource.as_str())?).await?;
        let response = exchange.send(Method::DELETE, resource, None, None, String::new()).await?;
        match response.status {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            _ => Err(response.refusal()),
        }
    }
}

/// The codec that is published, as SDP names it.
fn codec(kind: Kind) -> &'static str {
    match kind {
        Kind::Audio => "opus",
        Kind::Video => "vp8",
    }
}

fn is_over(state: Transport) -> bool {
    matches!(state, Transport::Failed | Transport::Closed)
}

/// The candidates of the one socket, which are there at once; an offer goes out without them if they are not.
async fn gather(from_peer: &mut mpsc::UnboundedReceiver<PeerEvent>) -> Vec<String> {
    let mut candidates = Vec::new();
    let all = async {
        loop {
            match from_peer.recv().await {
                Some(PeerEvent::Candidate { candidate, .. }) => candidates.push(candidate),
                Some(PeerEvent::EndOfCandidates) | None => return,
                Some(_) => {}
            }
        }
    };
    if tokio::time::timeout(GATHERING, all).await.is_err() {
        debug!("gathering does not end");
    }
    candidates
        .iter_mut()
        .filter(|candidate| !candidate.starts_with("candidate:"))
        .for_each(|candidate| candidate.insert_str(0, "candidate:"));
    candidates
}

/// Follows the transport until the session is gone, and closes the connection then.
async fn attend(
    connection: Arc<dyn PeerConnection>,
    mut from_peer: mpsc::UnboundedReceiver<PeerEvent>,
    transport: watch::Sender<Transport>,
    mut over: oneshot::Receiver<()>,
) {
    loop {
        tokio::select! {
            event = from_peer.recv() => match event {
                Some(PeerEvent::Transport(state)) => drop(transport.send_replace(state)),
                Some(_) => {}
                None => break,
            },
            _ = &mut over => break,
        }
    }
    let _ = connection.close().await;
}

//! One participant: the task behind a WebSocket or an HTTP session that has entered a room.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use switchyard_negotiation::Mode;
use switchyard_protocol::{
    Answered, ClientMessage, CloseReason, DecodeError, ErrorCode, Event, IceServer, IceServers, Joined, Kind, LeaveReason, ParticipantId,
    ProtocolError, Renewed, Reply, Request, ServerMessage, Session, Snapshot, VERSION,
};
use switchyard_room::{Bucket, Entrant, Knock, Pass, Rate};
use tokio::sync::{oneshot, watch};

use crate::outbox::{Broadcast, Close};
use crate::peers::{Inbox, Notice, PathNotice};
use crate::rooms::manage::Ice;
use crate::rooms::{Outside, Seat};
use crate::server::Server;
use crate::signaling::stopped;
use crate::transport::Transport;

/// How long a client may take to restart ICE after nothing authenticated was heard of it for 30 s.
const RESTART_PATIENCE: Duration = Duration::from_secs(60);
/// Between two times that a client is asked to restart ICE: what gathering candidates anew and checking them takes on a bad line.
const RESTART_INTERVAL: Duration = Duration::from_secs(5);

/// How often a client may begin its transport anew: a handshake and two session descriptions each time. No network fails faster for long.
const RENEWALS: Rate = Rate { burst: 5, per_second: 1 };

/// Notices handled in one turn, beside the first; DTLS waits meanwhile, for some hundred microseconds at most.
const NOTICES_IN_A_TURN: usize = 255;

/// Where a participant's requests come from, and where goes what its client is told.
pub trait Link {
    /// What comes next. Nothing is lost if the future is dropped.
    fn next(&mut self) -> impl Future<Output = Incoming> + Send;

    /// Tells the client something, if this link can; sooner or later, if it can't now.
    fn send(&mut self, message: &ServerMessage);

    /// Tells the client what many are told.
    fn broadcast(&mut self, broadcast: &Broadcast);

    /// Nothing more is said for now.
    fn flush(&mut self) {}

    /// Whether the client hears what it is told.
    fn is_connected(&self) -> bool {
        true
    }

    /// Events for the client were lost before they came here.
    fn missed(&mut self) {}

    /// After [`Incoming::Behind`]: the room as it is.
    fn catch_up(&mut self, _: Snapshot) -> Result<(), Close> {
        Ok(())
    }
}

/// What a client wants.
pub enum Incoming {
    /// A message of the protocol, or what is wrong with it; answered by [`Link::send`].
    Message(Result<ClientMessage, DecodeError>),
    /// An ICE fragment; whoever brought it waits for the answer.
    Patch(Patch),
    /// The client has missed more than it can be told: it is to be told the room as it is, by [`Link::catch_up`].
    Behind,
    /// No more, and what to say to that.
    Closed(Close),
}

/// An ICE fragment (RFC 8840) and what it is for.
pub struct Patch {
    /// The ICE sessions it may be applied to; `None`: to any.
    pub ice_sessions: Option<Vec<String>>,
    pub fragment: String,
    pub reply: oneshot::Sender<Result<Patched, ProtocolError>>,
}

/// What came of a [`Patch`].
pub enum Patched {
    /// Its candidates were taken note of.
    Trickled,
    /// ICE begins anew under the server's credentials in `fragment`. `ice_servers`: with credentials that are good from now on.
    Restarted { ice_session: String, fragment: String, ice_servers: Vec<IceServer> },
}

/// A participant and everything its task owns.
pub struct Participant {
    server: Arc<Server>,
    /// What the client calls this server.
    host: Option<String>,
    /// Who they are to TURN servers: nobody else, in any room.
    turn_user: u64,
    seat: Seat,
    inbox: Inbox,
    transport: Transport,
    /// How they join and since when, until their media is secure.
    joining: Option<(Mode, Instant)>,
    request_timeout: Duration,
    /// When the session ends unless the client is heard again.
    expiry: Option<Instant>,
    /// When the client is to be asked to restart ICE, of whom nothing is heard.
    restart: Option<Instant>,
    /// How often the room was asked for what it is, and hasn't answered yet. Only the last answer counts.
    snapshots: u32,
    renewals: Bucket,
}

impl Participant {
    /// Takes a seat in a room, or begins to wait for one.
    ///
    /// `host`: what the client calls this server (RFC 9110 §7.2).
    pub async fn enter(
        server: &Arc<Server>,
        room: &str,
        entrant: Entrant,
        knock: &Knock,
        mode: Mode,
        host: Option<String>,
    ) -> Result<Self, Outside> {
        let asked = Instant::now();
        let (mailbox, inbox) = crate::peers::mailbox(mode == Mode::Meeting);
        let seat = tokio::time::timeout(server.request_timeout, server.rooms.join(room, entrant, knock, mailbox))
            .await
            .unwrap_or_else(|_| Err(timeout().into()))?;
        let transport = Transport::open(server, &seat, mode).await?;
        Ok(Self {
            server: Arc::clone(server),
            host,
            turn_user: getrandom::u64().map_err(crate::transport::no_randomness)?,
            seat,
            inbox,
            transport,
            joining: Some((mode, asked)),
            request_timeout: server.request_timeout,
            expiry: None,
            restart: None,
            snapshots: 0,
            renewals: Bucket::new(RENEWALS),
        })
    }

    /// Who it is in the room.
    pub fn id(&self) -> ParticipantId {
        self.seat.participant
    }

    /// What tells this ICE session from others, after a restart as well.
    pub fn ice_session(&self) -> &str {
        self.transport.ice_session()
    }

    /// What a client is told on entering.
    pub fn joined(&mut self, room: String, name: String, pass: Pass, session: Session) -> Joined {
        Joined {
            version: VERSION,
            room,
            participant: self.seat.participant,
            name,
            identity: pass.identity,
            grants: pass.grants,
            settings: self.seat.settings,
            participants: std::mem::take(&mut self.seat.participants),
            ice_servers: self.ice_servers(),
            relay_only: self.ice().relay_only.unwrap_or(self.server.relay_only),
            limits: crate::server::limits(),
            session,
        }
    }

    /// Answers the offer of a client that makes no other, and publishes what it will send.
    pub async fn accept(&mut self, sdp: &str, publications: Vec<Request>) -> Result<String, ProtocolError> {
        let collided = || ProtocolError::new(ErrorCode::Internal, "the offer met one of the server's");
        let answer = self.transport.handle_offer(sdp, &self.seat)?.ok_or_else(collided)?;
        let failed = |_| ProtocolError::new(ErrorCode::Internal, "the session could not be set up");
        self.transport.drive(Instant::now(), &self.seat).await.map_err(failed)?;
        for publication in publications {
            self.ask_room(publication).await?;
        }
        Ok(answer)
    }

    /// Runs until the participant leaves, is lost or is sent away; how the client is told.
    pub async fn run(mut self: Box<Self>, link: &mut impl Link, stop: watch::Receiver<bool>) -> Close {
        let stopped = stopped(stop);
        tokio::pin!(stopped);
        let close = loop {
            self.transport.set_connected(Instant::now(), link.is_connected());
            let deadline = [self.transport.poll_timeout(), self.expiry, self.restart].into_iter().flatten().min();
            let step = tokio::select! {
                incoming = link.next() => self.incoming(incoming, link).await,
                Some(notice) = self.inbox.notices.recv() => self.notices(notice, link),
                () = self.inbox.missed.notified() => {
                    link.missed();
                    Ok(())
                }
                Some(datagram) = self.inbox.datagrams.recv() => {
                    self.transport.handle_datagram(Instant::now(), &datagram);
                    Ok(())
                }
                Some(message) = self.inbox.relayed.recv() => {
                    self.transport.relay(Instant::now(), &message);
                    self.transport.missed(Instant::now(), self.inbox.relayed.take_missed());
                    Ok(())
                }
                () = sleep_until(deadline) => self.timeout(Instant::now(), link),
                () = self.inbox.overrun.notified() => Err(Close::Because(CloseReason::TooSlow)),
                () = self.seat.lost() => Err(self.without_room()),
                () = stopped.as_mut() => Err(Close::Because(CloseReason::ShuttingDown)),
            };
            let step = match step {
                Ok(()) => self.drive(link).await,
                Err(close) => Err(close),
            };
            if let Err(close) = step {
                break close;
            }
            link.flush();
        };
        self.end(&close).await;
        close
    }

    async fn drive(&mut self, link: &mut impl Link) -> Result<(), Close> {
        if let Some(messages) = self.transport.poll_missed(Instant::now()) {
            link.send(&ServerMessage::Event { event: Event::DataMissed { messages } });
        }
        if let Some(offer) = self.transport.drive(Instant::now(), &self.seat).await? {
            link.send(&ServerMessage::Event { event: Event::Offer { revision: offer.revision, sdp: offer.sdp } });
        }
        if self.transport.was_secure()
            && let Some((mode, asked)) = self.joining.take()
        {
            self.server.metrics.connected(mode, asked);
        }
        if self.transport.poll_renewal() {
            link.send(&ServerMessage::Event { event: Event::Renew });
        }
        Ok(())
    }

    async fn end(mut self: Box<Self>, close: &Close) {
        self.transport.close(Instant::now(), &self.seat).await;
        self.seat.reason = match close {
            Close::Left => LeaveReason::Left,
            Close::Gone | Close::Because(CloseReason::TransportFailed | CloseReason::TransportTimeout) => LeaveReason::ConnectionLost,
            Close::Because(
                CloseReason::ShuttingDown
                | CloseReason::ProtocolViolation
                | CloseReason::TooSlow
                | CloseReason::ResumedElsewhere
                | CloseReason::Removed,
            ) => LeaveReason::Removed,
            Close::Because(CloseReason::RoomClosed) => LeaveReason::RoomClosed,
            Close::Because(CloseReason::Moved) | Close::Moved(_) => LeaveReason::Moved,
        };
        tracing::debug!(peer = self.seat.peer.0, ?close, "a session ended");
    }

    async fn incoming(&mut self, incoming: Incoming, link: &mut impl Link) -> Result<(), Close> {
        match incoming {
            Incoming::Message(Ok(ClientMessage { id, request })) => {
                let leaves = matches!(request, Request::Leave);
                link.send(&match self.answer(request).await {
                    Ok(result) => ServerMessage::Reply { id, result },
                    Err(error) => ServerMessage::Error { id: Some(id), error },
                });
                if leaves {
                    return Err(Close::Left);
                }
            }
            Incoming::Message(Err(refused)) => link.send(&ServerMessage::Error { id: refused.id, error: refused.error }),
            Incoming::Patch(Patch { ice_sessions, fragment, reply }) => {
                // Who asked may have gone meanwhile.
                let _ = reply.send(self.patch(ice_sessions, &fragment));
            }
            Incoming::Behind => {
                self.snapshots += 1;
                self.seat.look().await;
            }
            Incoming::Closed(close) => return Err(close),
        }
        Ok(())
    }

    fn patch(&mut self, ice_sessions: Option<Vec<String>>, fragment: &str) -> Result<Patched, ProtocolError> {
        if ice_sessions.is_some_and(|sessions| !sessions.iter().any(|session| session == self.transport.ice_session())) {
            return Err(ProtocolError::new(ErrorCode::WrongState, "ICE was restarted meanwhile"));
        }
        Ok(match self.transport.handle_fragment(fragment, &self.seat)? {
            Some(fragment) => {
                Patched::Restarted { ice_session: self.transport.ice_session().to_owned(), fragment, ice_servers: self.ice_servers() }
            }
            None => Patched::Trickled,
        })
    }

    async fn answer(&mut self, request: Request) -> Result<Reply, ProtocolError> {
        match request {
            Request::Ping { .. } => Ok(Reply::Pong),
            Request::IceServers => Ok(Reply::IceServers(IceServers { ice_servers: self.ice_servers() })),
            Request::Leave => Ok(Reply::Done),
            Request::Join { .. } | Request::Resume { .. } => {
                Err(ProtocolError::new(ErrorCode::AlreadyJoined, "this connection has joined a room already"))
            }
            Request::Renew { received } => self.renew(received).await,
            Request::Offer { sdp } => Ok(match self.transport.handle_offer(&sdp, &self.seat)? {
                Some(sdp) => Reply::Answer(Answered { sdp }),
                None => Reply::Ignored,
            }),
            Request::Answer { revision, sdp } => self.transport.handle_answer(revision, &sdp).map(|()| Reply::Done),
            Request::Candidate { candidate, mid } => self.transport.handle_candidate(&candidate, mid.as_deref()).map(|()| Reply::Done),
            Request::EndOfCandidates => Ok(Reply::Done),
            Request::Publish { ref mid, source, .. } => {
                self.transport.check_publish(mid, source.kind())?;
                self.ask_room(request).await
            }
            Request::BackUp { ref backup, .. } => {
                if let Some(backup) = backup {
                    self.transport.check_publish(&backup.mid, Kind::Video)?;
                }
                self.ask_room(request).await
            }
            Request::Unpublish { .. }
            | Request::Mute { .. }
            | Request::Subscribe { .. }
            | Request::Unsubscribe { .. }
            | Request::Pause { .. }
            | Request::View { .. }
            | Request::Rename { .. }
            | Request::Chat { .. }
            | Request::Remove { .. }
            | Request::Ban { .. }
            | Request::Configure { .. }
            | Request::Admit { .. }
            | Request::Deny { .. } => self.ask_room(request).await,
        }
    }

    /// Begins the transport anew. What is still to come of the one before is not handled.
    async fn renew(&mut self, received: u32) -> Result<Reply, ProtocolError> {
        if !self.renewals.take(Instant::now(), 1) {
            return Err(ProtocolError::new(ErrorCode::RateLimited, "the transport begins anew too often; wait a moment"));
        }
        let received = self.transport.renew(&self.server, &mut self.seat, received).await?;
        while self.inbox.datagrams.try_recv().is_some() {}
        (self.expiry, self.restart) = (None, None);
        Ok(Reply::Renewed(Renewed { received, ice_servers: self.ice_servers() }))
    }

    async fn ask_room(&mut self, request: Request) -> Result<Reply, ProtocolError> {
        tokio::time::timeout(self.request_timeout, self.seat.request(request)).await.unwrap_or_else(|_| Err(timeout()))
    }

    /// A notice and those that wait behind it: they come in crowds, and each turn costs more than a notice.
    fn notices(&mut self, notice: Notice, link: &mut impl Link) -> Result<(), Close> {
        self.notice(notice, link)?;
        for _ in 0..NOTICES_IN_A_TURN {
            let Some(notice) = self.inbox.notices.try_recv() else { break };
            self.notice(notice, link)?;
        }
        Ok(())
    }

    /// The room is no more: because it was closed, or its last participant moved, if it has said so.
    fn without_room(&mut self) -> Close {
        let mut notices = std::iter::from_fn(|| self.inbox.notices.try_recv());
        let told = notices.find_map(|notice| match notice {
            Notice::Removed(reason) => Some(Close::Because(reason)),
            Notice::Moved(destination) => Some(Close::Moved(destination)),
            _ => None,
        });
        told.unwrap_or(Close::Gone)
    }

    fn notice(&mut self, notice: Notice, link: &mut impl Link) -> Result<(), Close> {
        match notice {
            Notice::Event(broadcast) => link.broadcast(&broadcast),
            Notice::Snapshot(snapshot) => {
                self.snapshots -= 1;
                if self.snapshots == 0 {
                    link.catch_up(*snapshot)?;
                }
            }
            Notice::SetSlots(count) => self.transport.set_slots(count),
            Notice::Dismissed => return Err(Close::Left),
            Notice::Removed(reason) => return Err(Close::Because(reason)),
            Notice::Moved(destination) => return Err(Close::Moved(destination)),
            Notice::Path(peer, notice) if peer == self.seat.peer => self.path(notice),
            Notice::Path(..) => {}
        }
        Ok(())
    }

    fn path(&mut self, notice: PathNotice) {
        match notice {
            PathNotice::Connected => {
                (self.expiry, self.restart) = (None, None);
                self.transport.hurry(Instant::now());
            }
            PathNotice::Heard => self.restart = None,
            PathNotice::Silent => self.restart = Some(Instant::now()),
            PathNotice::Recovered => self.transport.hurry(Instant::now()),
            PathNotice::Expired => self.expiry = Some(Instant::now() + RESTART_PATIENCE),
        }
    }

    /// What helps the client to find a path, beside the server's own addresses.
    pub fn ice_servers(&self) -> Vec<IceServer> {
        let of_the_room = self.ice().servers.clone().filter(|servers| !servers.is_empty());
        of_the_room.unwrap_or_else(|| self.server.turn.ice_servers(self.turn_user, self.host.as_deref()))
    }

    fn ice(&self) -> MutexGuard<'_, Ice> {
        // Whoever held it has left what is to be.
        self.seat.ice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timeout(&mut self, now: Instant, link: &mut impl Link) -> Result<(), Close> {
        if self.expiry.is_some_and(|at| at <= now) {
            return Err(Close::Because(CloseReason::TransportTimeout));
        }
        if self.restart.is_some_and(|at| at <= now) {
            self.restart = Some(now + RESTART_INTERVAL);
            // Who has just come back over another network restarts ICE anyway.
            if link.is_connected() {
                link.send(&ServerMessage::Event { event: Event::RestartIce { ice_servers: self.ice_servers() } });
            }
        }
        if let Some(error) = self.transport.handle_timeout(now)? {
            link.send(&ServerMessage::Error { id: None, error });
        }
        Ok(())
    }
}

fn timeout() -> ProtocolError {
    ProtocolError::new(ErrorCode::Timeout, "the server did not get to it in time")
}

/// Returns at `deadline`, or never.
pub async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

//! One participant: the task behind a WebSocket that has joined a room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_protocol::{
    Answered, ClientMessage, CloseReason, ErrorCode, Joined, LeaveReason, ProtocolError, Reply, Request, ServerMessage, VERSION,
};
use tokio::sync::watch;

use crate::outbox::{Close, Outbox};
use crate::peers::{Inbox, Notice};
use crate::rooms::Seat;
use crate::server::Server;
use crate::signaling::{Incoming, Reader, stopped};
use crate::transport::Transport;

/// How long a client may take to restart ICE after nothing authenticated was heard of it for 30 s.
const RESTART_PATIENCE: Duration = Duration::from_secs(60);

/// A participant and everything its task owns.
pub struct Participant {
    seat: Seat,
    inbox: Inbox,
    transport: Transport,
    request_timeout: Duration,
    /// When the session ends unless the client is heard again.
    expiry: Option<Instant>,
}

impl Participant {
    /// Takes a seat in a room; with what the client is told of it.
    pub async fn join(server: &Arc<Server>, room: String, name: String) -> Result<(Self, Joined), ProtocolError> {
        let (mailbox, inbox) = crate::peers::mailbox();
        let mut seat = tokio::time::timeout(server.request_timeout, server.rooms.join(&room, name, mailbox))
            .await
            .unwrap_or_else(|_| Err(timeout()))?;
        let transport = Transport::open(server, &seat).await.map_err(|error| {
            tracing::error!(%error, "no randomness for a session");
            ProtocolError::new(ErrorCode::Internal, "no randomness for a session")
        })?;
        let joined = Joined {
            version: VERSION,
            room,
            participant: seat.participant,
            participants: std::mem::take(&mut seat.participants),
            ice_servers: Vec::new(),
            limits: crate::server::limits(),
        };
        Ok((Self { seat, inbox, transport, request_timeout: server.request_timeout, expiry: None }, joined))
    }

    /// Runs until the participant leaves, is lost or is sent away.
    pub async fn run(mut self, outbox: Outbox, reader: &mut Reader, stop: watch::Receiver<bool>) {
        let stopped = stopped(stop);
        tokio::pin!(stopped);
        let close = loop {
            let deadline = [self.transport.poll_timeout(), self.expiry].into_iter().flatten().min();
            let step = tokio::select! {
                incoming = reader.next() => self.incoming(incoming, reader, &outbox).await,
                Some(notice) = self.inbox.notices.recv() => self.notice(notice, &outbox),
                Some(datagram) = self.inbox.datagrams.recv() => {
                    self.transport.handle_datagram(Instant::now(), &datagram);
                    Ok(())
                }
                Some(message) = self.inbox.relayed.recv() => {
                    self.transport.relay(Instant::now(), &message);
                    Ok(())
                }
                () = sleep_until(deadline) => self.timeout(Instant::now(), &outbox),
                () = self.inbox.overrun.notified() => Err(Close::Because(CloseReason::TooSlow)),
                () = self.seat.lost() => Err(Close::Gone),
                () = stopped.as_mut() => Err(Close::Because(CloseReason::ShuttingDown)),
            };
            let step = match step {
                Ok(()) => self.transport.drive(Instant::now(), &self.seat, &outbox).await,
                Err(close) => Err(close),
            };
            if let Err(close) = step {
                break close;
            }
        };
        self.end(close).await;
        outbox.close(close);
    }

    async fn end(mut self, close: Close) {
        self.transport.close(Instant::now(), &self.seat).await;
        self.seat.reason = match close {
            Close::Left => LeaveReason::Left,
            Close::Gone | Close::Because(CloseReason::TransportFailed | CloseReason::TransportTimeout) => LeaveReason::ConnectionLost,
            Close::Because(CloseReason::ShuttingDown | CloseReason::ProtocolViolation | CloseReason::TooSlow) => LeaveReason::Removed,
        };
        tracing::debug!(peer = self.seat.peer.0, ?close, "a session ended");
    }

    async fn incoming(&mut self, incoming: Incoming, reader: &mut Reader, outbox: &Outbox) -> Result<(), Close> {
        let message = match incoming {
            Incoming::Closed(close) => return Err(close),
            Incoming::Frame(frame) => reader.decode(frame),
        };
        let ClientMessage { id, request } = match message {
            Ok(message) => message,
            Err(refused) => return send(outbox, &ServerMessage::Error { id: refused.id, error: refused.error }),
        };
        let leaves = matches!(request, Request::Leave);
        let message = match self.answer(request).await {
            Ok(result) => ServerMessage::Reply { id, result },
            Err(error) => ServerMessage::Error { id: Some(id), error },
        };
        send(outbox, &message)?;
        if leaves { Err(Close::Left) } else { Ok(()) }
    }

    async fn answer(&mut self, request: Request) -> Result<Reply, ProtocolError> {
        match request {
            Request::Ping => Ok(Reply::Pong),
            Request::Leave => Ok(Reply::Done),
            Request::Join { .. } => Err(ProtocolError::new(ErrorCode::AlreadyJoined, "this connection has joined a room already")),
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
            Request::Unpublish { .. }
            | Request::Mute { .. }
            | Request::Subscribe { .. }
            | Request::Unsubscribe { .. }
            | Request::Pause { .. }
            | Request::Rename { .. }
            | Request::Chat { .. } => self.ask_room(request).await,
        }
    }

    async fn ask_room(&mut self, request: Request) -> Result<Reply, ProtocolError> {
        tokio::time::timeout(self.request_timeout, self.seat.request(request)).await.unwrap_or_else(|_| Err(timeout()))
    }

    fn notice(&mut self, notice: Notice, outbox: &Outbox) -> Result<(), Close> {
        match notice {
            Notice::Event(broadcast) => outbox.broadcast(&broadcast).map_err(|_| Close::Because(CloseReason::TooSlow))?,
            Notice::SetSlots(count) => self.transport.set_slots(count),
            Notice::Connected => self.expiry = None,
            Notice::Expired => self.expiry = Some(Instant::now() + RESTART_PATIENCE),
        }
        Ok(())
    }

    fn timeout(&mut self, now: Instant, outbox: &Outbox) -> Result<(), Close> {
        if self.expiry.is_some_and(|at| at <= now) {
            return Err(Close::Because(CloseReason::TransportTimeout));
        }
        self.transport.handle_timeout(now, outbox)
    }
}

fn send(outbox: &Outbox, message: &ServerMessage) -> Result<(), Close> {
    outbox.send(message).map_err(|_| Close::Because(CloseReason::TooSlow))
}

fn timeout() -> ProtocolError {
    ProtocolError::new(ErrorCode::Timeout, "the server did not get to it in time")
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

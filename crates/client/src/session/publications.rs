//! Publications: from the wish to publish over the m-line and the request to the task that sends.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use switchyard_protocol::{Kind, Request, TrackId};
use tokio::sync::watch;

use super::{Answer, Done, Session};
use crate::direct::{Sender, StreamName};
use crate::error::ClientError;
use crate::media::Publish;
use crate::peer::{Line, rtx_of};
use crate::publisher::{Publication, Publisher};
use crate::state::{Published, Transport};

/// One publication, from the wish to the end.
pub(super) struct Entry {
    pub(super) number: u16,
    pub(super) line: Arc<Line>,
    pub(super) publish: Publish,
    pub(super) sent: Arc<AtomicU64>,
    pub(super) progress: Progress,
}

pub(super) enum Progress {
    /// Its m-line is not negotiated yet. Who asked for it waits, unless it was live in a session before.
    Waiting(Option<Done<TrackId>>),
    /// `publish` is under way.
    Asked(String, Option<Done<TrackId>>),
    /// The room knows it.
    Live(TrackId, Publisher),
}

impl Progress {
    /// The track, once it is one.
    pub(super) fn live(&self) -> Option<TrackId> {
        match self {
            Self::Live(track, _) => Some(*track),
            Self::Waiting(_) | Self::Asked(..) => None,
        }
    }
}

impl Session {
    /// Publishes on m-lines that are negotiated by now.
    pub(super) async fn ask_to_publish(&mut self) {
        for index in 0..self.publications.len() {
            if !matches!(self.publications[index].progress, Progress::Waiting(_)) {
                continue;
            }
            let Some(mid) = self.peer.mid(&self.publications[index].line).await else { continue };
            let entry = &mut self.publications[index];
            let (number, source, muted) = (entry.number, entry.publish.source, entry.publish.muted);
            if let Progress::Waiting(done) = std::mem::replace(&mut entry.progress, Progress::Waiting(None)) {
                entry.progress = Progress::Asked(mid.clone(), done);
            }
            self.request(Request::Publish { mid, source, muted }, Answer::Published { publication: number }).await;
        }
    }

    pub(super) async fn add_line(&mut self, kind: Kind, encodings: &[String]) -> Result<Arc<Line>, ClientError> {
        let line = Arc::new(self.peer.add_line(kind, self.next_ssrc, encodings.to_vec()).await?);
        self.next_ssrc += encodings.len().max(1) as u32;
        self.lines.push(line.clone());
        Ok(line)
    }

    /// An m-line of this kind and with these encodings that no publication uses; a new one if there is none.
    pub(super) async fn free_line(&mut self, kind: Kind, encodings: &[String]) -> Result<Arc<Line>, ClientError> {
        let used = |line: &&Arc<Line>| self.publications.iter().any(|entry| Arc::ptr_eq(&entry.line, line));
        if let Some(line) = self.lines.iter().find(|line| line.kind == kind && line.encodings == encodings && !used(line)) {
            return Ok(line.clone());
        }
        let line = self.add_line(kind, encodings).await?;
        self.wanted.get_or_insert_default();
        Ok(line)
    }

    pub(super) async fn publish(&mut self, publish: Publish, done: Done<TrackId>) {
        let kind = publish.source.kind();
        if publish.media.kind().is_some_and(|media| media != kind) {
            let _ = done.send(Err(ClientError::WrongKind(publish.source)));
            return;
        }
        match self.free_line(kind, &publish.encodings).await {
            Ok(line) => {
                let number = self.next_publication;
                self.next_publication = number.wrapping_add(1);
                self.publications.push(Entry { number, line, publish, sent: Arc::default(), progress: Progress::Waiting(Some(done)) });
            }
            Err(error) => drop(done.send(Err(error))),
        }
    }

    pub(super) fn go_live(&mut self, number: u16, track: TrackId) {
        let me = self.state.borrow().me;
        let Some(entry) = self.publications.iter_mut().find(|entry| entry.number == number) else { return };
        let keyframe_requests = Arc::new(AtomicU64::new(0));
        self.meter.lock().count_keyframe_requests(entry.line.ssrc, keyframe_requests.clone());
        let publisher = Publisher::start(Publication {
            line: entry.line.clone(),
            media: entry.publish.media.clone(),
            publisher: me,
            number,
            sent: entry.sent.clone(),
            keyframe_requests,
            reports: self.options.feedback.reports,
        });
        let asked = std::mem::replace(&mut entry.progress, Progress::Live(track, publisher));
        if let Progress::Asked(mid, done) = asked {
            let (source, muted, sent) = (entry.publish.source, entry.publish.muted, entry.sent.clone());
            self.state.send_modify(|state| {
                state.published.insert(track, Published { mid, source, muted, publication: number, wanted: (u16::MAX, u16::MAX), sent });
            });
            if let Some(done) = done {
                let _ = done.send(Ok(track));
            }
        }
        self.open_gates();
    }

    /// In a new session, gives everything that is published, or is to be, an m-line again; what was sent in the last one is another count.
    pub(super) async fn publish_again(&mut self) -> Result<(), ClientError> {
        for index in 0..self.publications.len() {
            let before = self.publications[index].line.clone();
            let line = self.free_line(before.kind, &before.encodings).await?;
            let entry = &mut self.publications[index];
            entry.line = line;
            entry.sent = Arc::default();
            entry.progress = match std::mem::replace(&mut entry.progress, Progress::Waiting(None)) {
                Progress::Waiting(done) | Progress::Asked(_, done) => Progress::Waiting(done),
                Progress::Live(..) => Progress::Waiting(None),
            };
        }
        Ok(())
    }

    /// Lets those publications send that may.
    pub(super) fn open_gates(&self) {
        // Whom nothing came back from may hear all the same, and will when the network is back.
        let flows = matches!(self.state.borrow().transport, Transport::Connected | Transport::Disconnected);
        for entry in &self.publications {
            if let Progress::Live(_, publisher) = &entry.progress {
                publisher.set_open(flows && self.sending && !entry.publish.muted);
            }
        }
    }

    pub(super) fn set_muted(&mut self, track: TrackId, muted: bool) {
        for entry in &mut self.publications {
            if entry.progress.live() == Some(track) {
                entry.publish.muted = muted;
            }
        }
        self.state.send_modify(|state| {
            if let Some(published) = state.published.get_mut(&track) {
                published.muted = muted;
            }
        });
        self.open_gates();
    }

    /// What sends the packets of each encoding of a track of this client's past the peer connection.
    pub(super) fn senders(&self, track: TrackId) -> Result<Vec<Sender>, ClientError> {
        let entry = self.publications.iter().find(|entry| entry.progress.live() == Some(track));
        let line = entry.map(|entry| &entry.line).ok_or(ClientError::NotDirect(track))?;
        let lane = self.lane.as_ref().ok_or(ClientError::NotDirect(track))?;
        let mid = self.state.borrow().published.get(&track).map(|published| published.mid.clone()).unwrap_or_default();
        let names: Vec<Option<String>> =
            if line.encodings.is_empty() { vec![None] } else { line.encodings.iter().cloned().map(Some).collect() };
        let sender = |(ssrc, rid): (u32, Option<String>)| {
            let rtx = line.rtx_payload_type().map(|payload_type| (rtx_of(ssrc), payload_type));
            let name = rid.map(|rid| StreamName { mid: mid.clone(), rid });
            Sender::new(lane.clone(), line.kind, ssrc, line.payload_type(), rtx, name)
        };
        Ok((line.ssrc..).zip(names).map(sender).collect())
    }

    /// Stops or starts everything, and answers when the last packet is counted.
    pub(super) fn set_sending(&mut self, sending: bool, done: Done<()>) {
        self.sending = sending;
        self.open_gates();
        let mut resting: Vec<watch::Receiver<bool>> = Vec::new();
        if !sending {
            resting.extend(self.publications.iter().filter_map(|entry| match &entry.progress {
                Progress::Live(_, publisher) => Some(publisher.resting()),
                _ => None,
            }));
        }
        tokio::spawn(async move {
            for publisher in &mut resting {
                let _ = publisher.wait_for(|resting| *resting).await;
            }
            let _ = done.send(Ok(()));
        });
    }
}

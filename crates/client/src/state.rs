//! What a client knows of its room and of its own session.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use switchyard_protocol::{ChatMessage, Event, Joined, Participant, ParticipantId, SlotAssignment, Snapshot, Source, Track, TrackId};

use crate::error::Closed;

/// A snapshot of what a client knows; replaced as a whole with every change.
#[derive(Clone, Debug)]
pub struct State {
    /// The room's id.
    pub room: String,
    /// Who the client is.
    pub me: ParticipantId,
    /// Everybody else in the room, with what they publish.
    pub participants: BTreeMap<ParticipantId, Participant>,
    /// What each receiving m-line carries, by mid; an m-line that carries nothing is not in it.
    pub slots: BTreeMap<String, TrackId>,
    /// What the client publishes itself.
    pub published: BTreeMap<TrackId, Published>,
    /// Whether the connection for signaling is lost and another is being tried. Media goes on as it can.
    pub reconnecting: bool,
    /// How far the peer connection is.
    pub transport: Transport,
    /// Whether messages can be sent over the data channel.
    pub data_channel_open: bool,
    /// What negotiation did so far.
    pub negotiation: Negotiation,
    /// What was wrong with the last of [`Negotiation::failed`], if there is one.
    pub negotiation_failure: Option<String>,
    /// Why the session is over, if it is.
    pub closed: Option<Closed>,
}

/// A track of the client's own.
#[derive(Clone, Debug)]
pub struct Published {
    /// The m-line it is sent on.
    pub mid: String,
    /// What it shows.
    pub source: Source,
    /// Whether it is muted; a muted track sends nothing.
    pub muted: bool,
    /// Its number among the client's publications, as in [`crate::Stamp::publication`].
    pub publication: u16,
    /// How large it is shown at most, across and down, in pixels: 65,535 each until the server says something else.
    pub wanted: (u16, u16),
    pub(crate) sent: Arc<AtomicU64>,
}

impl Published {
    /// RTP packets sent so far.
    pub fn packets_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// How far a peer connection is (WebRTC 1.0 §4.3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Not yet negotiated.
    #[default]
    New,
    /// ICE or DTLS are at work.
    Connecting,
    /// Media and data flow.
    Connected,
    /// Nothing came back for a while.
    Disconnected,
    /// Given up.
    Failed,
    /// Closed by the client.
    Closed,
}

/// Counts of what negotiation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Negotiation {
    /// Offers the client sent.
    pub offers: u32,
    /// Those of them the server answered.
    pub answered: u32,
    /// Those of them the server ignored because they collided with its own.
    pub ignored: u32,
    /// The client's offers taken back for one of the server's.
    pub rolled_back: u32,
    /// The server's offers the client answered.
    pub server_offers: u32,
    /// Descriptions of the server's that the peer connection did not take.
    pub failed: u32,
    /// Whether neither side waits for an answer.
    pub stable: bool,
    /// m-lines in the last description of the server.
    pub media_lines: usize,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum ClientEvent {
    /// Signaling told of something; everything but offers, which the client answers itself.
    Room(Event),
    /// A message came over the data channel.
    Data(DataMessage),
    /// The session goes on over another connection.
    Resumed {
        /// Whether more was missed than the server kept: [`State`] is right, but not everything that happened was told, nor everything that was said.
        missed: bool,
    },
    /// The server did not know the session any more. The participant is in the room again under another id; what was published is being published
    /// again, as other tracks, over another peer connection.
    Rejoined {
        /// Who the client is now.
        me: ParticipantId,
    },
    /// Another peer connection took the place of the one before. The participant is the same; what was published is being published again, as the same
    /// tracks.
    Renewed,
    /// The session is over; the last event.
    Closed(Closed),
}

/// A message of another participant, relayed over the data channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataMessage {
    /// Who sent it.
    pub from: ParticipantId,
    /// What they sent.
    pub payload: DataPayload,
}

/// The two kinds of messages a data channel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataPayload {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

impl State {
    pub(crate) fn new(joined: Joined) -> Self {
        Self {
            room: joined.room,
            me: joined.participant,
            participants: by_id(joined.participants),
            slots: BTreeMap::new(),
            published: BTreeMap::new(),
            reconnecting: false,
            transport: Transport::New,
            data_channel_open: false,
            negotiation: Negotiation::default(),
            negotiation_failure: None,
            closed: None,
        }
    }

    /// The tracks of the others.
    pub fn tracks(&self) -> impl Iterator<Item = (ParticipantId, &Track)> {
        self.participants.values().flat_map(|participant| participant.tracks.iter().map(move |track| (participant.id, track)))
    }

    /// Who publishes a track.
    pub fn publisher_of(&self, track: TrackId) -> Option<ParticipantId> {
        self.tracks().find(|(_, other)| other.id == track).map(|(publisher, _)| publisher)
    }

    /// Whether every track of the others is in a slot.
    pub fn all_tracks_in_slots(&self) -> bool {
        self.tracks().all(|(_, track)| self.slots.values().any(|carried| *carried == track.id))
    }

    /// Takes in what an event tells of the room.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Slots { slots } => slots.iter().for_each(|slot| self.apply_slot(slot)),
            Event::ParticipantJoined { participant } => {
                self.participants.insert(participant.id, participant.clone());
            }
            Event::ParticipantLeft { participant, reason: _ } => {
                self.participants.remove(participant);
            }
            Event::ParticipantChanged { participant, name } => {
                if let Some(participant) = self.participants.get_mut(participant) {
                    participant.name.clone_from(name);
                }
            }
            Event::TrackPublished { participant, track } => {
                if let Some(participant) = self.participants.get_mut(participant) {
                    participant.tracks.retain(|other| other.id != track.id);
                    participant.tracks.push(*track);
                }
            }
            Event::TrackUnpublished { participant, track } => {
                if let Some(participant) = self.participants.get_mut(participant) {
                    participant.tracks.retain(|other| other.id != *track);
                }
            }
            Event::TrackMuted { participant, track, muted, by: _ } => {
                if let Some(participant) = self.participants.get_mut(participant) {
                    participant.tracks.iter_mut().filter(|other| other.id == *track).for_each(|other| other.muted = *muted);
                }
            }
            Event::Wanted { track, width, height } => {
                if let Some(published) = self.published.get_mut(track) {
                    published.wanted = (*width, *height);
                }
            }
            Event::Offer { .. }
            | Event::RestartIce { .. }
            | Event::Renew
            | Event::GrantsChanged { .. }
            | Event::Settings { .. }
            | Event::Waiting
            | Event::Guests { .. }
            | Event::DataMissed { .. }
            | Event::Draining { .. }
            | Event::Chat { message: ChatMessage { .. } }
            | Event::Speakers { .. }
            | Event::Quality { .. }
            | Event::Reception { .. }
            | Event::Codecs { .. }
            | Event::Closing { .. } => {}
        }
    }

    /// Takes the room as it is.
    pub(crate) fn replace(&mut self, snapshot: Snapshot) {
        self.participants = by_id(snapshot.participants);
        self.slots.clear();
        snapshot.slots.iter().for_each(|slot| self.apply_slot(slot));
    }

    fn apply_slot(&mut self, slot: &SlotAssignment) {
        match slot.track {
            Some(track) => self.slots.insert(slot.mid.clone(), track),
            None => self.slots.remove(&slot.mid),
        };
    }
}

fn by_id(participants: Vec<Participant>) -> BTreeMap<ParticipantId, Participant> {
    participants.into_iter().map(|participant| (participant.id, participant)).collect()
}

//! What a client sends: requests, each with an id, each answered once.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    ErrorCode, GuestId, MAX_ACCESS_TOKEN_BYTES, MAX_CANDIDATE_BYTES, MAX_CHAT_BYTES, MAX_IDENTITY_CHARS, MAX_MID_BYTES, MAX_NAME_CHARS,
    MAX_ROOM_CHARS, MAX_TOKEN_BYTES, MAX_VIEW_TRACKS, ParticipantId, ProtocolError, RoomSettingsChange, Source, Token, TrackId, VideoCodec,
    settings,
};

/// One request of a client. The server answers with one reply or one error that carries the same id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct ClientMessage {
    /// Chosen by the client, unique among its unanswered requests.
    pub id: u32,
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
}

/// What a client can ask for; `type` names it on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// Enter a room. The first request of a connection, unless that is [`Request::Resume`].
    Join {
        /// The room's id: letters, digits, `-`, `_`, `.`; made when the first participant enters.
        room: String,
        /// The display name others see, unless the access token has another.
        name: String,
        /// An access token (a JWT), where the server asks for one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional, as = "Option<String>")]
        token: Option<Token>,
        /// The room's password, if it has one; moderators need none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional, as = "Option<String>")]
        password: Option<Token>,
    },
    /// Go on with a session whose connection was lost; in place of [`Request::Join`].
    Resume {
        /// From [`crate::Joined::session`].
        #[ts(type = "string")]
        token: Token,
        /// How many of the server's messages arrived after the reply to `join`, over all connections of the session; the reply to
        /// `resume` is not counted.
        received: u32,
    },
    /// Begin the transport anew: the one there was has failed, and the client makes another peer connection. Everything that was negotiated is gone, and
    /// the client offers first, as after `join`; the participant, its tracks and everything else of the session stay. Answered by [`crate::Reply::Renewed`].
    Renew {
        /// How many messages have come on the reliable data channel of the transport that has failed; the server sends the others again.
        received: u32,
    },
    /// A session description of the client's own making. Answered by [`crate::Reply::Answer`], or by
    /// [`crate::Reply::Ignored`] when it collided with an offer of the server's: roll back and answer that one.
    Offer {
        /// SDP.
        sdp: String,
    },
    /// The answer to the server's offer with the same revision.
    Answer {
        /// From the offer.
        revision: u32,
        /// SDP.
        sdp: String,
    },
    /// A trickled ICE candidate.
    Candidate {
        /// The `candidate:` line (RFC 8839 §5.1).
        candidate: String,
        /// The m-line it is for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        mid: Option<String>,
    },
    /// No more candidates will follow for this ICE generation.
    EndOfCandidates,
    /// Make what the client sends on an m-line known to the room. After [`Request::Renew`] a source that is published already is given its m-line
    /// by this, and stays the track that it is.
    Publish {
        /// The m-line's identification in the client's session description; it may be negotiated later.
        mid: String,
        /// What it shows.
        source: Source,
        /// Whether it starts out muted.
        #[serde(default)]
        muted: bool,
    },
    /// Say that what the client sends on another m-line is the picture of one of its video tracks, in another codec: it goes to those who decode that and not
    /// the track's. In place of what was said before; it is gone with the track, and with the transport.
    BackUp {
        /// One of the client's own.
        track: TrackId,
        /// Absent: there is none any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        backup: Option<Backup>,
    },
    /// Withdraw a track.
    Unpublish {
        /// One of the client's own.
        track: TrackId,
    },
    /// Say that a track is muted or no longer; the server stops forwarding a muted track. A moderator may mute the track of somebody else, who may unmute
    /// it; nobody else can.
    Mute {
        /// One of the client's own, or a moderator's choice.
        track: TrackId,
        /// The new state.
        muted: bool,
    },
    /// Receive a track again after [`Request::Unsubscribe`]. New tracks are subscribed by themselves.
    Subscribe {
        /// Somebody else's.
        track: TrackId,
    },
    /// Stop receiving a track and give up its slot.
    Unsubscribe {
        /// Somebody else's.
        track: TrackId,
    },
    /// Stop receiving a track for a while but keep its slot.
    Pause {
        /// Somebody else's.
        track: TrackId,
        /// The new state.
        paused: bool,
    },
    /// What the client shows, all of it, in place of what it said before. A video track that is not in it is not sent, unless `others`.
    View {
        /// In the order of their importance, the pinned before the others.
        tracks: Vec<TrackView>,
        /// Whether other video tracks are sent as well while there is room.
        #[serde(default)]
        others: bool,
    },
    /// Change the own display name.
    Rename {
        /// The new name.
        name: String,
    },
    /// Say something to the room or to one participant.
    Chat {
        /// The text.
        text: String,
        /// Only to this participant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        to: Option<ParticipantId>,
    },
    /// For moderators: send somebody away. Everybody of that identity has to go, and none of their tokens, new ones included, lets them into this
    /// room again; see [`Request::Ban`].
    Remove {
        /// Whom.
        participant: ParticipantId,
    },
    /// For moderators: keep an identity out for as long as the room exists and a day longer, and send away whoever is there with it; or let it in again.
    Ban {
        /// As in access tokens.
        identity: String,
        /// The new state.
        banned: bool,
    },
    /// For moderators: say how the room is set. Sessions that are resumed are not new to it.
    Configure {
        /// What is to be otherwise.
        settings: RoomSettingsChange,
    },
    /// For moderators: let in who waits.
    Admit {
        /// Only this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        guest: Option<GuestId>,
    },
    /// For moderators: send away who waits. They may come again, unless their identity is banned.
    Deny {
        /// Only this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        guest: Option<GuestId>,
    },
    /// The servers for `RTCConfiguration.iceServers`, with credentials that are good from now on; before an ICE restart.
    IceServers,
    /// Answered at once.
    Ping {
        /// As in [`Request::Resume`]: the server need not keep those messages any longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        received: Option<u32>,
    },
    /// Leave the room; the server answers and closes the WebSocket with 1000.
    Leave,
}

/// How a client shows a video track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct TrackView {
    /// Somebody else's.
    pub track: TrackId,
    /// Across, in pixels of the screen (CSS pixels times `devicePixelRatio`). 0 by 0: hidden, but its slot is kept as long as nothing else needs it.
    pub width: u16,
    /// Down.
    pub height: u16,
    /// It comes before all that is not pinned.
    #[serde(default)]
    pub pinned: bool,
}

/// A second encoding of a video track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Backup {
    /// The m-line it is sent on; it may be negotiated later.
    pub mid: String,
    /// What it is sent in.
    pub codec: VideoCodec,
    /// What the track itself is sent in.
    pub instead_of: VideoCodec,
}

impl Request {
    /// The value of `type` for every request, in the order of declaration.
    pub const TYPES: [&'static str; 25] = [
        "join",
        "resume",
        "renew",
        "offer",
        "answer",
        "candidate",
        "end_of_candidates",
        "publish",
        "back_up",
        "unpublish",
        "mute",
        "subscribe",
        "unsubscribe",
        "pause",
        "view",
        "rename",
        "chat",
        "remove",
        "ban",
        "configure",
        "admit",
        "deny",
        "ice_servers",
        "ping",
        "leave",
    ];

    /// Checks what the types can't say: lengths and characters. SDP and candidates are checked by the negotiator as well.
    pub fn validate(&self) -> Result<(), ProtocolError> {
        match self {
            Request::Join { room, name, token, password } => {
                validate_room(room)?;
                validate_name(name)?;
                token.as_ref().map_or(Ok(()), validate_access_token)?;
                password.as_ref().map_or(Ok(()), validate_guess)
            }
            Request::Configure { settings } => settings.validate(),
            Request::Ban { identity, .. } => validate_identity(identity),
            Request::Resume { token, .. } => validate_token(token),
            Request::Rename { name } => validate_name(name),
            Request::Publish { mid, .. } | Request::BackUp { backup: Some(Backup { mid, .. }), .. } => validate_mid(mid),
            Request::Candidate { candidate, mid } => {
                if candidate.len() > MAX_CANDIDATE_BYTES {
                    return Err(ProtocolError::new(
                        ErrorCode::InvalidCandidate,
                        format!("a candidate has at most {MAX_CANDIDATE_BYTES} bytes"),
                    ));
                }
                mid.as_deref().map_or(Ok(()), validate_mid)
            }
            Request::View { tracks, .. } if tracks.len() > MAX_VIEW_TRACKS => {
                Err(ProtocolError::new(ErrorCode::LimitReached, format!("a view names at most {MAX_VIEW_TRACKS} tracks")))
            }
            Request::Chat { text, .. } if text.trim().is_empty() => {
                Err(ProtocolError::new(ErrorCode::InvalidChat, "a chat message can't be empty"))
            }
            Request::Chat { text, .. } if text.len() > MAX_CHAT_BYTES => {
                Err(ProtocolError::new(ErrorCode::InvalidChat, format!("a chat message has at most {MAX_CHAT_BYTES} bytes")))
            }
            _ => Ok(()),
        }
    }
}

/// What a room can be called.
pub fn validate_room(room: &str) -> Result<(), ProtocolError> {
    let fits = (1..=MAX_ROOM_CHARS).contains(&room.len())
        && room.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if fits {
        return Ok(());
    }
    Err(ProtocolError::new(ErrorCode::InvalidRoom, format!("a room's id has 1 to {MAX_ROOM_CHARS} letters, digits, '-', '_' or '.'")))
}

/// What a participant can be called.
pub fn validate_name(name: &str) -> Result<(), ProtocolError> {
    let chars = name.chars().count();
    if !name.trim().is_empty() && chars <= MAX_NAME_CHARS && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(ProtocolError::new(
        ErrorCode::InvalidName,
        format!("a name has 1 to {MAX_NAME_CHARS} characters, none of them a control character"),
    ))
}

/// What an application may call a person by.
pub fn validate_identity(identity: &str) -> Result<(), ProtocolError> {
    let chars = identity.chars().count();
    if (1..=MAX_IDENTITY_CHARS).contains(&chars) && !identity.chars().any(char::is_control) {
        return Ok(());
    }
    Err(ProtocolError::new(
        ErrorCode::InvalidIdentity,
        format!("an identity has 1 to {MAX_IDENTITY_CHARS} characters, none of them a control character"),
    ))
}

fn validate_access_token(token: &Token) -> Result<(), ProtocolError> {
    if token.0.len() <= MAX_ACCESS_TOKEN_BYTES {
        return Ok(());
    }
    Err(ProtocolError::new(ErrorCode::Unauthorized, format!("an access token has at most {MAX_ACCESS_TOKEN_BYTES} bytes")))
}

/// No room has a longer one.
fn validate_guess(password: &Token) -> Result<(), ProtocolError> {
    if settings::fits(password) {
        return Ok(());
    }
    Err(ProtocolError::new(ErrorCode::WrongPassword, "the room has another password"))
}

fn validate_token(token: &Token) -> Result<(), ProtocolError> {
    if token.0.len() <= MAX_TOKEN_BYTES {
        return Ok(());
    }
    Err(ProtocolError::new(ErrorCode::NoSuchSession, "there is no such session"))
}

fn validate_mid(mid: &str) -> Result<(), ProtocolError> {
    // RFC 4566 token characters, which is what RFC 5888 makes of identification-tag.
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&byte);
    if (1..=MAX_MID_BYTES).contains(&mid.len()) && mid.bytes().all(token) {
        return Ok(());
    }
    Err(ProtocolError::new(ErrorCode::InvalidMid, format!("a mid has 1 to {MAX_MID_BYTES} token characters")))
}

//! The TypeScript types of the browser SDK, generated from the serde types.

use ts_rs::{Config, TS};

use crate::{
    Answered, Backup, ChatMessage, ClientMessage, CloseReason, Destination, ErrorCode, Event, Grants, Guest, GuestId, IceServer,
    IceServers, Joined, Kind, LeaveReason, Limits, Participant, ParticipantId, ProtocolError, Published, Quality, Reception, Renewed,
    Reply, Request, Resumed, RoomSettings, RoomSettingsChange, ServerMessage, Session, SlotAssignment, Snapshot, Source, Speaker, Track,
    TrackId, TrackView, VideoCodec,
};

/// One TypeScript module with every type of the protocol.
pub fn typescript() -> String {
    let config = Config::default();
    let mut module = String::from("// Generated from crates/protocol by `cargo xtask types`. Do not edit.\n\n");
    module += &format!("export const PROTOCOL_VERSION = {};\n", crate::VERSION);
    macro_rules! declare {
        ($($name:ty),* $(,)?) => {
            $( module += &format!("\nexport {}\n", <$name as TS>::decl(&config)); )*
        };
    }
    declare![
        ParticipantId,
        TrackId,
        GuestId,
        Kind,
        Source,
        VideoCodec,
        Grants,
        TrackView,
        Backup,
        RoomSettings,
        RoomSettingsChange,
        ClientMessage,
        Request,
        ServerMessage,
        Reply,
        Joined,
        Session,
        Resumed,
        Snapshot,
        IceServer,
        IceServers,
        Limits,
        Participant,
        Track,
        Guest,
        Renewed,
        Answered,
        Published,
        SlotAssignment,
        Speaker,
        Quality,
        Reception,
        ChatMessage,
        LeaveReason,
        CloseReason,
        Destination,
        Event,
        ErrorCode,
        ProtocolError,
    ];
    module
}

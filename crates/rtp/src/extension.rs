//! RTP header extensions (RFC 8285) that the server reads, rewrites or passes through.

mod parsed;
#[cfg(test)]
mod tests;

pub use parsed::{AbsCaptureTime, InvalidId, ParsedExtensions, ShortId, ValuePosition};

/// A header extension the server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Extension {
    /// Media identification (RFC 9143).
    Mid,
    /// RTP stream id (RFC 8852).
    Rid,
    /// Repaired RTP stream id (RFC 8852).
    RepairedRid,
    /// Client-to-mixer audio level (RFC 6464).
    AudioLevel,
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    TransportSequence,
    /// Absolute send time, 6.18 fixed point seconds (WebRTC project).
    AbsSendTime,
    /// Absolute capture time (WebRTC project).
    AbsCaptureTime,
    /// Dependency descriptor (AV1 RTP payload format, appendix A).
    DependencyDescriptor,
}

impl Extension {
    /// Every known extension.
    pub const ALL: [Extension; 8] = [
        Extension::Mid,
        Extension::Rid,
        Extension::RepairedRid,
        Extension::AudioLevel,
        Extension::TransportSequence,
        Extension::AbsSendTime,
        Extension::AbsCaptureTime,
        Extension::DependencyDescriptor,
    ];

    /// The URI that names it in `a=extmap`.
    pub const fn uri(self) -> &'static str {
        match self {
            Extension::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Extension::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Extension::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Extension::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Extension::TransportSequence => "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            Extension::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Extension::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Extension::DependencyDescriptor => "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
        }
    }

    /// The extension a URI names, if known.
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.uri() == uri)
    }
}

/// The ids (1–255, RFC 8285) under which one session, or one of its m-lines, sends the known extensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionMap {
    ids: [u8; Extension::ALL.len()],
}

impl ExtensionMap {
    /// The id of `extension`; `None` if it was not negotiated.
    pub fn id(&self, extension: Extension) -> Option<u8> {
        match self.ids[extension as usize] {
            0 => None,
            id => Some(id),
        }
    }

    /// The extension sent under `id`.
    pub fn extension(&self, id: u8) -> Option<Extension> {
        Extension::ALL.into_iter().find(|&extension| id != 0 && self.ids[extension as usize] == id)
    }

    /// Binds `extension` to `id` (1–255).
    pub fn set(&mut self, extension: Extension, id: u8) {
        self.ids[extension as usize] = id;
    }
}

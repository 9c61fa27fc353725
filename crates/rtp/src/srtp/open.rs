//! Opening what the other end sends: authenticate, refuse what was seen before, decrypt in place.

use super::cipher::{Cipher, ENCRYPTED_BIT, RTCP_CLEAR_LEN};
use super::kdf::SessionKeys;
use super::{MAX_RTP_INDEX, MasterKey, Profile};
use crate::replay::{ReplayError, ReplayWindow};
use crate::rtp::{Header, HeaderError};
use crate::sequence::nearest;

/// Sources of a session, for each of RTP and RTCP: three encodings and their retransmissions for each of some 40
/// published tracks. Their state takes 40 KiB at most.
pub const MAX_SOURCES: usize = 256;

/// Words of the replay window of RTP: 960 indices or more, as much as a second of high-rate video, because packets come
/// reordered and retransmissions without RTX come late.
const RTP_WINDOW_WORDS: usize = 16;

/// Words of the replay window of RTCP: 64 indices or more (RFC 3711 §3.3.2 asks for that).
const RTCP_WINDOW_WORDS: usize = 2;

/// Why a packet was dropped. Each is worth a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The RTP header or, once decrypted, the padding is malformed.
    #[error("malformed RTP: {0}")]
    Header(#[from] HeaderError),
    /// Too short for what the profile adds, or not RTCP version 2.
    #[error("too short or not RTCP")]
    Malformed,
    /// An index that was opened before.
    #[error("replayed")]
    Replayed,
    /// An index too far behind the highest to know whether it was opened before.
    #[error("too old")]
    TooOld,
    /// An SRTCP packet that is not encrypted; DTLS-SRTP has no such mode (RFC 5764 §4.1.2).
    #[error("not encrypted")]
    NotEncrypted,
    /// The tag is wrong: forged, corrupted, or sealed with other keys.
    #[error("not authentic")]
    NotAuthentic,
    /// The session has [`MAX_SOURCES`] sources already.
    #[error("too many sources")]
    TooManySources,
}

impl From<ReplayError> for OpenError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Used => OpenError::Replayed,
            ReplayError::TooOld => OpenError::TooOld,
        }
    }
}

/// An opened RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of the clear packet, padding included, at the front of the buffer.
    pub len: usize,
    /// Its header, with the padding read.
    pub header: Header,
    /// Its index: the rollover counter and the sequence number (`ROC << 16 | SEQ`).
    pub index: u64,
}

/// The state of each source, ordered by SSRC, created only by an authenticated packet.
#[derive(Debug)]
struct Sources<const WORDS: usize> {
    entries: Vec<(u32, ReplayWindow<WORDS>)>,
    /// Where the last packet's source was: packets come in bursts of one source.
    recent: usize,
}

impl<const WORDS: usize> Sources<WORDS> {
    fn new() -> Self {
        Self { entries: Vec::new(), recent: 0 }
    }

    /// Where `ssrc` is, or else where it would be.
    fn find(&mut self, ssrc: u32) -> Result<usize, usize> {
        if self.entries.get(self.recent).is_some_and(|entry| entry.0 == ssrc) {
            return Ok(self.recent);
        }
        let place = self.entries.binary_search_by_key(&ssrc, |entry| entry.0)?;
        self.recent = place;
        Ok(place)
    }

    /// The window of the source at `place` (from [`Sources::find`]), or that of a source yet unknown.
    fn window(&self, place: Result<usize, usize>) -> Result<Option<&ReplayWindow<WORDS>>, OpenError> {
        match place {
            Ok(place) => Ok(self.entries.get(place).map(|entry| &entry.1)),
            Err(_) if self.entries.len() >= MAX_SOURCES => Err(OpenError::TooManySources),
            Err(_) => Ok(None),
        }
    }

    /// Marks `index` as seen, now that its packet is authentic.
    fn insert(&mut self, place: Result<usize, usize>, ssrc: u32, index: u64) -> Result<(), ReplayError> {
        let place = place.unwrap_or_else(|place| {
            self.entries.insert(place, (ssrc, ReplayWindow::default()));
            self.recent = place;
            place
        });
        self.entries[place].1.insert(index)
    }
}

/// Owns one session's incoming keys and what is known of each source.
pub struct Opener {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    rtp_sources: Sources<RTP_WINDOW_WORDS>,
    rtcp_sources: Sources<RTCP_WINDOW_WORDS>,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl Opener {
    /// An opener for what the other end seals with `master`.
    pub fn new(profile: Profile, master: &MasterKey) -> Self {
        let (rtp, rtcp) = SessionKeys::derive(profile, master);
        Self::from_session_keys(profile, &rtp, &rtcp)
    }

    pub(super) fn from_session_keys(profile: Profile, rtp: &SessionKeys, rtcp: &SessionKeys) -> Self {
        Self {
            profile,
            rtp: Cipher::new(profile, rtp),
            rtcp: Cipher::new(profile, rtcp),
            rtp_sources: Sources::new(),
            rtcp_sources: Sources::new(),
        }
    }

    /// The profile it opens.
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Authenticates and decrypts an SRTP packet in place.
    ///
    /// The rollover counter is estimated from the highest index of the source (RFC 3711 §3.3.1) and taken to be 0 for a
    /// source's first packet. After [`OpenError::NotAuthentic`] the payload is undefined.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<Opened, OpenError> {
        let mut header = Header::parse_encrypted(packet)?;
        if packet.len() < header.header_len + self.profile.overhead() {
            return Err(OpenError::Malformed);
        }
        let place = self.rtp_sources.find(header.ssrc);
        let window = self.rtp_sources.window(place)?;
        let index = match window.and_then(|window| window.highest()) {
            Some(highest) => nearest(highest, header.sequence).filter(|&index| index <= MAX_RTP_INDEX).ok_or(OpenError::TooOld)?,
            None => u64::from(header.sequence),
        };
        if let Some(window) = window {
            window.check(index)?;
        }
        self.rtp.open_rtp(header.ssrc, index, packet, header.header_len).map_err(|_| OpenError::NotAuthentic)?;
        self.rtp_sources.insert(place, header.ssrc, index)?;
        let len = packet.len() - self.profile.overhead();
        header.read_padding(&packet[..len])?;
        Ok(Opened { len, header, index })
    }

    /// Authenticates and decrypts an SRTCP packet in place and returns the length of the clear compound at the front of
    /// the buffer. After [`OpenError::NotAuthentic`] the content is undefined.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, OpenError> {
        if packet.len() < RTCP_CLEAR_LEN + self.profile.rtcp_overhead() || packet[0] >> 6 != 2 {
            return Err(OpenError::Malformed);
        }
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        let word = self.rtcp.rtcp_index_word(packet);
        if word & ENCRYPTED_BIT == 0 {
            return Err(OpenError::NotEncrypted);
        }
        let index = word & !ENCRYPTED_BIT;
        let place = self.rtcp_sources.find(ssrc);
        if let Some(window) = self.rtcp_sources.window(place)? {
            window.check(u64::from(index))?;
        }
        let len = self.rtcp.open_rtcp(ssrc, index, packet).map_err(|_| OpenError::NotAuthentic)?;
        self.rtcp_sources.insert(place, ssrc, u64::from(index))?;
        Ok(len)
    }
}

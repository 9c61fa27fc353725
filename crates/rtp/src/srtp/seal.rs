//! Sealing what this end sends: each (SSRC, index) once.

use super::cipher::{Cipher, RTCP_CLEAR_LEN};
use super::kdf::SessionKeys;
use super::{MAX_RTCP_INDEX, MAX_RTP_INDEX, MasterKey, Profile};
use crate::replay::ReplayWindow;
use crate::rtp::FIXED_HEADER_LEN;

/// Streams of a session, for its whole life: what a [`StreamIndex`] can count. Three (audio, video, retransmission) for each of
/// 20,000 slots that ever carried something; they take 3 MiB at most.
pub const MAX_STREAMS: usize = u16::MAX as usize;

/// Words of the window behind each stream's highest index: 192 indices or more, so that what is paced or sent again out
/// of order finds its place.
const WINDOW_WORDS: usize = 4;

/// Why a packet was not sealed. Except after [`SealError::Cipher`] nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The index was used, or is so far behind the highest that it may have been.
    #[error("the index was used before")]
    IndexUsed,
    /// The index counts beyond what the profile allows: the session has to end.
    #[error("the keys are used up")]
    Exhausted,
    /// The buffer has no room for the tag, or the lengths given lie outside it.
    #[error("the buffer is too small")]
    NoSpace,
    /// The packet's header is not that of the stream and the index.
    #[error("the header's SSRC or sequence number is another")]
    Header,
    /// No stream has this index.
    #[error("no such stream")]
    NoStream,
    /// The cipher refused the packet. Its index counts as used.
    #[error("the cipher refused")]
    Cipher,
}

/// A session has all the streams it may have: [`MAX_STREAMS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has {MAX_STREAMS} streams already")]
pub struct TooManyStreams;

/// A stream of a [`Sealer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamIndex(u16);

impl StreamIndex {
    /// The stream's place in the order of [`Sealer::add_stream`], from 0.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    window: ReplayWindow<WINDOW_WORDS>,
}

/// Owns one session's outgoing keys, and with them the memory of every (SSRC, index) they sealed: a stream once added
/// stays until the keys are dropped.
pub struct Sealer {
    profile: Profile,
    rtp: Cipher,
    rtcp: Cipher,
    streams: Vec<Stream>,
    /// Shared by all sender SSRCs, so none can repeat.
    next_rtcp: u32,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("profile", &self.profile).field("streams", &self.streams.len()).finish_non_exhaustive()
    }
}

impl Sealer {
    /// A sealer for what `master` protects. There must be one only for each master key.
    pub fn new(profile: Profile, master: &MasterKey) -> Self {
        let (rtp, rtcp) = SessionKeys::derive(profile, master);
        Self::from_session_keys(profile, &rtp, &rtcp)
    }

    pub(super) fn from_session_keys(profile: Profile, rtp: &SessionKeys, rtcp: &SessionKeys) -> Self {
        Self { profile, rtp: Cipher::new(profile, rtp), rtcp: Cipher::new(profile, rtcp), streams: Vec::new(), next_rtcp: 0 }
    }

    /// The profile it seals with.
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// Adds a stream; for an `ssrc` that was added before it is the stream from then, with its used indices.
    pub fn add_stream(&mut self, ssrc: u32) -> Result<StreamIndex, TooManyStreams> {
        let place = match self.streams.iter().position(|stream| stream.ssrc == ssrc) {
            Some(place) => place,
            None if self.streams.len() >= MAX_STREAMS => return Err(TooManyStreams),
            None => {
                self.streams.push(Stream { ssrc, window: ReplayWindow::default() });
                self.streams.len() - 1
            }
        };
        Ok(StreamIndex(place as u16))
    }

    /// The SSRC of `stream`.
    pub fn ssrc(&self, stream: StreamIndex) -> Option<u32> {
        self.streams.get(stream.get()).map(|stream| stream.ssrc)
    }

    /// The highest index sealed in `stream`; whoever continues it begins above. `None` before the first.
    pub fn highest(&self, stream: StreamIndex) -> Option<u64> {
        self.streams.get(stream.get()).and_then(|stream| stream.window.highest())
    }

    /// Seals the RTP packet `packet[..len]` in place and returns its new length, longer by [`Profile::overhead`].
    ///
    /// `index` is the rollover counter and the sequence number (`ROC << 16 | SEQ`), the latter already in the header of
    /// `header_len` bytes. The rollover counter of the first packet is 0, because that is where receivers begin.
    pub fn seal_rtp(
        &mut self,
        stream: StreamIndex,
        index: u64,
        packet: &mut [u8],
        header_len: usize,
        len: usize,
    ) -> Result<usize, SealError> {
        let stream = self.streams.get_mut(stream.get()).ok_or(SealError::NoStream)?;
        let sealed_len = len.checked_add(self.profile.overhead()).ok_or(SealError::NoSpace)?;
        if header_len < FIXED_HEADER_LEN || header_len > len || sealed_len > packet.len() {
            return Err(SealError::NoSpace);
        }
        if index > MAX_RTP_INDEX {
            return Err(SealError::Exhausted);
        }
        if packet[2..4] != (index as u16).to_be_bytes() || packet[8..12] != stream.ssrc.to_be_bytes() {
            return Err(SealError::Header);
        }
        stream.window.insert(index).map_err(|_| SealError::IndexUsed)?;
        self.rtp.seal_rtp(stream.ssrc, index, packet, header_len, len).map_err(|_| SealError::Cipher)?;
        Ok(sealed_len)
    }

    /// Seals the compound RTCP packet `packet[..len]` in place and returns its new length, longer by
    /// [`Profile::rtcp_overhead`]. The session counts its index.
    pub fn seal_rtcp(&mut self, packet: &mut [u8], len: usize) -> Result<usize, SealError> {
        let sealed_len = len.checked_add(self.profile.rtcp_overhead()).ok_or(SealError::NoSpace)?;
        if len < RTCP_CLEAR_LEN || sealed_len > packet.len() {
            return Err(SealError::NoSpace);
        }
        let index = self.next_rtcp;
        if index > MAX_RTCP_INDEX {
            return Err(SealError::Exhausted);
        }
        self.next_rtcp += 1;
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        self.rtcp.seal_rtcp(ssrc, index, packet, len).map_err(|_| SealError::Cipher)?;
        Ok(sealed_len)
    }

    #[cfg(test)]
    pub(super) fn set_next_rtcp(&mut self, index: u32) {
        self.next_rtcp = index;
    }

    #[cfg(test)]
    pub(super) fn rtcp_index_word(&self, sealed: &[u8]) -> u32 {
        self.rtcp.rtcp_index_word(sealed)
    }
}

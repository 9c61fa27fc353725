//! Every reason to drop a packet, named and counted.

macro_rules! drops {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a datagram or a packet went no further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Drop { $($(#[$doc])* $name,)* }

        impl Drop {
            /// Every reason.
            pub const ALL: &'static [Drop] = &[$(Drop::$name,)*];

            /// A short name in lower case, for metrics.
            pub const fn label(self) -> &'static str {
                match self { $(Drop::$name => $label,)* }
            }
        }
    };
}

drops! {
    /// The first byte belongs to no protocol (RFC 7983).
    UnknownProtocol = "unknown_protocol",
    /// STUN, but no whole binding request.
    StunMalformed = "stun_malformed",
    /// STUN for nobody here.
    StunUnknownUser = "stun_unknown_user",
    /// STUN with a wrong or missing MESSAGE-INTEGRITY or FINGERPRINT.
    StunNotAuthentic = "stun_not_authentic",
    /// Media or DTLS from an address that no peer has validated.
    UnknownAddress = "unknown_address",
    /// SRTP before the keys, more than is kept.
    BeforeKeys = "before_keys",
    /// SRTP or SRTCP that does not authenticate.
    NotAuthentic = "not_authentic",
    /// SRTP or SRTCP that was here before, or is too old to tell.
    Replayed = "replayed",
    /// A header, extension or payload that can't be parsed.
    Malformed = "malformed",
    /// An SSRC that no m-line announced, and no MID to tell whose it is; or too many of them.
    UnknownSsrc = "unknown_ssrc",
    /// A payload type that was not negotiated.
    UnknownPayloadType = "unknown_payload_type",
    /// A packet that had arrived already, the original or its retransmission.
    Duplicate = "duplicate",
    /// Padding only: probes for bandwidth.
    Padding = "padding",
    /// A track nobody has published under this name, or that is muted.
    NotPublished = "not_published",
    /// A sender that carries nothing.
    NotRouted = "not_routed",
    /// Video before a subscriber's first keyframe.
    AwaitsKeyframe = "awaits_keyframe",
    /// Too much waits for the subscriber's line already.
    LineFull = "line_full",
    /// Older than the moment a subscriber was switched to the track.
    BeforeSwitch = "before_switch",
    /// Of an encoding that the subscriber is not getting.
    OtherEncoding = "other_encoding",
    /// Of a layer that the subscriber is not getting.
    LeftOut = "left_out",
    /// The subscriber did not negotiate the codec.
    NoCodec = "no_codec",
    /// The subscriber has no validated path.
    NoPath = "no_path",
    /// The subscriber has no keys yet.
    NoKeys = "no_keys",
    /// Longer than a datagram may be.
    TooLarge = "too_large",
    /// Sealing it would have used an index twice.
    IndexUsed = "index_used",
    /// Sealing failed.
    Seal = "seal",
    /// A session has had more SSRCs than are kept.
    TooManyStreams = "too_many_streams",
    /// A retransmission that was asked for again too soon.
    ResentJustNow = "resent_just_now",
    /// A retransmission of what is no longer kept.
    Forgotten = "forgotten",
    /// A retransmission of what nobody wants to see any more.
    TooOld = "too_old",
    /// A retransmission without RTX.
    NoRtx = "no_rtx",
}

/// How often each happened.
#[derive(Clone, Debug)]
pub struct Drops([u64; Drop::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; Drop::ALL.len()])
    }
}

impl Drops {
    pub(crate) fn count(&mut self, drop: Drop) {
        self.0[drop as usize] += 1;
    }

    /// How often `drop` happened.
    pub fn get(&self, drop: Drop) -> u64 {
        self.0[drop as usize]
    }
}

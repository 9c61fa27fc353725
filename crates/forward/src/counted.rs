//! What is counted: every reason to drop a packet, and what else happens to media. Each has a name.

macro_rules! counted {
    ($(#[$doc:meta])* $one:ident, $(#[$all_doc:meta])* $all:ident { $(#[doc = $help:literal] $name:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $one { $(#[doc = $help] $name,)* }

        impl $one {
            /// All there are.
            pub const ALL: &'static [$one] = &[$($one::$name,)*];

            /// A short name in lower case, for metrics.
            pub const fn label(self) -> &'static str {
                match self { $($one::$name => $label,)* }
            }

            /// What it is, in a sentence.
            pub const fn help(self) -> &'static str {
                match self { $($one::$name => $help,)* }
            }
        }

        $(#[$all_doc])*
        #[derive(Clone, Debug)]
        pub struct $all([u64; $one::ALL.len()]);

        impl Default for $all {
            fn default() -> Self {
                Self([0; $one::ALL.len()])
            }
        }

        impl $all {
            pub(crate) fn count(&mut self, what: $one) {
                self.add(what, 1);
            }

            pub(crate) fn add(&mut self, what: $one, times: usize) {
                self.0[what as usize] += times as u64;
            }

            /// How often it happened.
            pub fn get(&self, what: $one) -> u64 {
                self.0[what as usize]
            }
        }
    };
}

counted! {
    /// Why a datagram or a packet went no further.
    Drop,
    /// How often each reason to drop something was met.
    Drops {
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
        /// Padding only: probes for bandwidth. Among pictures they count once for each subscriber.
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
}

counted! {
    /// What happens to media on the way, beside being forwarded.
    Happening,
    /// How often each thing happened.
    Happenings {
        /// Packets that subscribers asked for again (NACK, RFC 4585).
        NackReceived = "nack_received",
        /// Packets that publishers were asked for again.
        NackSent = "nack_sent",
        /// Packets that were sent again.
        Resent = "resent",
        /// Requests for a keyframe by subscribers (PLI and FIR, RFC 4585 and 5104).
        KeyframeRequestReceived = "keyframe_request_received",
        /// Requests for a keyframe sent to publishers, merged over all who wait for one (PLI).
        KeyframeRequestSent = "keyframe_request_sent",
        /// Packets to subscribers that were reported to have arrived (transport-wide feedback).
        Arrived = "arrived",
        /// Packets to subscribers that were reported as missing; some of them come late.
        Missing = "missing",
        /// Packets that had to wait for their turn on a subscriber's line.
        Paced = "paced",
        /// Packets that say nothing, sent to find out whether a line carries more.
        Probed = "probed",
        /// Times that a subscriber's line was judged to have no room for a picture.
        PicturePaused = "picture_paused",
    }
}

/// Upper bounds of the buckets of [`Estimates`], in bits a second; what is above the last has a bucket of its own.
pub const ESTIMATE_BOUNDS: [u64; 9] = [100_000, 200_000, 500_000, 1_000_000, 2_000_000, 3_000_000, 5_000_000, 10_000_000, 25_000_000];

/// What subscribers' lines were estimated to carry, each of those that report looked at five times a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimates {
    /// How many looks, by [`ESTIMATE_BOUNDS`].
    pub buckets: [u64; ESTIMATE_BOUNDS.len() + 1],
    /// Bits a second, added up over all looks.
    pub sum: u64,
}

impl Estimates {
    pub(crate) fn add(&mut self, estimate: u64) {
        let bucket = ESTIMATE_BOUNDS.iter().position(|&bound| estimate <= bound).unwrap_or(ESTIMATE_BOUNDS.len());
        self.buckets[bucket] += 1;
        self.sum += estimate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_in_the_bucket_whose_bound_they_do_not_exceed() {
        let mut estimates = Estimates::default();
        for (bucket, &bound) in ESTIMATE_BOUNDS.iter().enumerate() {
            estimates.add(bound);
            estimates.add(bound + 1);
            assert_eq!(estimates.buckets[bucket], 1 + u64::from(bucket > 0), "{bound}");
        }
        assert_eq!(estimates.buckets[ESTIMATE_BOUNDS.len()], 1);
        assert_eq!(estimates.sum, 2 * ESTIMATE_BOUNDS.iter().sum::<u64>() + ESTIMATE_BOUNDS.len() as u64);
    }

    #[test]
    fn labels_are_each_others_only() {
        let labels: Vec<&str> = Drop::ALL.iter().map(|drop| drop.label()).chain(Happening::ALL.iter().map(|what| what.label())).collect();
        let unique: std::collections::BTreeSet<&str> = labels.iter().copied().collect();
        assert_eq!(unique.len(), labels.len());
    }
}

//! The records of an established association (RFC 6347 §4.1), sealed and opened under the keys that its handshake agreed on.
//!
//! `rtc-dtls` keeps every message, flight and certificate of a handshake for as long as its connection lasts, in a map with places for four: some 7 KiB of a
//! session that needs two ciphers.

use std::sync::Arc;

use rtc_crypto::RTCCryptoProvider;
use rtc_dtls::cipher_suite::{CipherSuite, cipher_suite_for_id};
use rtc_dtls::content::ContentType;
use rtc_dtls::record_layer::record_layer_header::{PROTOCOL_VERSION1_2, RecordLayerHeader};
use rtc_dtls::state::State;
use switchyard_rtp::replay::ReplayWindow;

use crate::record::{ALERT, APPLICATION_DATA, RECORD_HEADER, record};

/// The epoch of the first keys; there are no others, because nobody negotiates again.
const EPOCH: u16 = 1;
/// Records are numbered in 48 bits.
const MAX_RECORD: u64 = (1 << 48) - 1;

/// What `rtc-dtls` writes of its state ([`State::marshal_binary`]), in its order.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
struct Exported {
    local_epoch: u16,
    remote_epoch: u16,
    local_random: [u8; 32],
    remote_random: [u8; 32],
    cipher_suite_id: u16,
    master_secret: Vec<u8>,
    sequence_number: u64,
    srtp_protection_profile: u16,
    peer_certificates: Vec<Vec<u8>>,
    identity_hint: Vec<u8>,
    is_client: bool,
}

/// Both directions' keys, and which records were sent and seen.
pub(crate) struct Sealed {
    suite: Box<dyn CipherSuite>,
    next: u64,
    seen: ReplayWindow<2>,
}

impl Sealed {
    /// Goes on where a finished handshake of the server's has got to, which has opened the client's Finished and nothing else; `None` if its state is not
    /// that.
    pub(crate) fn take_over(state: &State, provider: Arc<dyn RTCCryptoProvider>) -> Option<Self> {
        let mut bytes = rkyv::util::AlignedVec::<16>::new();
        bytes.extend_from_slice(&state.marshal_binary().ok()?);
        let state = rkyv::access::<ArchivedExported, rkyv::rancor::Error>(&bytes).ok()?;
        if state.is_client || state.local_epoch != EPOCH || state.remote_epoch != EPOCH {
            return None;
        }
        let mut suite = cipher_suite_for_id(state.cipher_suite_id.to_native().into()).ok()?;
        suite.init(provider, &state.master_secret, &state.remote_random, &state.local_random, false).ok()?;
        let mut seen = ReplayWindow::default();
        // The Finished is the first record of its epoch, or was sent again as another: the session answers those without opening them.
        seen.insert(0).ok()?;
        Some(Self { suite, next: state.sequence_number.to_native(), seen })
    }

    /// Seals `body` as one record; `None` once the numbers are used up.
    pub(crate) fn seal(&mut self, content_type: u8, body: &[u8]) -> Option<Vec<u8>> {
        let sequence_number = self.next;
        let content_type_of = match content_type {
            ALERT => ContentType::Alert,
            _ => ContentType::ApplicationData,
        };
        if sequence_number > MAX_RECORD || body.len() > usize::from(u16::MAX) {
            return None;
        }
        self.next += 1;
        let content_len = body.len() as u16;
        let header = RecordLayerHeader {
            content_type: content_type_of,
            protocol_version: PROTOCOL_VERSION1_2,
            epoch: EPOCH,
            sequence_number,
            content_len,
        };
        self.suite.encrypt(&header, &record(content_type, EPOCH, sequence_number, body)).ok()
    }

    /// Opens a record of alerts or data; `None` if it was opened before, is too old to tell, or is not authentic.
    pub(crate) fn open(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        debug_assert!(matches!(record.first(), Some(&(ALERT | APPLICATION_DATA))));
        let number = record.get(5..11)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        self.seen.check(number).ok()?;
        let mut opened = self.suite.decrypt(record).ok()?;
        self.seen.insert(number).ok()?;
        opened.drain(..RECORD_HEADER.min(opened.len()));
        Some(opened)
    }
}

//! The end of the peer connection's read path: every decrypted packet passes here, once, on the connection's own task.
//!
//! Counting here instead of reading tracks spares each packet a channel and a wake-up, and nothing is dropped for a reader that
//! is late. The SRTP replay window is off, so that a packet sent twice is seen twice.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rtc::interceptor::{Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use tokio::sync::Notify;

use crate::meter::Meter;

/// The meter, shared by the connection's task, which counts, and whoever asks.
#[derive(Default)]
pub(crate) struct SharedMeter {
    meter: Mutex<Meter>,
    /// Notified at every packet; costs one load while nobody waits.
    changed: Notify,
}

impl SharedMeter {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Meter> {
        // Nothing panics with the lock held; if something did, counters are still counters.
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }
}

/// Counts what comes in and keeps RTP from going further; lets everything out.
pub(crate) struct Tap {
    meter: Arc<SharedMeter>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Tap {
    /// Behind every interceptor of the library, so that they see the packets first.
    pub(crate) const SLOT: Slot = Slot::Custom(20_000);

    pub(crate) fn new(meter: Arc<SharedMeter>) -> Self {
        Self { meter, reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        match &message.message.packet {
            Packet::Rtp(packet) => self.meter.lock().rtp(packet, message.now),
            Packet::Rtcp(packets) => {
                self.meter.lock().rtcp(packets);
                self.reads.push_back(message);
            }
            _ => self.reads.push_back(message),
        }
        self.meter.changed.notify_waiters();
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }
}

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

//! The DTLS association and the data channels as one thing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::certificate::{Certificate, Fingerprint};
use crate::channels::Channels;
use crate::dtls::{Dtls, Output};
use crate::{ChannelId, Event, FingerprintError, OpenError, Reliability, SendError};

/// One participant's DTLS and data channels; see the crate's documentation for how to drive it.
pub struct Session {
    dtls: Dtls,
    channels: Channels,
    events: VecDeque<Event>,
}

impl Session {
    /// A passive session (the DTLS server, `a=setup:passive`) that waits for its client's ClientHello.
    pub fn new(certificate: Arc<Certificate>) -> Self {
        Self { dtls: Dtls::new(certificate), channels: Channels::new(), events: VecDeque::new() }
    }

    /// Tells the session whom to expect: the SHA-256 fingerprint from the client's SDP, in either case.
    ///
    /// No handshake is answered before; the latest hello is kept until then, and answered in the
    /// [`Session::handle_timeout`] that [`Session::poll_timeout`] asks for at once. Setting the same fingerprint again
    /// is fine.
    pub fn set_remote_fingerprint(&mut self, sha256: &str) -> Result<(), FingerprintError> {
        let fingerprint = Fingerprint::parse(sha256).ok_or(FingerprintError::Malformed)?;
        match self.dtls.expected() {
            Some(expected) if expected != fingerprint => Err(FingerprintError::Changed),
            _ => {
                self.dtls.expect(fingerprint);
                Ok(())
            }
        }
    }

    /// Takes a DTLS datagram (first byte 20–63) that came from any of the participant's validated paths.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        self.dtls.handle_datagram(now, datagram);
        self.take_outputs(now);
    }

    /// Runs what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.dtls.handle_timeout(now);
        self.take_outputs(now);
        self.channels.handle_timeout(now);
        self.take_channel_events();
    }

    /// When [`Session::handle_timeout`] is next due; `None` while nothing is pending.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.dtls.poll_timeout(), self.channels.poll_timeout()].into_iter().flatten().min()
    }

    /// The next datagram to send to the participant: DTLS records, at most 1200 bytes.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        loop {
            if let Some(datagram) = self.dtls.poll_transmit() {
                return Some(datagram);
            }
            if !self.dtls.is_established() {
                return None;
            }
            let packet = self.channels.poll_packet(now)?;
            self.dtls.write(&packet);
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Queues a message on an open channel. On a channel that is not reliable it takes the place of older ones where more than a few wait; on a reliable one it waits
    /// for as long as it takes, among at most 1 MiB of messages, each counted with 256 bytes more.
    pub fn send(&mut self, now: Instant, channel: ChannelId, text: bool, message: Bytes) -> Result<(), SendError> {
        self.channels.send(now, channel, text, message)
    }

    /// The client is heard again after a pause, or over another path: what was sent in vain is sent again at once.
    pub fn hurry(&mut self, now: Instant) {
        self.channels.hurry(now);
        self.take_channel_events();
    }

    /// Dials a channel; [`Event::ChannelOpened`] says when the client confirmed it. May be called at any time: the
    /// dialling waits for the association.
    pub fn open_channel(
        &mut self,
        now: Instant,
        label: &str,
        protocol: &str,
        ordered: bool,
        reliability: Reliability,
    ) -> Result<ChannelId, OpenError> {
        let opened = self.channels.open(now, label, protocol, ordered, reliability);
        self.take_channel_events();
        opened
    }

    /// Closes one channel in both directions; [`Event::ChannelClosed`] follows. Unknown ids are ignored.
    pub fn close_channel(&mut self, now: Instant, channel: ChannelId) {
        self.channels.close(now, channel);
        self.take_channel_events();
    }

    /// Ends the session with a close_notify, to be fetched with [`Session::poll_transmit`].
    pub fn close(&mut self, now: Instant) {
        self.dtls.close();
        self.take_outputs(now);
    }

    /// Bytes of unauthenticated datagrams kept for later.
    #[cfg(test)]
    fn kept_bytes(&self) -> usize {
        self.dtls.kept_bytes()
    }

    fn take_outputs(&mut self, now: Instant) {
        while let Some(output) = self.dtls.poll_output() {
            match output {
                Output::Keys(keys) => self.events.push_back(Event::Keys(*keys)),
                Output::Data(packet) => self.channels.handle_packet(now, packet),
                Output::Failed(reason) => self.end(Event::Failed(reason)),
                Output::Closed => self.end(Event::Closed),
            }
            self.take_channel_events();
        }
    }

    fn end(&mut self, event: Event) {
        self.channels.lose();
        self.take_channel_events();
        self.events.push_back(event);
    }

    fn take_channel_events(&mut self) {
        while let Some(event) = self.channels.poll_event() {
            self.events.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests;

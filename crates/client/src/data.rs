//! The reliable data channel of a session, over one peer connection after the other (PROTOCOL.md, *Beginning anew*): what was sent is kept until the server
//! says that it came, so that nothing is lost or doubled between two of them.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::{Mutex, Notify};
use webrtc::data_channel::DataChannel;

use crate::error::ClientError;
use crate::state::DataPayload;

/// Bytes of messages that may not have come, beside the last one: what the server keeps as well. Who sends more waits.
const MAX_KEPT: usize = 1 << 20;
/// Messages of which the same may be true.
const MAX_MESSAGES: usize = 4096;
/// After so many bytes of messages the server is told how many have come, also before [`Data::tell`].
const TELL_AFTER: usize = 128 << 10;

/// See the module's documentation.
pub(crate) struct Data {
    line: Mutex<Line>,
    /// Notified when messages have come, or a channel is another.
    changed: Notify,
}

struct Line {
    channel: Arc<dyn DataChannel>,
    /// Whether the channel has opened, and whether any has.
    open: bool,
    began: bool,
    /// What was sent on this channel and is not known to have come, then what waits.
    kept: VecDeque<DataPayload>,
    bytes: usize,
    /// Messages of this channel before those have come.
    arrived: u32,
    /// Of those kept, the channel has so many.
    handed: usize,
    /// Messages that came on this channel, and their bytes that the server was not told of.
    received: u32,
    untold: usize,
}

impl Data {
    pub(crate) fn new(channel: Arc<dyn DataChannel>) -> Self {
        let line =
            Line { channel, open: false, began: false, kept: VecDeque::new(), bytes: 0, arrived: 0, handed: 0, received: 0, untold: 0 };
        Self { line: Mutex::new(line), changed: Notify::new() }
    }

    /// The channel has opened, or is closed.
    pub(crate) async fn set_open(&self, open: bool) {
        let mut line = self.line.lock().await;
        line.open = open;
        line.began |= open;
        line.pump().await;
    }

    /// Sends a message, now or when there is a channel again; waits while too much has not come.
    pub(crate) async fn send(&self, payload: DataPayload) -> Result<(), ClientError> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let mut line = self.line.lock().await;
            if !line.began {
                return Err(ClientError::Data("the data channel is not open".into()));
            }
            if line.bytes < MAX_KEPT && line.kept.len() < MAX_MESSAGES {
                line.bytes += len(&payload);
                line.kept.push_back(payload);
                line.pump().await;
                return Ok(());
            }
            drop(line);
            changed.await;
        }
    }

    /// Takes what came; `None` if it is no message.
    pub(crate) async fn take(&self, payload: DataPayload) -> Option<DataPayload> {
        let mut line = self.line.lock().await;
        if let DataPayload::Text(text) = &payload
            && let Some(count) = text.strip_prefix("+\n")
        {
            if let Ok(count) = count.parse() {
                line.acknowledge(count);
                self.changed.notify_waiters();
            }
            return None;
        }
        line.received += 1;
        line.untold += len(&payload).max(1);
        if line.untold >= TELL_AFTER {
            line.tell().await;
        }
        Some(payload)
    }

    /// Tells the server how many messages have come, if that is news.
    pub(crate) async fn tell(&self) {
        let mut line = self.line.lock().await;
        if line.untold > 0 {
            line.tell().await;
        }
    }

    /// The session is over: nothing is sent any more.
    pub(crate) async fn end(&self) {
        self.line.lock().await.began = false;
        self.changed.notify_waiters();
    }

    /// Gives up the channel. How many messages have come on it.
    pub(crate) async fn close(&self) -> u32 {
        let mut line = self.line.lock().await;
        line.open = false;
        line.received
    }

    /// Goes on over another channel, of which the server says how many messages came on the one before.
    pub(crate) async fn renew(&self, channel: Arc<dyn DataChannel>, came: u32) {
        let mut line = self.line.lock().await;
        line.acknowledge(came);
        (line.channel, line.open) = (channel, false);
        (line.arrived, line.handed, line.received, line.untold) = (0, 0, 0, 0);
        drop(line);
        self.changed.notify_waiters();
    }
}

impl Line {
    async fn pump(&mut self) {
        while self.open
            && let Some(payload) = self.kept.get(self.handed)
        {
            let sent = match payload {
                DataPayload::Text(text) => self.channel.send_text(text).await,
                DataPayload::Binary(bytes) => self.channel.send(BytesMut::from(&bytes[..])).await,
            };
            // It is closed, which is reported as an event.
            if sent.is_err() {
                return;
            }
            self.handed += 1;
        }
    }

    fn acknowledge(&mut self, count: u32) {
        while self.arrived < count && self.handed > 0 {
            self.arrived += 1;
            self.handed -= 1;
            self.bytes -= self.kept.pop_front().as_ref().map_or(0, len);
        }
    }

    async fn tell(&mut self) {
        if self.open && self.channel.send_text(&format!("+\n{}", self.received)).await.is_ok() {
            self.untold = 0;
        }
    }
}

fn len(payload: &DataPayload) -> usize {
    match payload {
        DataPayload::Text(text) => text.len(),
        DataPayload::Binary(bytes) => bytes.len(),
    }
}

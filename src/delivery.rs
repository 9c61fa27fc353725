//! The messages on a participant's reliable data channel, counted in both directions, so that none is lost or doubled when its transport begins anew.
//!
//! Each side counts what has come since the transport began, and keeps what it sent until the other says that it came: a text of `+`, a newline and
//! the count, which is no message itself. When the transport begins anew the counts are exchanged by signaling, what did not come is sent again in order, and
//! both begin at nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use switchyard_session::{ChannelId, SendError, Session};

use crate::peers::Relayed;

/// What messages that may not have come cost at most, each with [`OVERHEAD`]: as much as a session lets wait.
const MAX_KEPT: usize = 1 << 20;
/// What a message costs beside its bytes.
const OVERHEAD: usize = 256;
/// After so many bytes of messages the client is told how many have come: it keeps a megabyte, and sends on while this is under way.
const TELL_AFTER: usize = 128 * 1024;
/// It is told this long after a message at the latest, so that it doesn't keep what has long come.
const TELL_WITHIN: Duration = Duration::from_millis(500);

/// What takes messages to the client.
pub trait Outlet {
    /// As [`Session::send`].
    fn send(&mut self, now: Instant, channel: ChannelId, text: bool, bytes: Bytes) -> Result<(), SendError>;
}

impl Outlet for Session {
    fn send(&mut self, now: Instant, channel: ChannelId, text: bool, bytes: Bytes) -> Result<(), SendError> {
        self.send(now, channel, text, bytes)
    }
}

/// A client counts more messages than it was sent.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

/// See the module's documentation.
#[derive(Debug)]
pub struct Delivery {
    /// Whether the transport can begin anew. Otherwise what is sent is not kept, and the client told nothing.
    keeps: bool,
    line: Line,
    /// Messages that have come since the transport began.
    received: u32,
    /// Bytes of those that the client has not been told of, and when it is.
    untold: usize,
    tell_due: Option<Instant>,
    /// What was sent since the transport began, or waits to be: the first `forgotten` messages are not kept any more.
    kept: VecDeque<Arc<Relayed>>,
    cost: usize,
    forgotten: u32,
    /// Of those kept, how many the channel has.
    handed: usize,
}

/// The client's reliable channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// It has none, and may not want any.
    None,
    Open(ChannelId),
    /// It had one.
    Lost,
}

impl Delivery {
    /// Nothing has come or was sent. `keeps`: whether the transport can begin anew.
    pub fn new(keeps: bool) -> Self {
        Self { keeps, line: Line::None, received: 0, untold: 0, tell_due: None, kept: VecDeque::new(), cost: 0, forgotten: 0, handed: 0 }
    }

    /// Whether messages come on this channel.
    pub fn is_on(&self, channel: ChannelId) -> bool {
        self.line == Line::Open(channel)
    }

    /// The client has opened a channel, and gets what waits. How many messages are lost: none, unless much waits on other channels.
    pub fn open(&mut self, now: Instant, channel: ChannelId, session: &mut impl Outlet) -> u32 {
        self.line = Line::Open(channel);
        while let Some(message) = self.kept.get(self.handed)
            && session.send(now, channel, message.text, message.bytes.clone()).is_ok()
        {
            self.handed += 1;
        }
        let lost = self.kept.split_off(self.handed);
        self.cost -= lost.iter().map(|message| cost(message)).sum::<usize>();
        u32::try_from(lost.len()).unwrap_or(u32::MAX)
    }

    /// The client's channel is gone. What is sent waits for the next one.
    pub fn close(&mut self, channel: ChannelId) {
        if self.is_on(channel) {
            self.line = if self.keeps { Line::Lost } else { Line::None };
        }
    }

    /// Sends a message, or keeps it until there is a channel. Whether it was lost because too much waits.
    pub fn send(&mut self, now: Instant, message: &Arc<Relayed>, session: &mut impl Outlet) -> bool {
        match self.line {
            Line::None => return false,
            Line::Open(channel) => {
                if let Err(error) = session.send(now, channel, message.text, message.bytes.clone()) {
                    return error == SendError::Full;
                }
                self.handed += 1;
            }
            Line::Lost if self.cost + cost(message) > MAX_KEPT => return true,
            Line::Lost => {}
        }
        self.keep(message);
        false
    }

    /// Keeps a message, at the cost of the oldest: those have left the session, or it would not have taken this one.
    fn keep(&mut self, message: &Arc<Relayed>) {
        self.cost += cost(message);
        self.kept.push_back(Arc::clone(message));
        while (self.cost > MAX_KEPT || !self.keeps) && self.forget() {}
    }

    fn forget(&mut self) -> bool {
        let Some(oldest) = self.kept.pop_front() else { return false };
        self.cost -= cost(&oldest);
        self.forgotten += 1;
        self.handed = self.handed.saturating_sub(1);
        true
    }

    /// Takes what came on the channel. `false`: it is no message, but says how many have come.
    pub fn take(&mut self, now: Instant, text: bool, data: &[u8]) -> bool {
        if text && let Some(count) = data.strip_prefix(b"+\n") {
            if let Some(count) = std::str::from_utf8(count).ok().and_then(|count| count.parse().ok()) {
                // Whoever counts wrongly learns of it when the transport begins anew.
                let _ = self.acknowledge(count);
            }
            return false;
        }
        self.received = self.received.saturating_add(1);
        if !self.keeps {
            return true;
        }
        self.untold += data.len() + OVERHEAD;
        let due = if self.untold >= TELL_AFTER { now } else { now + TELL_WITHIN };
        self.tell_due = Some(self.tell_due.map_or(due, |before| before.min(due)));
        true
    }

    fn acknowledge(&mut self, count: u32) -> Result<(), TooMany> {
        let news = count.saturating_sub(self.forgotten);
        if usize::try_from(news).is_ok_and(|news| news > self.handed) {
            return Err(TooMany);
        }
        for _ in 0..news {
            self.forget();
        }
        Ok(())
    }

    /// When [`Delivery::tell`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.tell_due
    }

    /// Tells the client how many messages have come, if it is time.
    pub fn tell(&mut self, now: Instant, session: &mut impl Outlet) {
        if self.tell_due.take_if(|due| *due <= now).is_none() {
            return;
        }
        let Line::Open(channel) = self.line else { return };
        let count = Bytes::from(format!("+\n{}", self.received));
        match session.send(now, channel, true, count) {
            Err(SendError::Full) => self.tell_due = Some(now + TELL_WITHIN),
            _ => self.untold = 0,
        }
    }

    /// The transport begins anew, after `received` messages have come to the client on the one before: how many have come from there, and how many are lost
    /// because they were not kept. `Err`: nothing changed.
    pub fn renew(&mut self, received: u32) -> Result<(u32, u32), TooMany> {
        self.acknowledge(received)?;
        let lost = self.forgotten.saturating_sub(received);
        let came = std::mem::take(&mut self.received);
        (self.forgotten, self.handed, self.untold, self.tell_due) = (0, 0, 0, None);
        if self.line != Line::None {
            self.line = Line::Lost;
        }
        Ok((came, lost))
    }
}

fn cost(message: &Relayed) -> usize {
    message.bytes.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Channel;

    const FIRST: ChannelId = 0;
    const SECOND: ChannelId = 2;

    /// What went to the client, as text; `room`: of so many bytes, with their overhead.
    struct Line {
        sent: Vec<(ChannelId, String)>,
        room: usize,
    }

    impl Line {
        fn new() -> Self {
            Self { sent: Vec::new(), room: usize::MAX }
        }

        fn take(&mut self) -> Vec<(ChannelId, String)> {
            std::mem::take(&mut self.sent)
        }
    }

    impl Outlet for Line {
        fn send(&mut self, _: Instant, channel: ChannelId, _: bool, bytes: Bytes) -> Result<(), SendError> {
            self.room = self.room.checked_sub(bytes.len() + OVERHEAD).ok_or(SendError::Full)?;
            self.sent.push((channel, String::from_utf8_lossy(&bytes).into_owned()));
            Ok(())
        }
    }

    fn message(text: &str) -> Arc<Relayed> {
        Arc::new(Relayed { channel: Channel::Reliable, text: true, bytes: Bytes::from(text.to_owned()) })
    }

    fn on(channel: ChannelId, texts: &[&str]) -> Vec<(ChannelId, String)> {
        texts.iter().map(|text| (channel, (*text).to_owned())).collect()
    }

    #[test]
    fn what_did_not_come_is_sent_again_once_and_in_order_and_so_is_what_was_said_meanwhile() {
        let (now, mut line, mut delivery) = (Instant::now(), Line::new(), Delivery::new(true));
        assert!(!delivery.send(now, &message("before there is a channel"), &mut line));
        assert_eq!(delivery.open(now, FIRST, &mut line), 0);
        for text in ["a", "b", "c", "d"] {
            assert!(!delivery.send(now, &message(text), &mut line));
        }
        assert_eq!(line.take(), on(FIRST, &["a", "b", "c", "d"]));
        assert!(!delivery.take(now, true, b"+\n1"), "a count is no message");
        assert_eq!(delivery.renew(5), Err(TooMany));
        assert_eq!(delivery.renew(2), Ok((0, 0)));
        assert!(!delivery.send(now, &message("e"), &mut line));
        assert_eq!(line.take(), []);
        delivery.open(now, SECOND, &mut line);
        delivery.send(now, &message("f"), &mut line);
        assert_eq!(line.take(), on(SECOND, &["c", "d", "e", "f"]));
        // Counts begin at nothing; a second renewal before there is a channel changes nothing.
        assert_eq!(delivery.renew(3), Ok((0, 0)));
        assert_eq!(delivery.renew(1), Err(TooMany));
        assert_eq!(delivery.renew(0), Ok((0, 0)));
        delivery.open(now, FIRST, &mut line);
        assert_eq!(line.take(), on(FIRST, &["f"]));
    }

    #[test]
    fn a_session_that_ends_by_itself_loses_nothing_either() {
        let (now, mut line, mut delivery) = (Instant::now(), Line::new(), Delivery::new(true));
        delivery.open(now, FIRST, &mut line);
        delivery.close(SECOND);
        delivery.send(now, &message("a"), &mut line);
        delivery.close(FIRST);
        delivery.send(now, &message("b"), &mut line);
        assert_eq!(line.take(), on(FIRST, &["a"]));
        delivery.renew(0).unwrap();
        delivery.open(now, SECOND, &mut line);
        assert_eq!(line.take(), on(SECOND, &["a", "b"]));
    }

    #[test]
    fn what_comes_is_counted_and_the_client_told_soon_enough() {
        let (now, mut line, mut delivery) = (Instant::now(), Line::new(), Delivery::new(true));
        delivery.open(now, FIRST, &mut line);
        assert!(delivery.take(now, true, b"*\nhello") && delivery.take(now, false, b"+\n1"));
        assert_eq!(delivery.poll_timeout(), Some(now + TELL_WITHIN));
        delivery.tell(now, &mut line);
        assert_eq!(line.take(), []);
        let later = now + TELL_WITHIN;
        delivery.tell(later, &mut line);
        assert_eq!((line.take(), delivery.poll_timeout()), (on(FIRST, &["+\n2"]), None));
        for _ in 0..TELL_AFTER / 65_536 {
            assert!(delivery.take(later, false, &[0; 65_536]));
        }
        line.room = 0;
        delivery.tell(later, &mut line);
        assert_eq!(delivery.poll_timeout(), Some(later + TELL_WITHIN), "there was no room for it");
        line.room = usize::MAX;
        delivery.tell(later + TELL_WITHIN, &mut line);
        assert_eq!(line.take(), on(FIRST, &["+\n4"]));
        assert_eq!(delivery.renew(0), Ok((4, 0)));
        assert_eq!(delivery.renew(0), Ok((0, 0)));
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_lost_is_counted() {
        let (now, mut line, mut delivery) = (Instant::now(), Line::new(), Delivery::new(true));
        delivery.open(now, FIRST, &mut line);
        let large = "x".repeat(65_536 - OVERHEAD);
        for _ in 0..20 {
            assert!(!delivery.send(now, &message(&large), &mut line), "the session takes it");
        }
        assert_eq!((delivery.kept.len(), delivery.cost), (16, MAX_KEPT));
        line.room = 0;
        assert!(delivery.send(now, &message("a"), &mut line), "it does not");
        assert_eq!(delivery.kept.len(), 16);
        // Of the 20 that were sent 2 came, and 4 are not kept.
        assert_eq!(delivery.renew(2), Ok((0, 2)));
        assert!(delivery.send(now, &message("a"), &mut line), "16 wait");
        line.room = MAX_KEPT - 65_536;
        assert_eq!(delivery.open(now, SECOND, &mut line), 1, "there is room for 15");
        assert_eq!((delivery.kept.len(), delivery.cost), (15, MAX_KEPT - 65_536));
    }

    #[test]
    fn nothing_is_kept_for_who_can_t_begin_anew() {
        let (now, mut line, mut delivery) = (Instant::now(), Line::new(), Delivery::new(false));
        delivery.open(now, FIRST, &mut line);
        delivery.send(now, &message("a"), &mut line);
        assert_eq!((line.take(), delivery.cost), (on(FIRST, &["a"]), 0));
        assert!(delivery.take(now, true, b"*\na"));
        assert_eq!(delivery.poll_timeout(), None, "nobody waits to hear of it");
        delivery.close(FIRST);
        delivery.send(now, &message("b"), &mut line);
        assert_eq!((line.take(), delivery.cost), (on(FIRST, &[]), 0));
    }
}

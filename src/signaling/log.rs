//! What was sent to one client and may not have arrived, and how many messages either side has got: what it takes to go on over another connection.
//! Pure; PROTOCOL.md, *Resuming*, says what the counts count.

use std::collections::VecDeque;

use axum::body::Bytes;

#[cfg(test)]
mod tests;

/// How much is kept for a client that may have missed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What a busy room says in ten seconds, between two acknowledgements, or a quieter one in a minute.
    pub messages: usize,
    /// Some four of the largest session descriptions. An event for many is shared, so only what is for one client is really held by each.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { messages: 1024, bytes: 1 << 20 }
    }
}

/// What can be done without a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The room as it is makes up for events that were missed: where there is no room for all, events go first.
    Event,
    /// A reply, an error or an offer. Nothing makes up for it.
    Answer,
}

/// What a client gets that resumes.
#[derive(Debug, PartialEq, Eq)]
pub enum Missed {
    /// These messages, in order.
    Messages(Vec<Bytes>),
    /// Events that are gone: the room as it is, and then what [`Log::start_over`] says.
    TooMuch,
}

/// The client's count is not one with which this session can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session can't go on from that count")]
pub struct WrongCount;

#[derive(Debug)]
struct Entry {
    /// The how manieth message it is.
    number: u32,
    bytes: Bytes,
}

/// The counts of one session, and its messages that the client has not acknowledged.
#[derive(Debug)]
pub struct Log {
    bounds: Bounds,
    /// The client's messages that arrived.
    received: u32,
    /// Messages for the client so far.
    sent: u32,
    /// How many of them have surely arrived.
    acknowledged: u32,
    /// Both in order; together what was not acknowledged, apart from what there was no room for.
    events: VecDeque<Entry>,
    answers: VecDeque<Entry>,
    bytes: usize,
    /// To a client that has got fewer than this, events are missing that are gone …
    events_from: u32,
    /// … or something that can't be replaced.
    answers_from: u32,
}

impl Log {
    /// Nothing was sent yet in either direction.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            received: 0,
            sent: 0,
            acknowledged: 0,
            events: VecDeque::new(),
            answers: VecDeque::new(),
            bytes: 0,
            events_from: 0,
            answers_from: 0,
        }
    }

    /// A message of the client's has arrived.
    pub fn count_received(&mut self) {
        self.received = self.received.saturating_add(1);
    }

    /// How many messages of the client's have arrived.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// The next message for the client, whether there is a connection or not.
    pub fn push(&mut self, class: Class, bytes: Bytes) {
        self.sent = self.sent.saturating_add(1);
        self.bytes += bytes.len();
        let entry = Entry { number: self.sent, bytes };
        match class {
            Class::Event => self.events.push_back(entry),
            Class::Answer => self.answers.push_back(entry),
        }
        while self.events.len() + self.answers.len() > self.bounds.messages || self.bytes > self.bounds.bytes {
            // The oldest first: a client that resumes soon has got them.
            let (dropped, from) = match self.events.pop_front() {
                Some(event) => (event, &mut self.events_from),
                None => match self.answers.pop_front() {
                    Some(answer) => (answer, &mut self.answers_from),
                    None => return,
                },
            };
            *from = dropped.number.max(*from);
            self.bytes -= dropped.bytes.len();
        }
    }

    /// Events for the client were lost on the way here.
    pub fn push_lost(&mut self) {
        self.sent = self.sent.saturating_add(1);
        self.events_from = self.sent;
    }

    /// The client has got the first `received` messages; they are not needed any more.
    ///
    /// # Errors
    ///
    /// [`WrongCount`] if there weren't as many. Nothing has changed then.
    pub fn acknowledge(&mut self, received: u32) -> Result<(), WrongCount> {
        if received > self.sent {
            return Err(WrongCount);
        }
        self.acknowledged = self.acknowledged.max(received);
        for entries in [&mut self.events, &mut self.answers] {
            while let Some(entry) = entries.pop_front_if(|entry| entry.number <= received) {
                self.bytes -= entry.bytes.len();
            }
            // Once a crowd has come in, room for what was said of it would be kept for ever.
            if entries.len() < entries.capacity() / 4 {
                entries.shrink_to(2 * entries.len());
            }
        }
        Ok(())
    }

    /// The client goes on over another connection and has got the first `received` messages.
    ///
    /// # Errors
    ///
    /// [`WrongCount`] if there weren't as many, if the client has said before that it had got more, or if something is missing in between that can't be
    /// replaced. Nothing has changed then.
    pub fn resume(&mut self, received: u32) -> Result<Missed, WrongCount> {
        if received < self.acknowledged || received < self.answers_from {
            return Err(WrongCount);
        }
        self.acknowledge(received)?;
        Ok(if received < self.events_from { Missed::TooMuch } else { Missed::Messages(self.messages()) })
    }

    /// After [`Missed::TooMuch`], and whatever was pushed since: the client is told the room as it is now, and then gets these messages, in order. They are
    /// counted anew from where the client's count stands; events are gone.
    ///
    /// # Errors
    ///
    /// [`WrongCount`] if something that can't be replaced has been lost meanwhile.
    pub fn start_over(&mut self) -> Result<Vec<Bytes>, WrongCount> {
        if self.acknowledged < self.answers_from {
            return Err(WrongCount);
        }
        self.events.clear();
        self.sent = self.acknowledged;
        for answer in &mut self.answers {
            self.sent = self.sent.saturating_add(1);
            answer.number = self.sent;
        }
        self.bytes = self.answers.iter().map(|answer| answer.bytes.len()).sum();
        // What the client is told of the room has no number: only a message after it shows that it has arrived.
        self.events_from = self.acknowledged.saturating_add(1);
        Ok(self.messages())
    }

    /// What is kept, in order.
    fn messages(&self) -> Vec<Bytes> {
        let mut entries: Vec<&Entry> = self.events.iter().chain(&self.answers).collect();
        entries.sort_unstable_by_key(|entry| entry.number);
        entries.into_iter().map(|entry| entry.bytes.clone()).collect()
    }
}

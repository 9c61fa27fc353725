//! What each end of a session has of the other's messages.

use std::collections::VecDeque;

/// Messages that are kept for the case that the connection is lost, as many as the server keeps. A client has a handful of requests unanswered at
/// a time; while it has no connection, callers go on asking.
pub(super) const MAX_KEPT: usize = 1024;

/// Too much is unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_KEPT} requests are unanswered")]
pub(crate) struct Full;

/// The server counts more than was sent, or less than it is known to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server has {received} messages of this session, it says, while {known} to {sent} are possible")]
pub(super) struct Contradiction {
    received: u32,
    known: u32,
    sent: u32,
}

/// The count of a session's messages after `join`, over all its connections, and those of the client's that the server may not have (PROTOCOL.md,
/// *Resuming*). `M` is a message as it is sent.
#[derive(Debug)]
pub(super) struct Tally<M> {
    received: u32,
    /// How many of the client's the server has for certain: what it answered, it got, and so all before it.
    arrived: u32,
    /// The others with their ids, oldest first.
    kept: VecDeque<(u32, M)>,
}

impl<M> Tally<M> {
    pub(super) fn new() -> Self {
        Self { received: 0, arrived: 0, kept: VecDeque::new() }
    }

    /// How many of the server's messages came.
    pub(super) fn received(&self) -> u32 {
        self.received
    }

    /// A message is sent, or will be over the next connection.
    pub(super) fn send(&mut self, id: u32, message: M) -> Result<(), Full> {
        if self.kept.len() == MAX_KEPT {
            return Err(Full);
        }
        self.kept.push_back((id, message));
        Ok(())
    }

    /// A message of the server's came, which answers `request` if it is an answer.
    pub(super) fn receive(&mut self, request: Option<u32>) {
        self.received = self.received.wrapping_add(1);
        // Answers come in any order: what an earlier one has settled is not kept any more.
        if let Some(at) = request.and_then(|request| self.kept.iter().position(|(id, _)| *id == request)) {
            self.kept.drain(..=at);
            self.arrived = self.arrived.wrapping_add(at as u32 + 1);
        }
    }

    /// The session goes on: the server has the first `received` messages. Those that it lacks are to be sent again, in this order.
    pub(super) fn resume(&mut self, received: u32) -> Result<impl Iterator<Item = &M>, Contradiction> {
        let more = received.wrapping_sub(self.arrived) as usize;
        if more > self.kept.len() {
            let (known, sent) = (self.arrived, self.arrived.wrapping_add(self.kept.len() as u32));
            return Err(Contradiction { received, known, sent });
        }
        self.kept.drain(..more);
        self.arrived = received;
        Ok(self.kept.iter().map(|(_, message)| message))
    }
}

#[cfg(test)]
mod tests {
    use switchyard_netem::Random;

    use super::*;

    fn again(tally: &mut Tally<&'static str>, received: u32) -> Vec<&'static str> {
        tally.resume(received).unwrap().copied().collect()
    }

    #[test]
    fn what_the_server_lacks_is_sent_again_in_order() {
        let mut tally = Tally::new();
        [(1, "a"), (2, "b"), (3, "c")].into_iter().for_each(|(id, message)| tally.send(id, message).unwrap());
        assert_eq!(again(&mut tally, 1), ["b", "c"]);
        // Said again over the next connection, and lost again.
        assert_eq!(again(&mut tally, 1), ["b", "c"]);
        tally.send(4, "d").unwrap();
        assert_eq!(again(&mut tally, 3), ["d"]);
        assert!(again(&mut tally, 4).is_empty());
    }

    #[test]
    fn an_answer_settles_all_before_it_and_only_messages_count() {
        let mut tally = Tally::new();
        [(1, "a"), (2, "b"), (3, "c"), (4, "d")].into_iter().for_each(|(id, message)| tally.send(id, message).unwrap());
        tally.receive(Some(3));
        tally.receive(None);
        tally.receive(Some(1));
        // An id that comes again is another message.
        tally.send(1, "e").unwrap();
        assert_eq!(tally.received(), 3);
        assert_eq!(again(&mut tally, 3), ["d", "e"]);
    }

    #[test]
    fn a_server_that_contradicts_itself_is_found_out() {
        let mut tally = Tally::new();
        [(1, "a"), (2, "b"), (3, "c")].into_iter().for_each(|(id, message)| tally.send(id, message).unwrap());
        tally.receive(Some(2));
        assert_eq!(tally.resume(1).err(), Some(Contradiction { received: 1, known: 2, sent: 3 }));
        assert_eq!(tally.resume(4).err(), Some(Contradiction { received: 4, known: 2, sent: 3 }));
        assert_eq!(again(&mut tally, 2), ["c"]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut tally = Tally::new();
        (0..MAX_KEPT as u32).for_each(|id| tally.send(id, id).unwrap());
        assert_eq!(tally.send(9999, 0), Err(Full));
        tally.receive(Some(0));
        tally.send(9999, 0).unwrap();
    }

    /// A line that is cut at any moment, with any number of messages under way in both directions: each end gets each message once and in order.
    #[test]
    fn over_any_number_of_cuts_every_message_arrives_once_and_in_order() {
        for seed in 0..200 {
            let random = &mut Random::new(seed, 0);
            let mut tally = Tally::new();
            let (mut server_got, mut client_got) = (Vec::new(), Vec::new());
            // What the server said: an answer to a message, or an event.
            let mut said: Vec<Option<u32>> = Vec::new();
            let (mut up, mut down): (VecDeque<u32>, VecDeque<usize>) = Default::default();
            let mut next = 0;
            for _ in 0..300 {
                match random.below(10) {
                    0..3 => {
                        tally.send(next, next).unwrap();
                        up.push_back(next);
                        next += 1;
                    }
                    3..6 => {
                        let Some(message) = up.pop_front() else { continue };
                        server_got.push(message);
                        said.push(Some(message));
                        down.push_back(said.len() - 1);
                    }
                    6 => {
                        said.push(None);
                        down.push_back(said.len() - 1);
                    }
                    7..9 => {
                        let Some(message) = down.pop_front() else { continue };
                        client_got.push(message);
                        tally.receive(said[message]);
                    }
                    _ => {
                        (up, down) = Default::default();
                        up.extend(tally.resume(server_got.len() as u32).unwrap());
                        down.extend(tally.received() as usize..said.len());
                    }
                }
            }
            assert!(server_got.iter().copied().eq(0..server_got.len() as u32), "seed {seed}: {server_got:?}");
            assert!(client_got.iter().copied().eq(0..client_got.len()), "seed {seed}: {client_got:?}");
            assert!(server_got.len() > 20 && client_got.len() > 20, "seed {seed}");
        }
    }
}

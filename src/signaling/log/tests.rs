use proptest::prelude::*;

use super::*;

const SMALL: Bounds = Bounds { messages: 4, bytes: 40 };

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn log(messages: &[(Class, &str)]) -> Log {
    let mut log = Log::new(SMALL);
    messages.iter().for_each(|(class, text)| log.push(*class, bytes(text)));
    log
}

fn missed(texts: &[&str]) -> Result<Missed, WrongCount> {
    Ok(Missed::Messages(texts.iter().map(|text| bytes(text)).collect()))
}

#[test]
fn a_client_gets_what_it_has_not_got() {
    use Class::{Answer, Event};
    let long = "x".repeat(30);
    type Case<'a> = (&'a str, &'a [(Class, &'a str)], u32, Result<Missed, WrongCount>);
    let cases: &[Case<'_>] = &[
        ("nothing was sent", &[], 0, missed(&[])),
        ("more than was sent", &[], 1, Err(WrongCount)),
        ("nothing was got", &[(Event, "a"), (Answer, "b"), (Event, "c")], 0, missed(&["a", "b", "c"])),
        ("some was got", &[(Event, "a"), (Answer, "b"), (Event, "c")], 1, missed(&["b", "c"])),
        ("all was got", &[(Event, "a"), (Answer, "b"), (Event, "c")], 3, missed(&[])),
        ("a fourth of three", &[(Event, "a"), (Answer, "b"), (Event, "c")], 4, Err(WrongCount)),
        ("the oldest event is gone", &[(Answer, "a"), (Event, "b"), (Answer, "c"), (Event, "d"), (Event, "e")], 1, Ok(Missed::TooMuch)),
        ("… which was got", &[(Answer, "a"), (Event, "b"), (Answer, "c"), (Event, "d"), (Event, "e")], 2, missed(&["c", "d", "e"])),
        ("too many bytes", &[(Answer, "a"), (Event, "b"), (Answer, &long), (Event, "some bytes")], 0, Ok(Missed::TooMuch)),
        ("an answer is gone", &[(Answer, "a"), (Answer, "b"), (Answer, "c"), (Answer, "d"), (Answer, "e")], 0, Err(WrongCount)),
        ("… which was got", &[(Answer, "a"), (Answer, "b"), (Answer, "c"), (Answer, "d"), (Answer, "e")], 1, missed(&["b", "c", "d", "e"])),
    ];
    for (name, messages, received, expected) in cases {
        assert_eq!(log(messages).resume(*received), *expected, "{name}");
    }
}

#[test]
fn what_is_acknowledged_is_kept_no_longer_and_can_not_be_taken_back() {
    let mut log = log(&[(Class::Event, "a"), (Class::Answer, "b"), (Class::Event, "c")]);
    assert_eq!(log.acknowledge(2), Ok(()));
    assert_eq!((log.events.len(), log.answers.len(), log.bytes), (1, 0, 1));
    assert_eq!(log.acknowledge(1), Ok(()), "late, but true");
    assert_eq!(log.acknowledge(4), Err(WrongCount));
    assert_eq!(log.resume(1), Err(WrongCount));
    assert_eq!(log.resume(2), missed(&["c"]));
}

#[test]
fn no_more_is_kept_than_there_is_room_for() {
    let mut log = Log::new(Bounds::default());
    for n in 0..5000 {
        log.push(if n % 3 == 0 { Class::Answer } else { Class::Event }, bytes("hello"));
    }
    assert_eq!(log.events.len() + log.answers.len(), 1024);
    for _ in 0..10 {
        log.push(Class::Answer, vec![0; 300_000].into());
    }
    assert!(log.bytes <= 1 << 20 && log.answers.len() == 3, "{} bytes in {} messages", log.bytes, log.answers.len());
}

#[test]
fn after_starting_over_the_count_goes_on_where_the_clients_stands() {
    let mut log = log(&[(Class::Answer, "a"), (Class::Event, "b"), (Class::Answer, "c"), (Class::Event, "d"), (Class::Event, "e")]);
    log.push_lost();
    assert_eq!(log.resume(1), Ok(Missed::TooMuch));
    log.push(Class::Answer, bytes("f"));
    assert_eq!(log.start_over(), Ok(vec![bytes("c"), bytes("f")]));
    log.push(Class::Event, bytes("g"));
    // Whether the room as it is arrived shows only by what came after it.
    assert_eq!(log.resume(1), Ok(Missed::TooMuch));
    assert_eq!(log.resume(2), missed(&["f", "g"]));
    assert_eq!(log.resume(4), missed(&[]));
    assert_eq!(log.resume(5), Err(WrongCount));
}

#[test]
fn events_lost_on_the_way_to_the_log_take_a_look_at_the_room() {
    let mut log = log(&[(Class::Event, "a")]);
    log.push_lost();
    assert_eq!(log.resume(1), Ok(Missed::TooMuch), "though all that was kept has arrived");
}

#[test]
fn what_was_lost_on_the_way_is_not_forgotten_over_what_there_is_no_room_for() {
    let mut log = log(&[(Class::Event, "a"), (Class::Event, "b"), (Class::Event, "c"), (Class::Event, "d")]);
    log.push_lost();
    log.push(Class::Event, bytes("e"));
    assert_eq!(log.resume(3), Ok(Missed::TooMuch));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Event,
    Answer,
    /// The client sends something.
    Ask,
    /// That many messages arrive at the client, and at the server.
    Arrive(usize, usize),
    Acknowledge,
    Cut,
    Resume,
    /// The room as it is, for a client that waits for it.
    Look,
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Event),
        2 => Just(Step::Answer),
        3 => Just(Step::Ask),
        6 => (0..4usize, 0..4usize).prop_map(|(client, server)| Step::Arrive(client, server)),
        1 => Just(Step::Acknowledge),
        2 => Just(Step::Cut),
        3 => Just(Step::Resume),
        3 => Just(Step::Look),
        1 => Just(Step::Lose),
    ]
}

/// What is under way to the client.
#[derive(Clone, Debug)]
enum ToClient {
    Resumed { received: u32, look: Option<usize> },
    Message(usize),
}

#[derive(Clone, Debug)]
enum ToServer {
    Message(usize),
    Acknowledge(u32),
}

/// A session and its client; everything said is a number, from 0.
struct World {
    log: Log,
    said: Vec<Class>,
    /// Both ways of the connection, while there is one.
    connection: Option<(VecDeque<ToClient>, VecDeque<ToServer>)>,
    /// The client waits to be told the room as it is.
    waits: bool,
    /// The client: what it has got, how much was said when it last looked at the room, how many messages it counts, what it asked.
    got: Vec<usize>,
    looked: usize,
    count: u32,
    asked: usize,
    /// Whether the client knows that the connection is the session's.
    resumed: bool,
    heard: Vec<usize>,
}

impl World {
    fn new() -> Self {
        Self {
            log: Log::new(Bounds { messages: 6, bytes: 1000 }),
            said: Vec::new(),
            connection: Some(Default::default()),
            waits: false,
            got: Vec::new(),
            looked: 0,
            count: 0,
            asked: 0,
            resumed: true,
            heard: Vec::new(),
        }
    }

    fn say(&mut self, class: Class) {
        let number = self.said.len();
        self.said.push(class);
        if class == Class::Event && self.waits {
            // It will see that in the room as it is.
            return;
        }
        self.log.push(class, number.to_be_bytes().to_vec().into());
        if let Some((to_client, _)) = &mut self.connection
            && !self.waits
        {
            to_client.push_back(ToClient::Message(number));
        }
    }

    fn attach(&mut self, look: Option<usize>, messages: Vec<Bytes>) {
        self.waits = false;
        let received = self.log.received();
        let number = |bytes: Bytes| usize::from_be_bytes(bytes[..].try_into().unwrap());
        let replayed = messages.into_iter().map(|bytes| ToClient::Message(number(bytes)));
        let first = ToClient::Resumed { received, look };
        self.connection = Some((std::iter::once(first).chain(replayed).collect(), VecDeque::new()));
    }

    /// `false`: the session is over.
    fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Event => self.say(Class::Event),
            Step::Answer => self.say(Class::Answer),
            Step::Ask => {
                if let (Some((_, to_server)), true) = (&mut self.connection, self.resumed) {
                    to_server.push_back(ToServer::Message(self.asked));
                }
                self.asked += 1;
            }
            Step::Arrive(client, server) => {
                (0..client).for_each(|_| self.client_takes());
                (0..server).for_each(|_| self.server_takes());
            }
            Step::Acknowledge => {
                if let (Some((_, to_server)), true) = (&mut self.connection, self.resumed) {
                    to_server.push_back(ToServer::Acknowledge(self.count));
                }
            }
            Step::Cut => self.cut(),
            Step::Resume => {
                self.cut();
                match self.log.resume(self.count) {
                    Ok(Missed::Messages(messages)) => self.attach(None, messages),
                    Ok(Missed::TooMuch) => self.waits = true,
                    Err(WrongCount) => return self.is_lost(),
                }
            }
            Step::Look if self.waits => match self.log.start_over() {
                Ok(messages) => self.attach(Some(self.said.len()), messages),
                Err(WrongCount) => return self.is_lost(),
            },
            Step::Look => {}
            Step::Lose => {
                self.said.push(Class::Event);
                self.log.push_lost();
                self.cut();
            }
        }
        true
    }

    fn cut(&mut self) {
        self.connection = None;
        self.waits = false;
        self.resumed = false;
    }

    /// A session may be over only because more answers were missed than are kept.
    fn is_lost(&self) -> bool {
        let missed = (0..self.said.len()).filter(|number| self.said[*number] == Class::Answer && !self.got.contains(number)).count();
        assert!(missed > self.log.bounds.messages, "only {missed} answers were missed");
        false
    }

    fn client_takes(&mut self) {
        let Some((to_client, to_server)) = &mut self.connection else { return };
        match to_client.pop_front() {
            None => {}
            Some(ToClient::Resumed { received, look }) => {
                self.resumed = true;
                self.looked = look.unwrap_or(self.looked);
                to_server.extend((received as usize..self.asked).map(ToServer::Message));
            }
            Some(ToClient::Message(number)) => {
                self.count += 1;
                assert!(self.said[number] == Class::Answer || number >= self.looked, "an event older than the room as it was seen");
                assert!(self.got.last().is_none_or(|last| *last < number), "{number} after {:?}", self.got);
                self.got.push(number);
            }
        }
    }

    fn server_takes(&mut self) {
        let Some((_, to_server)) = &mut self.connection else { return };
        match to_server.pop_front() {
            None => {}
            Some(ToServer::Message(number)) => {
                self.log.count_received();
                self.heard.push(number);
            }
            Some(ToServer::Acknowledge(count)) => assert_eq!(self.log.acknowledge(count), Ok(())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn every_message_arrives_once_and_in_order_unless_the_room_as_it_is_makes_up_for_it(steps in proptest::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        for step in steps {
            if !world.take(step) {
                return Ok(());
            }
        }
        if !(world.take(Step::Resume) && world.take(Step::Look)) {
            return Ok(());
        }
        for _ in 0..500 {
            world.take(Step::Arrive(1, 1));
        }
        prop_assert_eq!(world.heard, (0..world.asked).collect::<Vec<_>>(), "what the client asked");
        for (number, class) in world.said.iter().enumerate() {
            let made_up_for = *class == Class::Event && number < world.looked;
            prop_assert!(made_up_for || world.got.contains(&number), "{} of {:?} was missed, {:?} got, looked at {}", number, world.said, world.got, world.looked);
        }
    }
}

#[test]
fn room_for_a_crowds_messages_is_given_back() {
    let mut log = Log::new(Bounds::default());
    (0..1000).for_each(|_| log.push(Class::Event, bytes("somebody came")));
    log.acknowledge(999).unwrap();
    assert_eq!(log.events.len(), 1);
    assert!(log.events.capacity() <= 8, "{}", log.events.capacity());
}

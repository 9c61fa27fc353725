//! Headless participants that talk all the time, past the peer connection, so that a machine has room for hundreds.

#![allow(dead_code, reason = "each test target uses a part")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use switchyard_client::{
    Arrival, Client, ClientEvent, Kind, Lines, Media, Options, Outgoing, Publish, Sender, Sink, Source, Stamp, WaitError, now_micros,
};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// For a server in whose rooms everybody is heard, silent or not.
pub const EVERYBODY: [&str; 2] = ["--heard", "56"];

/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(3600);

/// What came of one participant's voice, by the clock of [`now_micros`].
#[derive(Clone, Copy, Debug)]
pub struct Voice {
    pub first: u64,
    pub last: u64,
    pub received: u64,
    /// The longest time between two packets.
    pub longest_gap: Duration,
    /// Packets that never came, before another did.
    pub lost: u64,
    next: u64,
}

/// Hears who talks, by participant.
#[derive(Clone, Default)]
pub struct Ear(Arc<Mutex<BTreeMap<u32, Voice>>>);

impl Ear {
    pub fn voices(&self) -> BTreeMap<u32, Voice> {
        self.0.lock().unwrap().clone()
    }

    /// Forgets what was heard.
    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Sink for Ear {
    fn handle_packet(&mut self, arrival: &Arrival<'_>) -> bool {
        let Some(stamp) = Stamp::read(arrival.payload) else { return false };
        let at = arrival.at_micros;
        let mut voices = self.0.lock().unwrap();
        let fresh = Voice { first: at, last: at, received: 0, longest_gap: Duration::ZERO, lost: 0, next: stamp.counter };
        let voice = voices.entry(stamp.publisher).or_insert(fresh);
        voice.longest_gap = voice.longest_gap.max(Duration::from_micros(at.saturating_sub(voice.last)));
        voice.lost += stamp.counter.saturating_sub(voice.next);
        (voice.last, voice.received, voice.next) = (at, voice.received + 1, stamp.counter + 1);
        false
    }

    fn handle_lag(&mut self, _: u64) {}
}

/// A participant that talks as soon as it can, in every session it gets and over every peer connection. Dropping it leaves.
pub struct Talker {
    pub client: Arc<Client>,
    pub ear: Ear,
    task: JoinHandle<()>,
}

impl Talker {
    /// Enters a room; `every`: between two packets.
    pub async fn enter(url: &str, room: &str, name: &str, every: Duration, seed: u64) -> Self {
        Self::enter_over(None, url, room, name, every, seed).await
    }

    /// Enters a room over a bad line.
    pub async fn enter_over(lines: Option<Lines>, url: &str, room: &str, name: &str, every: Duration, seed: u64) -> Self {
        let mut options = Options::new(url, room, name).publish(Publish::new(Source::Microphone, Media::Silent));
        options.seed = seed;
        let ear = Ear::default();
        let client = Client::connect_direct(options, Box::new(ear.clone()), lines).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let client = Arc::new(client);
        let task = tokio::spawn(talk(client.clone(), client.events(), ear.clone(), every));
        Self { client, ear, task }
    }

    /// Waits until it hears that many, and nobody else.
    pub async fn hears(&self, count: usize, timeout: Duration) -> BTreeMap<u32, Voice> {
        let heard = async {
            loop {
                let voices = self.ear.voices();
                if voices.len() == count {
                    return voices;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let heard = tokio::time::timeout(timeout, heard).await;
        heard.unwrap_or_else(|_| panic!("{:?} hears {:?}: {:?}", self.client.id(), self.ear.voices().keys(), self.client.state()))
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Talks until the client is closed. In a new session everybody is somebody else: what was heard is forgotten.
async fn talk(client: Arc<Client>, mut events: broadcast::Receiver<ClientEvent>, ear: Ear, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Ok(mut sender) = sender(&client).await {
        let (me, mut counter) = (client.id(), 0);
        loop {
            ticks.tick().await;
            let (mut rejoined, mut renewed) = (false, false);
            loop {
                match events.try_recv() {
                    Ok(ClientEvent::Rejoined { .. }) => rejoined = true,
                    Ok(ClientEvent::Renewed) => renewed = true,
                    Ok(_) => {}
                    Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                    Err(_) => break,
                }
            }
            if rejoined {
                ear.clear();
            }
            if rejoined || renewed {
                break;
            }
            let stamp = Stamp { publisher: me.0, publication: 0, counter, sent_micros: now_micros() };
            let payload = stamp.payload(Kind::Audio, 80);
            let timestamp = (u128::from(counter) * every.as_micros() * 48 / 1000) as u32;
            let outgoing = Outgoing { timestamp, payload: payload.len(), ..Outgoing::default() };
            if sender.push(&outgoing, |out| out.copy_from_slice(&payload)) {
                counter += 1;
                sender.flush();
            }
        }
    }
}

async fn sender(client: &Client) -> Result<Sender, WaitError> {
    loop {
        let state = client.wait_until(FOREVER, |state| !state.published.is_empty()).await?;
        let track = *state.published.keys().next().expect("one");
        // Of a session that is gone again, perhaps.
        if let Ok(sender) = client.sender(track).await {
            return Ok(sender);
        }
    }
}

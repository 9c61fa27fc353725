//! How one participant is connected: over a WebSocket, or by a publisher's and a player's session over HTTP. What it sends and what arrives is
//! the same to the run.

use std::collections::HashSet;
use std::time::Duration;

use switchyard_client::{Client, HttpSession, Kind, Lines, Media, Options, Publish, Request, Sender, Source, TrackId, Transport};

use super::Shared;
use super::outcome::JoinError;
use super::participant::Spec;
use super::target::{Endpoints, Target};
use crate::measure::MeterSink;
use crate::scenario::{Scenario, Subscribe};
use crate::traffic::ModelConfig;

/// How long a transport may take to connect once the session is negotiated.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How often someone who receives nobody looks for new tracks to decline.
const DECLINE_INTERVAL: Duration = Duration::from_millis(250);
/// Pictures, and as many sounds, that a player asks for at most: as many as a Switchyard server has slots for it.
const MAX_PLAYED: u32 = 56;

/// A participant's connection with the server, its transport connected.
pub(super) enum Connection {
    /// One for all it sends and receives.
    Signaling(Box<Client>),
    /// One for what it sends, and one for what it receives.
    Http { publisher: Option<Box<HttpSession>>, player: Option<Box<HttpSession>> },
}

impl Connection {
    /// Joins, and waits until media can flow.
    pub(super) async fn open(shared: &Shared, spec: &Spec, sink: &MeterSink, lines: Option<Lines>) -> Result<Self, JoinError> {
        let role = &shared.scenario.roles[spec.join.role];
        let room = format!("{}{}", shared.options.room_prefix, spec.join.room);
        let name = format!("{} {}", role.name, spec.join.number + 1);
        match &shared.options.target {
            Target::Signaling(url) => {
                let mut options = Options::new(url, room, name);
                // Whoever is lost is counted, and whoever would come back would be somebody else.
                options.reconnect = false;
                options.feedback.transport_wide = shared.scenario.is_selective();
                for (_, config) in &spec.tracks {
                    let encodings = match config {
                        ModelConfig::Video(video) => video.encodings.iter().map(|encoding| encoding.rid.clone()).collect(),
                        _ => Vec::new(),
                    };
                    options = options.publish(Publish { encodings, ..Publish::new(source(config), Media::Silent) });
                }
                let client = Client::connect_direct(options, Box::new(sink.clone()), lines).await?;
                let connected = client.wait_until(CONNECT_PATIENCE, |state| state.transport == Transport::Connected).await;
                connected.map_err(|_| JoinError::Failed("the transport did not connect".into()))?;
                Ok(Self::Signaling(Box::new(client)))
            }
            Target::Http(endpoints) => {
                let mut connection = Self::Http { publisher: None, player: None };
                let opened = connection.open_http(endpoints, shared, spec, (&room, &name), sink, lines).await;
                match opened {
                    Ok(()) => Ok(connection),
                    Err(error) => {
                        connection.leave().await;
                        Err(error)
                    }
                }
            }
        }
    }

    async fn open_http(
        &mut self,
        endpoints: &Endpoints,
        shared: &Shared,
        spec: &Spec,
        (room, name): (&str, &str),
        sink: &MeterSink,
        lines: Option<Lines>,
    ) -> Result<(), JoinError> {
        let Self::Http { publisher, player } = self else { return Ok(()) };
        if !spec.tracks.is_empty() {
            let kinds: Vec<Kind> = spec.tracks.iter().map(|(_, config)| source(config).kind()).collect();
            let session = HttpSession::publish(&endpoints.whip(room, name), &kinds, Box::new(sink.clone()), lines.clone()).await?;
            *publisher = Some(Box::new(session));
        }
        if shared.scenario.roles[spec.join.role].subscribe == Subscribe::All {
            let (audio, video) = played(&shared.scenario);
            let lines = lines.map(|lines| Lines { seed: lines.seed ^ 1, ..lines });
            let session = HttpSession::play(&endpoints.whep(room, name), audio, video, Box::new(sink.clone()), lines).await?;
            *player = Some(Box::new(session));
        }
        for session in [publisher, player].into_iter().flatten() {
            session.wait_connected(CONNECT_PATIENCE).await?;
        }
        Ok(())
    }

    /// What sends the encodings of each of the participant's tracks, in the order of the cast, and how the server calls the track; to be called once.
    pub(super) async fn senders(&mut self, spec: &Spec) -> Result<Vec<(Option<TrackId>, Vec<Sender>)>, JoinError> {
        match self {
            Self::Signaling(client) => {
                let published = client.state().published;
                let mut senders = Vec::with_capacity(spec.tracks.len());
                for (_, config) in &spec.tracks {
                    // Each of a participant's tracks has another source.
                    let track = published.iter().find(|(_, published)| published.source == source(config));
                    let (track, _) = track.ok_or_else(|| JoinError::Failed("a track was not published".into()))?;
                    senders.push((Some(*track), client.senders(*track).await?));
                }
                Ok(senders)
            }
            Self::Http { publisher, .. } => {
                let senders = publisher.as_mut().map(|publisher| publisher.senders()).unwrap_or_default();
                Ok(senders.into_iter().map(|sender| (None, vec![sender])).collect())
            }
        }
    }

    /// The client, of whoever speaks Switchyard's signaling.
    pub(super) fn client(&self) -> Option<&Client> {
        match self {
            Self::Signaling(client) => Some(client),
            Self::Http { .. } => None,
        }
    }

    /// The ports of its media sockets.
    pub(super) fn ports(&self) -> Vec<u16> {
        let addresses = match self {
            Self::Signaling(client) => [client.media_address(), None],
            Self::Http { publisher, player } => [publisher, player].map(|session| session.as_ref()?.media_address()),
        };
        addresses.into_iter().flatten().map(|address| address.port()).collect()
    }

    /// Waits until the server or the network has ended it. Meanwhile someone who receives nobody says so for every track there is.
    pub(super) async fn wait_over(&self, subscribe: Subscribe) {
        match self {
            Self::Signaling(client) => {
                let over = client.wait_until(Duration::from_secs(86_400 * 365), |state| state.closed.is_some());
                tokio::select! {
                    _ = over => {}
                    () = decline(client), if subscribe == Subscribe::None => {}
                }
            }
            Self::Http { publisher, player } => {
                let over = async |session: &Option<Box<HttpSession>>| match session {
                    Some(session) => session.wait_over().await,
                    None => std::future::pending().await,
                };
                tokio::select! {
                    () = over(publisher) => {}
                    () = over(player) => {}
                }
            }
        }
    }

    /// Says goodbye. That it can't be said is no matter any more.
    pub(super) async fn leave(self) {
        match self {
            Self::Signaling(client) => drop(client.leave().await),
            Self::Http { publisher, player } => {
                for session in [publisher, player].into_iter().flatten() {
                    let _ = session.leave().await;
                }
            }
        }
    }
}

/// Declines every track that is published, for ever.
async fn decline(client: &Client) {
    let mut declined: HashSet<TrackId> = HashSet::new();
    loop {
        for (_, track) in client.tracks() {
            if declined.insert(track.id) {
                let _ = client.request(Request::Unsubscribe { track: track.id }).await;
            }
        }
        tokio::time::sleep(DECLINE_INTERVAL).await;
    }
}

/// The sounds and pictures that a player asks for: of everybody in the room, itself included, since a player is nobody in particular. A
/// participant's camera and microphone come as a pair, and so does a screen with its sound.
fn played(scenario: &Scenario) -> (usize, usize) {
    let pairs = |role: &crate::scenario::Role| {
        u32::from(role.video.is_some() || role.fixed.is_some() || role.audio.is_some()) + u32::from(role.screen.is_some())
    };
    let all = scenario.roles.iter().fold(0u32, |sum, role| sum.saturating_add(role.count.saturating_mul(pairs(role))));
    let count = |any: bool| if any { all.min(MAX_PLAYED) as usize } else { 0 };
    let sounds = scenario.roles.iter().any(|role| role.audio.is_some());
    let pictures = scenario.roles.iter().any(|role| role.video.is_some() || role.fixed.is_some() || role.screen.is_some());
    (count(sounds), count(pictures))
}

fn source(config: &ModelConfig) -> Source {
    match config {
        ModelConfig::Video(_) | ModelConfig::Fixed(_) => Source::Camera,
        ModelConfig::Screen(_) => Source::Screen,
        ModelConfig::Audio(_) => Source::Microphone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_asks_for_a_pair_for_each_group_of_tracks_in_its_room() {
        let scenario = |roles: &str| {
            let head = "name = \"x\"\ndescription = \"\"\ntransport = \"whip\"\nduration = \"1s\"\nramp = \"at once\"\nrooms = 3\nscale = \"rooms\"\n";
            Scenario::parse("x.toml", &format!("{head}{roles}")).unwrap()
        };
        let role = |name: &str, count: u32, tracks: &str| format!("[[roles]]\nname = \"{name}\"\ncount = {count}\n{tracks}\n");
        let (camera, screen) = (role("camera", 2, "fixed = {}\naudio = {}"), role("screen", 1, "screen = {}"));
        assert_eq!(played(&scenario(&camera)), (2, 2));
        assert_eq!(played(&scenario(&(camera + &screen + &role("viewer", 9, "")))), (3, 3));
        assert_eq!(played(&scenario(&screen)), (0, 1));
        assert_eq!(played(&scenario(&role("sound", 3, "audio = {}"))), (3, 0));
        assert_eq!(played(&scenario(&role("many", 100, "audio = {}"))), (56, 0));
    }
}

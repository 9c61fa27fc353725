//! One participant's life: joins, publishes, stays, leaves, perhaps comes back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use switchyard_client::{Client, Lines, Media, Options, Publish, Source, TrackId, Transport, now_micros};
use switchyard_netem::Random;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::outcome::{JoinError, Joined, Session};
use super::{Shared, publish};
use crate::measure::MeterSink;
use crate::scenario::{Join, Subscribe};
use crate::traffic::{Model, ModelConfig};

/// How long a transport may take to connect once the session is negotiated.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// Between leaving and coming back.
const ABSENCE: Duration = Duration::from_secs(1);
/// How often someone who receives nobody looks for new tracks to decline.
const DECLINE_INTERVAL: Duration = Duration::from_millis(250);

/// One participant of the cast.
pub(super) struct Spec {
    pub(super) number: usize,
    pub(super) join: Join,
    /// What it publishes, with the publications' numbers.
    pub(super) tracks: Vec<(u32, ModelConfig)>,
}

/// Lives until the run ends.
pub(super) async fn live(shared: Arc<Shared>, spec: Spec, begin: Instant) {
    let (mut window, mut stop) = (shared.window.clone(), shared.stop.clone());
    let seed = shared.scenario.seed.wrapping_add(spec.number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let start = if spec.join.measured {
        tokio::select! {
            opened = window.wait_for(Option::is_some) => match opened.map(|opened| *opened) {
                Ok(Some(opened)) => opened,
                _ => return,
            },
            () = stopped(&mut stop) => return,
        }
    } else {
        begin
    };
    tokio::select! {
        () = tokio::time::sleep_until((start + spec.join.at).into()) => {}
        () = stopped(&mut stop) => return,
    }
    // A track goes on counting where it was when its publisher comes back.
    let mut models: Vec<(u32, Model)> = Vec::new();
    for (number, config) in &spec.tracks {
        // Checked before the run.
        let Ok(model) = Model::new(config, seed ^ u64::from(*number), Instant::now()) else { return };
        models.push((*number, model));
    }
    let mut random = Random::new(seed, 1);
    loop {
        let stay = shared.scenario.roles[spec.join.role].churn.map(|mean| mean.mul_f64(-(1.0 - random.fraction()).ln()));
        let joined = session(&shared, &spec, &mut models, seed, stay, &mut stop).await;
        let came = joined.is_ok();
        if let Err(error) = joined {
            shared.board().joins.push(Joined { result: Err(error) });
        }
        if *stop.borrow() || (stay.is_none() && came) {
            return;
        }
        if stay.is_none() {
            // Whoever failed to get in stays out: the figures say so.
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(ABSENCE) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// From joining to leaving.
async fn session(
    shared: &Arc<Shared>,
    spec: &Spec,
    models: &mut Vec<(u32, Model)>,
    seed: u64,
    stay: Option<Duration>,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), JoinError> {
    let role = &shared.scenario.roles[spec.join.role];
    let sink = MeterSink::new(shared.publications.clone(), shared.groups.clone(), spec.join.role, spec.number);
    let mut options = Options::new(
        &shared.options.url,
        format!("{}{}", shared.options.room_prefix, spec.join.room),
        format!("{} {}", role.name, spec.join.number + 1),
    );
    for (_, config) in &spec.tracks {
        options = options.publish(Publish::new(source(config), Media::Silent));
    }
    let perfect = switchyard_netem::Config::default();
    let impaired = role.uplink != perfect || role.downlink != perfect;
    let lines = impaired.then(|| Lines { up: role.uplink.clone(), down: role.downlink.clone(), seed });
    let (began, began_micros) = (Instant::now(), now_micros());
    let client = Client::connect_direct(options, Box::new(sink.clone()), lines).await?;
    let connected = client.wait_until(CONNECT_PATIENCE, |state| state.transport == Transport::Connected).await;
    connected.map_err(|_| JoinError::Failed("the transport did not connect".into()))?;
    let index = {
        let mut board = shared.board();
        board.joins.push(Joined { result: Ok(began.elapsed()) });
        board.ports.extend(client.media_address().map(|address| address.port()));
        board.sessions.push(Session {
            role: spec.join.role,
            room: spec.join.room,
            own: spec.tracks.iter().map(|(number, _)| *number).collect(),
            sink,
            began_micros,
            connected: Instant::now(),
            ended: None,
        });
        board.sessions.len() - 1
    };
    shared.connected.fetch_add(1, Ordering::Relaxed);
    let outcome = attend(shared, spec, &client, models, role.subscribe, stay, stop).await;
    shared.connected.fetch_sub(1, Ordering::Relaxed);
    shared.board().sessions[index].ended = Some(Instant::now());
    let _ = client.leave().await;
    outcome
}

/// Publishes and receives until it is time to go.
async fn attend(
    shared: &Arc<Shared>,
    spec: &Spec,
    client: &Client,
    models: &mut Vec<(u32, Model)>,
    subscribe: Subscribe,
    stay: Option<Duration>,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), JoinError> {
    let (go, leave) = watch::channel(false);
    let mut publishers = JoinSet::new();
    let tracks = own_tracks(client, spec);
    for ((number, model), track) in models.drain(..).zip(tracks) {
        let sender = client.sender(track).await?;
        publishers.spawn(publish::publish(shared.clone(), number, model, sender, leave.clone()));
    }
    let until = stay.map_or(Instant::now() + Duration::from_secs(86_400 * 365), |stay| Instant::now() + stay);
    let mut declined = HashSet::new();
    let over = client.wait_until(Duration::from_secs(86_400 * 365), |state| state.closed.is_some());
    tokio::pin!(over);
    loop {
        tokio::select! {
            _ = &mut over => break,
            () = stopped(stop) => break,
            () = tokio::time::sleep_until(until.into()) => break,
            () = tokio::time::sleep(DECLINE_INTERVAL), if subscribe == Subscribe::None => decline(client, &mut declined).await,
        }
    }
    go.send_replace(true);
    while let Some(ended) = publishers.join_next().await {
        models.extend(ended.ok());
    }
    models.sort_by_key(|(number, _)| *number);
    Ok(())
}

/// The client's own tracks in the order of the cast: each of them has another source.
fn own_tracks(client: &Client, spec: &Spec) -> Vec<TrackId> {
    let published = client.state().published;
    spec.tracks
        .iter()
        .filter_map(|(_, config)| published.iter().find(|(_, published)| published.source == source(config)).map(|(track, _)| *track))
        .collect()
}

async fn decline(client: &Client, declined: &mut HashSet<TrackId>) {
    for (_, track) in client.tracks() {
        if declined.insert(track.id) {
            let _ = client.request(switchyard_client::Request::Unsubscribe { track: track.id }).await;
        }
    }
}

fn source(config: &ModelConfig) -> Source {
    match config {
        ModelConfig::Video(_) | ModelConfig::Fixed(_) => Source::Camera,
        ModelConfig::Screen(_) => Source::Screen,
        ModelConfig::Audio(_) => Source::Microphone,
    }
}

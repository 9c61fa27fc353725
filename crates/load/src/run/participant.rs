//! One participant's life: joins, publishes, stays, leaves, perhaps comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use switchyard_client::{Client, Lines, now_micros};
use switchyard_netem::Random;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::Connection;
use super::outcome::{JoinError, Joined, Session};
use super::showing::{self, Showing};
use super::{Shared, publish};
use crate::measure::MeterSink;
use crate::scenario::Join;
use crate::traffic::{Model, ModelConfig};

/// Between leaving and coming back.
const ABSENCE: Duration = Duration::from_secs(1);
/// How long someone stays who neither churns nor is told to leave: for ever.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);

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
    let own: Vec<u32> = spec.tracks.iter().map(|(number, _)| *number).collect();
    let sink = MeterSink::new(shared.publications.clone(), shared.groups.clone(), spec.join.role, spec.number, own.clone());
    let perfect = switchyard_netem::Config::default();
    let impaired = role.uplink != perfect || role.downlink != perfect;
    let lines = impaired.then(|| Lines { up: role.uplink.clone(), down: role.downlink.clone(), seed });
    let (began, began_micros) = (Instant::now(), now_micros());
    let mut connection = Connection::open(shared, spec, &sink, lines).await?;
    let index = {
        let mut board = shared.board();
        board.joins.push(Joined { result: Ok(began.elapsed()) });
        board.ports.extend(connection.ports());
        board.sessions.push(Session {
            role: spec.join.role,
            room: spec.join.room,
            own,
            sink: sink.clone(),
            began_micros,
            connected: Instant::now(),
            ended: None,
        });
        board.sessions.len() - 1
    };
    shared.connected.fetch_add(1, Ordering::Relaxed);
    let outcome = attend(shared, spec, &mut connection, &sink, models, stay, stop).await;
    shared.connected.fetch_sub(1, Ordering::Relaxed);
    shared.board().sessions[index].ended = Some(Instant::now());
    connection.leave().await;
    outcome
}

/// Publishes and receives until it is time to go.
async fn attend(
    shared: &Arc<Shared>,
    spec: &Spec,
    connection: &mut Connection,
    sink: &MeterSink,
    models: &mut Vec<(u32, Model)>,
    stay: Option<Duration>,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), JoinError> {
    let (go, leave) = watch::channel(false);
    let mut publishers = JoinSet::new();
    let mut wanted = Vec::new();
    // What happens is heard of from before anything is looked at.
    let events = connection.client().map(Client::events);
    for ((number, model), (track, senders)) in models.drain(..).zip(connection.senders(spec).await?) {
        let (wants, is_wanted) = watch::channel(showing::EVERYTHING);
        if let Some(track) = track {
            shared.board().tracks.insert((spec.join.room, track), number);
            wanted.push((track, wants));
        }
        publishers.spawn(publish::publish(shared.clone(), number, model, senders, is_wanted, leave.clone()));
    }
    let showing = Showing::new(shared, spec, sink.clone(), wanted);
    tokio::select! {
        () = showing.run(connection.client().zip(events)) => {}
        () = connection.wait_over(shared.scenario.roles[spec.join.role].subscribe) => {}
        () = stopped(stop) => {}
        () = tokio::time::sleep(stay.unwrap_or(FOR_EVER)) => {}
    }
    go.send_replace(true);
    while let Some(ended) = publishers.join_next().await {
        models.extend(ended.ok());
    }
    models.sort_by_key(|(number, _)| *number);
    Ok(())
}

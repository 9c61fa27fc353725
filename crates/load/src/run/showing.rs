//! What a participant shows, and what is shown of it: the tiles it has, what the server says it gets, and how large others want what it sends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use switchyard_client::{Client, ClientEvent, Event, Reception, Request, TrackId, TrackView, now_micros};
use tokio::sync::{broadcast, watch};

use super::Shared;
use super::participant::Spec;
use crate::measure::MeterSink;

/// How large a track is wanted until the server says something else, in pixels.
pub(super) const EVERYTHING: (u16, u16) = (u16::MAX, u16::MAX);
/// Before a track whose publisher was not ready is looked for again.
const AGAIN: Duration = Duration::from_millis(100);
/// How long nothing is to be done that only an event can bring.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);

/// One participant's tiles.
pub(super) struct Showing<'a> {
    shared: &'a Arc<Shared>,
    spec: &'a Spec,
    sink: MeterSink,
    /// Its own tracks, and where it is told how large they are wanted.
    wanted: Vec<(TrackId, watch::Sender<(u16, u16)>)>,
    /// Tiles that have gone by.
    rotated: usize,
    /// What was said last, if anything was.
    said: Option<Vec<TrackView>>,
}

impl<'a> Showing<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, spec: &'a Spec, sink: MeterSink, wanted: Vec<(TrackId, watch::Sender<(u16, u16)>)>) -> Self {
        Self { shared, spec, sink, wanted, rotated: 0, said: None }
    }

    /// Goes on for ever; there is something to do in a selective scenario only.
    pub(super) async fn run(mut self, client: Option<(&Client, broadcast::Receiver<ClientEvent>)>) {
        let Some((client, mut events)) = client.filter(|_| self.shared.scenario.is_selective()) else {
            return std::future::pending().await;
        };
        self.catch_up(client);
        let rotates = self.role().rotates;
        let mut turn = rotates.map(|rotates| Instant::now() + rotates);
        // Whether others may have tracks that are in no tile yet.
        let mut is_stale = true;
        loop {
            if is_stale {
                is_stale = !self.say(client).await;
            }
            let next = if is_stale { Some(Instant::now() + AGAIN) } else { None };
            let next = next.into_iter().chain(turn).min().unwrap_or_else(|| Instant::now() + FOR_EVER);
            tokio::select! {
                event = events.recv() => match event {
                    Ok(ClientEvent::Room(event)) => is_stale |= self.handle(&event),
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => is_stale = true,
                    Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
                },
                () = tokio::time::sleep_until(next.into()) => {
                    if let Some(at) = &mut turn
                        && *at <= Instant::now()
                    {
                        *at += rotates.unwrap_or(FOR_EVER);
                        self.rotated += 1;
                        is_stale = true;
                    }
                }
            }
        }
    }

    fn role(&self) -> &'a crate::scenario::Role {
        &self.shared.scenario.roles[self.spec.join.role]
    }

    /// What was said of its own tracks before events were listened to.
    fn catch_up(&self, client: &Client) {
        for (track, published) in client.state().published {
            self.set_wanted(track, published.wanted);
        }
    }

    fn set_wanted(&self, track: TrackId, size: (u16, u16)) {
        if let Some((_, wanted)) = self.wanted.iter().find(|(own, _)| *own == track) {
            wanted.send_if_modified(|was| std::mem::replace(was, size) != size);
        }
    }

    /// Whether there may be other tracks now.
    fn handle(&self, event: &Event) -> bool {
        match event {
            Event::Wanted { track, width, height } => self.set_wanted(*track, (*width, *height)),
            Event::Reception { track, reception, .. } => {
                let number = self.shared.board().tracks.get(&(self.spec.join.room, *track)).copied();
                if let Some(number) = number {
                    self.sink.lock().pause(number, *reception == Reception::Paused, now_micros());
                }
            }
            Event::TrackPublished { .. }
            | Event::TrackUnpublished { .. }
            | Event::ParticipantJoined { .. }
            | Event::ParticipantLeft { .. } => {
                return true;
            }
            _ => {}
        }
        false
    }

    /// Fills the tiles, and says so if they are filled with something else than before. Whether it is known of all tracks which they are.
    async fn say(&mut self, client: &Client) -> bool {
        let role = self.role();
        if role.shows.is_empty() {
            return true;
        }
        let tracks = client.tracks();
        let (mut known, mut all_known) = (Vec::new(), true);
        {
            let board = self.shared.board();
            for (_, track) in &tracks {
                match board.tracks.get(&(self.spec.join.room, track.id)) {
                    Some(number) => known.push((*number, track.id)),
                    None => all_known = false,
                }
            }
        }
        known.retain(|(number, _)| self.shared.publications.get(*number).is_some_and(|publication| publication.is_selective));
        known.sort_unstable();
        if !known.is_empty() {
            let by = self.rotated % known.len();
            known.rotate_left(by);
        }
        let sizes = role.shows.iter().flat_map(|tiles| std::iter::repeat_n((tiles.width, tiles.height), tiles.count as usize));
        let (mut views, mut tiles) = (Vec::new(), Vec::new());
        for ((number, track), (width, height)) in known.into_iter().zip(sizes) {
            let Some(publication) = self.shared.publications.get(number) else { continue };
            views.push(TrackView { track, width, height, pinned: false });
            tiles.push((number, publication.covering((width, height))));
        }
        if self.said.as_ref() != Some(&views) {
            self.sink.lock().show(&tiles, now_micros());
            self.said = Some(views.clone());
            if client.request(Request::View { tracks: views, others: false }).await.is_err() {
                // It is said again.
                self.said = None;
                return false;
            }
        }
        all_known
    }
}

//! Plays a scenario against a server and measures what arrives.

mod connection;
mod outcome;
mod participant;
mod publish;
mod showing;
mod summary;
mod target;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use switchyard_client::{TrackId, now_micros};
use switchyard_rtp::Codec;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::live::Phase;
use crate::measure::decoder::Seen;
use crate::measure::{Groups, LatencyOf, Picture, Publication, Publications};
use crate::process::{Process, Usage, cores, kernel_drops};
use crate::results::{RunResult, Sample};
use crate::scenario::{Join, Scenario, Subscribe};
use crate::slo::Slo;
use crate::traffic::{ConfigError, FixedConfig, ModelConfig};

pub use outcome::JoinError;
use outcome::{Joined, Session};
use participant::Spec;
pub use target::{Endpoints, Target, TemplateError};

/// How long the last participants of the ramp may take to connect.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);
/// After the measured time, for what is still on its way or is sent again.
const GRACE: Duration = Duration::from_millis(700);
/// How much longer than the warm-up everybody's first packets are waited for. What has not come by then is missing.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);
/// How often the bench looks how late its own timers are.
const LAG_INTERVAL: Duration = Duration::from_millis(10);
/// How long leaving may take at the end; whoever is still there then is dropped.
const LEAVE_PATIENCE: Duration = Duration::from_secs(10);

/// What a run needs besides the scenario.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the server is.
    pub target: Target,
    /// The server's process, if it runs on this machine.
    pub server: Option<Process>,
    /// What rooms' names begin with, so that runs don't meet.
    pub room_prefix: String,
    /// The version that results are said to come from.
    pub version: String,
    /// When the run began, as RFC 3339 says it.
    pub started: String,
    /// What the run is held to.
    pub promise: Option<Slo>,
}

/// Why a scenario can't be played at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A track's configuration is impossible.
    #[error("a track: {0}")]
    Traffic(#[from] ConfigError),
    /// A line's configuration is impossible.
    #[error("a line: {0}")]
    Line(#[from] switchyard_netem::ConfigError),
    /// The server's process can't be watched.
    #[error("the server's process can't be watched: {0}")]
    Server(std::io::Error),
    /// Nobody got in.
    #[error("nobody could join: {0}")]
    NobodyJoined(String),
}

/// What all participants of a run share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) scenario: Scenario,
    pub(crate) publications: Arc<Publications>,
    pub(crate) groups: Arc<Groups>,
    /// Turns to the beginning of the measured time.
    pub(crate) window: watch::Receiver<Option<Instant>>,
    /// Turns true at the end.
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) board: Mutex<Board>,
    pub(crate) connected: AtomicUsize,
    pub(crate) sends_late: AtomicU64,
    pub(crate) sends: AtomicU64,
}

/// What participants leave behind for the summary.
#[derive(Default)]
pub(crate) struct Board {
    pub(crate) joins: Vec<Joined>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) ports: HashSet<u16>,
    /// Which publication a room's track is, for those who are told of tracks.
    pub(crate) tracks: HashMap<(u32, TrackId), u32>,
}

impl Shared {
    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Plays `scenario` and says what came of it. `progress` is told once a second.
pub async fn run(scenario: &Scenario, options: Options, mut progress: impl FnMut(Phase, &Sample)) -> Result<RunResult, RunError> {
    let joins = scenario.joins();
    let (specs, publications) = cast(scenario, &joins)?;
    let before = usage(options.server)?;
    let (open_window, window) = watch::channel(None);
    let (stop_all, stop) = watch::channel(false);
    let shared = Arc::new(Shared {
        options,
        scenario: scenario.clone(),
        groups: Arc::new(groups(scenario)),
        publications: Arc::new(publications),
        window,
        stop,
        board: Mutex::default(),
        connected: AtomicUsize::new(0),
        sends_late: AtomicU64::new(0),
        sends: AtomicU64::new(0),
    });
    let lag = Arc::new(LatencyOf::default());
    let watcher = tokio::spawn(watch_lag(lag.clone()));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    let early = specs.iter().filter(|spec| !spec.join.measured).count();
    let last = specs.iter().filter(|spec| !spec.join.measured).map(|spec| spec.join.at).max().unwrap_or_default();
    for spec in specs {
        tasks.spawn(participant::live(shared.clone(), spec, begin));
    }

    let mut sampler = Sampler::new(shared.clone(), begin)?;
    // Everybody who comes before the measured time.
    let deadline = begin + last + JOIN_PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut next_sample = begin + Duration::from_secs(1);
    loop {
        tick.tick().await;
        let (done, failed) = {
            let board = shared.board();
            (board.joins.len(), board.joins.iter().filter(|join| join.result.is_err()).count())
        };
        if Instant::now() >= next_sample {
            next_sample += Duration::from_secs(1);
            let sample = sampler.take();
            let count = |count: usize| count as u64;
            progress(Phase::Connecting { connected: count(done - failed), failed: count(failed), of: count(early) }, &sample);
        }
        if done >= early || Instant::now() >= deadline {
            break;
        }
    }
    if shared.connected.load(Ordering::Relaxed) == 0 && early > 0 {
        let board = shared.board();
        let why = board.joins.iter().find_map(|join| join.result.as_ref().err()).map_or("in time".into(), JoinError::to_string);
        return Err(RunError::NobodyJoined(why));
    }
    let joined = usage(shared.options.server)?;
    let received_joining: u64 = shared.board().sessions.iter().map(|session| session.sink.lock().received).sum();
    let settled = Instant::now() + scenario.warm_up;
    while let Some(left) = settled.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        let passed = scenario.warm_up.saturating_sub(settled.saturating_duration_since(Instant::now()));
        progress(Phase::WarmingUp { passed, of: scenario.warm_up }, &sampler.take());
    }
    // A slot that is still being negotiated, or waits for its first keyframe, is no loss.
    let patience = Instant::now() + SETTLE_PATIENCE;
    while !is_settled(&shared) && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // The measured time.
    let ports = shared.board().ports.clone();
    let drops_before = kernel_drops(&ports).unwrap_or_default();
    let (from, bench_from) = (usage(shared.options.server)?, usage(Some(Process::own()))?);
    lag.take();
    shared.groups.lag.take();
    shared.sends_late.store(0, Ordering::Relaxed);
    shared.sends.store(0, Ordering::Relaxed);
    let opened = Instant::now();
    for session in &shared.board().sessions {
        session.sink.lock().open_window(now_micros());
    }
    shared.publications.open_window();
    open_window.send_replace(Some(opened));
    while opened.elapsed() < scenario.duration {
        tokio::time::sleep((scenario.duration - opened.elapsed()).min(Duration::from_secs(1))).await;
        progress(Phase::Measuring { passed: opened.elapsed().min(scenario.duration), of: scenario.duration }, &sampler.take());
    }
    shared.publications.close_window();
    let measured = opened.elapsed();
    let (to, bench_to) = (usage(shared.options.server)?, usage(Some(Process::own()))?);
    sampler.close();
    tokio::time::sleep(GRACE).await;
    progress(Phase::Leaving, &sampler.last());
    let ports = shared.board().ports.clone();
    let drops = kernel_drops(&ports).unwrap_or_default();
    let figures = summary::Figures {
        before,
        joined,
        received_joining,
        from,
        to,
        bench: (bench_from, bench_to),
        measured,
        opened,
        kernel_drops: drops.own.saturating_sub(drops_before.own),
        timer_lag: lag.take(),
        read_lag: shared.groups.lag.take(),
    };
    let result = summary::summarise(&shared, &figures, sampler.samples);
    stop_all.send_replace(true);
    watcher.abort();
    let _ = tokio::time::timeout(LEAVE_PATIENCE, async { while tasks.join_next().await.is_some() {} }).await;
    Ok(result)
}

/// Gives each participant its tracks, and each track its number.
fn cast(scenario: &Scenario, joins: &[Join]) -> Result<(Vec<Spec>, Publications), RunError> {
    let mut publications = Vec::new();
    let mut specs = Vec::with_capacity(joins.len());
    for (number, join) in joins.iter().enumerate() {
        let role = &scenario.roles[join.role];
        let churns = role.churn.is_some() || role.joins_after.is_some();
        let mut tracks = Vec::new();
        for model in role.publishes() {
            let (media, codec) = match &model {
                ModelConfig::Video(_) | ModelConfig::Fixed(_) => ("video", Codec::Vp8),
                ModelConfig::Screen(_) => ("screen", Codec::Vp8),
                ModelConfig::Audio(_) => ("audio", Codec::Opus),
            };
            publications.push(match pictures(&model).filter(|_| scenario.is_selective()) {
                Some(pictures) => Publication::selective(media, codec, churns, pictures),
                None => Publication::new(media, codec, churns),
            });
            tracks.push((u32::try_from(publications.len() - 1).unwrap_or(u32::MAX), model));
        }
        specs.push(Spec { number, join: *join, tracks });
    }
    // What is impossible is found before anybody joins.
    for role in &scenario.roles {
        for model in role.publishes() {
            crate::traffic::Model::new(&model, 0, Instant::now())?;
        }
        for line in [&role.uplink, &role.downlink] {
            switchyard_netem::Line::<()>::new(line, 0, Instant::now())?;
        }
    }
    Ok((specs, Publications::new(publications)))
}

/// The encodings of a picture, the lowest first; nothing of sound.
fn pictures(model: &ModelConfig) -> Option<Vec<Picture>> {
    let one = |size| vec![Picture { name: String::new(), size }];
    Some(match model {
        ModelConfig::Video(config) if !config.encodings.is_empty() => {
            let sizes = config.streams().into_iter().map(|(_, size)| size);
            config.encodings.iter().zip(sizes).map(|(encoding, size)| Picture { name: encoding.rid.clone(), size }).collect()
        }
        ModelConfig::Video(config) => one((config.width, config.height)),
        ModelConfig::Screen(config) => one((config.width, config.height)),
        ModelConfig::Fixed(_) => one(FixedConfig::SIZE),
        ModelConfig::Audio(_) => return None,
    })
}

/// Whether everybody who is there has got something of everything that is published in their room.
fn is_settled(shared: &Shared) -> bool {
    let rooms = rooms(&shared.scenario);
    let sent: Vec<(u32, u32)> = (0..)
        .zip(shared.publications.iter())
        .filter(|(_, publication)| !publication.churns && publication.has_sent())
        .map(|(number, _)| (rooms[number as usize], number))
        .collect();
    let board = shared.board();
    board.sessions.iter().filter(|session| session.ended.is_none()).all(|session| {
        let meter = session.sink.lock();
        let theirs = || sent.iter().filter(|(room, number)| *room == session.room && !session.own.contains(number));
        let is_shown = |number: u32| meter.shows(number) || shared.publications.get(number).is_none_or(|of| !of.is_selective);
        let role = &shared.scenario.roles[session.role];
        role.subscribe == Subscribe::None || theirs().all(|(_, number)| meter.has(*number) || !is_shown(*number))
    })
}

/// The room of each publication, by number.
fn rooms(scenario: &Scenario) -> Vec<u32> {
    scenario.joins().iter().flat_map(|join| scenario.roles[join.role].publishes().map(|_| join.room)).collect()
}

fn groups(scenario: &Scenario) -> Groups {
    let mut latency = BTreeMap::new();
    for role in 0..scenario.roles.len() {
        for media in ["video", "audio", "screen"] {
            latency.insert((media, role), LatencyOf::default());
        }
    }
    Groups { latency, ..Groups::default() }
}

fn usage(process: Option<Process>) -> Result<Option<Usage>, RunError> {
    process.map(Process::usage).transpose().map_err(RunError::Server)
}

/// How late a timer fires says whether this process gets the CPU it needs.
async fn watch_lag(lag: Arc<LatencyOf>) {
    loop {
        let due = Instant::now() + LAG_INTERVAL;
        tokio::time::sleep_until(due.into()).await;
        // A timer has a resolution of a millisecond.
        lag.record(0, u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
}

/// Looks at everything once a second.
struct Sampler {
    shared: Arc<Shared>,
    begin: Instant,
    at: Instant,
    server: Option<Usage>,
    bench: Usage,
    received: u64,
    samples: Vec<Sample>,
    open: bool,
}

impl Sampler {
    fn new(shared: Arc<Shared>, begin: Instant) -> Result<Self, RunError> {
        let server = usage(shared.options.server)?;
        let bench = usage(Some(Process::own()))?.unwrap_or_default();
        Ok(Self { shared, begin, at: begin, server, bench, received: 0, samples: Vec::new(), open: true })
    }

    fn take(&mut self) -> Sample {
        let now = Instant::now();
        let seconds = now.duration_since(self.at).as_secs_f64().max(1e-3);
        let mut received = 0;
        let mut seen = Seen::default();
        {
            let micros = now_micros();
            let board = self.shared.board();
            for session in &board.sessions {
                let mut meter = session.sink.lock();
                received += meter.received;
                if session.ended.is_none() && self.shared.scenario.roles[session.role].subscribe == Subscribe::All {
                    let watched = meter.watch(micros);
                    seen.frozen += watched.frozen;
                    seen.watched += watched.watched;
                    seen.as_wanted += watched.as_wanted;
                }
            }
        }
        let latency = self.shared.groups.interval.take();
        let server = usage(self.shared.options.server).ok().flatten();
        let bench = Process::own().usage().unwrap_or_default();
        let share = |now: Usage, before: Usage| now.cpu.saturating_sub(before.cpu).as_secs_f64() / seconds / cores() as f64;
        let sample = Sample {
            at_seconds: now.duration_since(self.begin).as_secs_f64(),
            participants: self.shared.connected.load(Ordering::Relaxed) as u64,
            packets_per_second: received.saturating_sub(self.received) as f64 / seconds,
            lost_share: None,
            latency_p50_ms: latency.measured().map(|latency| latency.p50),
            latency_p99_ms: latency.measured().map(|latency| latency.p99),
            frozen_share: (seen.watched > 0).then(|| seen.frozen as f64 / seen.watched as f64),
            as_wanted_share: (seen.watched > 0 && self.shared.scenario.is_selective()).then(|| seen.as_wanted as f64 / seen.watched as f64),
            server_cpu_share: server.zip(self.server).map(|(now, before)| share(now, before)),
            bench_cpu_share: share(bench, self.bench),
        };
        (self.at, self.server, self.bench, self.received) = (now, server, bench, received);
        if self.open {
            self.samples.push(sample);
        }
        sample
    }

    /// What comes now is not part of the run's course.
    fn close(&mut self) {
        self.open = false;
    }

    fn last(&self) -> Sample {
        self.samples.last().copied().unwrap_or_default()
    }
}

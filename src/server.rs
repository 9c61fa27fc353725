//! The server: starts its parts and stops them.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::http::{HeaderMap, header};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use switchyard_negotiation::{Candidate, Shared};
use switchyard_protocol::{ErrorCode, Limits, MAX_CHAT_BYTES, MAX_MESSAGE_BYTES, ProtocolError};
use switchyard_room::Room;
use switchyard_session::Certificate;
use switchyard_worker::{Config, StartError, Workers};
use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::access::Access;
use crate::admission::{Admission, Quota};
use crate::api::Api;
use crate::cli::Serve;
use crate::config::Written;
use crate::drain::Drain;
use crate::logging::Log;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::reload::Reload;
use crate::rooms::Rooms;
use crate::rooms::feed::Feed;
use crate::signaling::Sessions;
use crate::tls::Tls;
use crate::transport::no_randomness;
use crate::turn::{Own, Relay, Turn};
use crate::whip::Resources;
use crate::{addresses, admin, http};

/// Sessions at the same time, by WebSocket or HTTP. Each takes some 50 KB, more the more it publishes and receives, and while much waits to be sent.
const MAX_SESSIONS: usize = 10_000;
/// WebSockets at the same time: those of the sessions, and as many again of clients that come or come back while all places are taken as one listens to
/// in the time they have for it.
const MAX_SOCKETS: usize = MAX_SESSIONS + 2_000;
/// How long clients may take to hear that the server goes down.
const FAREWELL: Duration = Duration::from_secs(3);

/// What every connection needs.
pub struct Server {
    pub access: Access,
    pub rooms: Arc<Rooms>,
    pub admission: Arc<Admission>,
    pub drain: Arc<Drain>,
    pub metrics: Metrics,
    pub tls: Option<Tls>,
    pub turn: Turn,
    /// The TURN server that is this one.
    pub relay: Option<Arc<Relay>>,
    /// Clients are told to use nothing but the TURN servers.
    pub relay_only: bool,
    pub certificate: Arc<Certificate>,
    pub candidates: Vec<Candidate>,
    /// What the session descriptions of all have in common.
    pub descriptions: Arc<Shared>,
    pub request_timeout: Duration,
    pub silence_timeout: Duration,
    /// How long a session outlives its connection.
    pub resume_within: Duration,
    /// A permit for each WebSocket.
    pub sockets: Arc<Semaphore>,
    /// A permit for each session, whether it has a connection or not.
    pub places: Arc<Semaphore>,
    /// The HTTP sessions.
    pub resources: Resources,
    /// How fast the API is asked.
    pub api: Api,
    /// The other sessions.
    pub resumable: Arc<Sessions>,
    /// Turns true when the server goes down.
    pub stop: watch::Receiver<bool>,
    /// Held by every session; the receiver hears when the last is gone.
    pub sessions: mpsc::Sender<()>,
}

impl Server {
    /// Whether somebody who came now would be let in; and if not, why.
    pub fn is_ready(&self) -> Result<(), ProtocolError> {
        if self.drain.is_on() || *self.stop.borrow() {
            return Err(ProtocolError::new(ErrorCode::ShuttingDown, "the server is about to go down"));
        }
        if self.tls.as_ref().is_some_and(|tls| tls.valid_until().is_none()) {
            return Err(ProtocolError::new(ErrorCode::Overloaded, "there is no TLS certificate yet"));
        }
        if self.places.available_permits() == 0 {
            return Err(ProtocolError::new(ErrorCode::LimitReached, "too many sessions"));
        }
        self.admission.check(self.rooms.workers())
    }

    /// How many WebSockets are open.
    pub fn sockets_open(&self) -> usize {
        MAX_SOCKETS - self.sockets.available_permits()
    }
}

/// What clients are told about the server's limits.
pub fn limits() -> Limits {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Limits {
        message_bytes: number(MAX_MESSAGE_BYTES),
        chat_bytes: number(MAX_CHAT_BYTES),
        tracks: number(Room::TRACKS_PER_PARTICIPANT),
        slots: number(switchyard_room::Limits::default().slots),
    }
}

/// What a client calls this server, port included; `None` where nobody asks for that.
pub fn host(server: &Server, headers: &HeaderMap) -> Option<String> {
    headers.get(header::HOST).filter(|_| server.turn.is_own()).and_then(|host| host.to_str().ok()).map(str::to_owned)
}

/// What nobody can guess: 128 random bits, in hexadecimal.
pub fn secret() -> Result<String, ProtocolError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(no_randomness)?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

/// Serves until SIGINT or SIGTERM. SIGHUP has the configuration read again.
pub fn run(options: Serve, written: Written, log: Log) -> anyhow::Result<()> {
    options.check().map_err(anyhow::Error::msg)?;
    if !options.dev && options.access.access_keys.is_none() {
        bail!(
            "without access control anyone who reaches the server may join any room. Make keys with `switchyard keys new FILE` and run \
             `switchyard serve --access-keys FILE`; or, to try it out, `switchyard serve --dev`"
        );
    }
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("control")
        .on_thread_start(switchyard_worker::yield_to_media)
        .build()
        .context("can't start the runtime")?;
    runtime.block_on(serve(options, written, log))
}

async fn serve(options: Serve, written: Written, log: Log) -> anyhow::Result<()> {
    let access = Access::new(&options.access)?;
    let listener = listen(options.http, "http").await?;
    let admin_listener = match options.admin {
        Some(address) => Some(listen(address, "admin").await?),
        None => None,
    };
    let redirect_listener = match options.tls.redirect_http {
        Some(address) => Some(listen(address, "redirect-http").await?),
        None => None,
    };
    let http = listener.local_addr().context("can't tell where HTTP listens")?;
    let count = options.workers.unwrap_or_else(|| u8::try_from(cores().min(128)).unwrap_or(128));
    let addresses = addresses::chosen(&options.addresses, options.dev).await?;
    // Whoever takes any port for HTTP takes any for media: what is free for TCP need not be for UDP.
    let usual = || if options.http.port() == 0 { 0 } else { addresses.usual_port(http.port()) };
    let media_port = options.media_port.unwrap_or_else(usual);
    let (workers, events) = start_workers(media_port, count)?;
    let media = workers.port();
    let ice_tcp = (!options.no_ice_tcp).then_some(http);
    addresses.warn_of_refusals(media, ice_tcp);

    let (stopping, stop) = watch::channel(false);
    let tls = Tls::start(&options.tls, stop.clone())?;
    let (sessions, mut sessions_gone) = mpsc::channel(1);
    let peers = Arc::new(Peers::default());
    let (drain, mut drain_asked) = Drain::new();
    let drain = Arc::new(drain);
    let quota = options.cgroup.clone().map(Quota::of).or_else(Quota::own);
    let admission = Admission::new(options.max_load, workers.count(), cores(), quota);
    let candidates = addresses.candidates(media, ice_tcp);
    let turn_socket = match options.turn_udp {
        Some(address) => {
            Some(UdpSocket::bind(address).await.with_context(|| format!("TURN can't listen on {address} (UDP), which --turn-udp says"))?)
        }
        None => None,
    };
    let turn_udp = turn_socket.as_ref().and_then(|socket| Some(socket.local_addr().ok()?.port()));
    let own = options.turn.then_some(Own { is_tls: tls.is_some(), udp: turn_udp });
    let turn = Turn::new(&options.turn_url, own, options.turn_secret_file.as_deref(), options.turn_lifetime)?;
    let relay = turn.credentials().filter(|_| options.turn).map(|credentials| {
        let peers = candidates.iter().filter(|candidate| !candidate.tcp).map(|candidate| candidate.addr).collect();
        Relay::new(Arc::clone(credentials), peers, media, stop.clone())
    });
    let server = Arc::new(Server {
        access,
        rooms: Rooms::new(
            workers.clone(),
            Arc::clone(&peers),
            Arc::clone(&admission),
            options.span_rooms,
            options.room_limits(),
            Arc::clone(&drain),
            Feed::new(secret().map_err(anyhow::Error::from)?),
        ),
        api: Api::default(),
        admission: Arc::clone(&admission),
        drain: Arc::clone(&drain),
        metrics: Metrics::new(),
        tls: tls.clone(),
        relay: relay.clone(),
        turn,
        relay_only: options.relay_only,
        certificate: Certificate::generate().context("can't make a certificate")?,
        candidates,
        descriptions: Arc::default(),
        request_timeout: options.request_timeout_ms,
        silence_timeout: options.silence_timeout_ms,
        resume_within: options.resume_within_ms,
        sockets: Arc::new(Semaphore::new(MAX_SOCKETS)),
        places: Arc::new(Semaphore::new(MAX_SESSIONS)),
        resources: Resources::default(),
        resumable: Arc::default(),
        stop: stop.clone(),
        sessions,
    });
    tokio::spawn(Arc::clone(&peers).dispatch(events));
    tokio::spawn(Arc::clone(&admission).watch(workers.clone(), stop.clone()));
    let mut reload = Reload { started: written.clone(), written, log, admission, rooms: Arc::clone(&server.rooms), tls: tls.clone() };
    // Before anybody is told that the server is there: from here on it must go down cleanly.
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen to SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't listen to SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("can't listen to SIGHUP")?;
    let door = |router: Router| http::Door {
        router,
        header_timeout: options.silence_timeout_ms,
        media: None,
        turn: None,
        tls: None,
        proxies: http::Proxies::new(&options.trusted_proxies),
        stop: stop.clone(),
    };
    let without_tls = |https| tls.clone().map(|tls| (tls.clone(), http::without_tls(Arc::clone(&server), tls, https)));
    let front = http::Door {
        media: Some(workers.clone()),
        turn: relay.clone(),
        tls: without_tls(None),
        ..door(http::router(Arc::clone(&server), options.debug_http))
    };
    let accepting = tokio::spawn(http::accept(listener, front));
    if let (Some(relay), Some(socket)) = (relay, turn_socket) {
        tokio::spawn(relay.listen(socket));
    }
    let mut places = Places { http, is_tls: tls.is_some(), media, admin: None, redirect: None };
    if let (Some(listener), Some((_, router))) = (redirect_listener, without_tls(Some(http.port()))) {
        places.redirect = Some(listener.local_addr().context("can't tell where HTTP without TLS listens")?);
        tokio::spawn(http::accept(listener, door(router)));
    }
    if let Some(listener) = admin_listener {
        places.admin = Some(listener.local_addr().context("can't tell where the operators' HTTP listens")?);
        tokio::spawn(http::accept(listener, door(admin::router(&server, reload.log.clone(), options.drain))));
    }
    places.announce(&options.tls.acme_domain);

    let mut was_asked = false;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => {
                if options.drain.is_zero() || std::mem::replace(&mut was_asked, true) {
                    break;
                }
                // Where that was asked for by the API, its deadline holds.
                if drain.is_on() {
                    tracing::info!("SIGTERM: already draining, which goes on; another one ends the server");
                } else {
                    drain.begin(options.drain, &peers);
                }
            }
            Some(within) = drain_asked.recv() => drain.begin(within, &peers),
            () = drain.over(&reload.rooms) => break,
            _ = hangup.recv() => reload.reload(),
        }
    }
    tracing::info!("going down");
    let _ = stopping.send(true);
    let _ = accepting.await;
    drop((server, reload));
    // Connections that are still open hold the server; a client that does not listen is not waited for.
    let _ = tokio::time::timeout(FAREWELL, sessions_gone.recv()).await;
    workers.shutdown();
    Ok(())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Listens at the address that the option `--{option}` says.
async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let bound = match TcpListener::bind(address).await {
        // A machine without IPv6.
        Err(error) if address.ip().is_unspecified() && error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {
            TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], address.port()))).await
        }
        bound => bound,
    };
    bound.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => "; another program (another switchyard?) listens there: stop it, or choose another port",
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose another",
            std::io::ErrorKind::AddrNotAvailable => "; the address is not this machine's: choose another",
            _ => return anyhow::anyhow!("HTTP can't listen on {address} (TCP): {error}"),
        };
        anyhow::anyhow!("HTTP can't listen on {address} (TCP): {error}{hint} with --{option} ADDRESS:PORT")
    })
}

type Events = mpsc::Receiver<(switchyard_forward::WorkerIndex, switchyard_forward::Event)>;

fn start_workers(port: u16, count: u8) -> anyhow::Result<(Workers, Events)> {
    switchyard_worker::start(Config { port, workers: count, ..Config::default() }).map_err(|error| {
        let hint = match &error {
            StartError::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                "; another program (another switchyard?) has the port: stop it, or choose another with --media-port PORT"
            }
            StartError::Bind { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose another with --media-port PORT"
            }
            _ => "",
        };
        anyhow::anyhow!("media can't start: {error}{hint}")
    })
}

/// Where the server listens.
struct Places {
    http: SocketAddr,
    /// HTTP is HTTPS.
    is_tls: bool,
    media: u16,
    admin: Option<SocketAddr>,
    redirect: Option<SocketAddr>,
}

impl Places {
    /// Says it, for programs and for people. Nobody has to listen.
    fn announce(&self, names: &[String]) {
        let mut stdout = std::io::stdout().lock();
        let more = [("admin", self.admin), ("redirect", self.redirect)];
        let more: String = more.iter().filter_map(|(what, place)| Some(format!(" {what}={}", (*place)?))).collect();
        let _ = writeln!(stdout, "listening http={} media={}{more}", self.http, self.media);
        let (scheme, usual) = if self.is_tls { ("https", 443) } else { ("http", 80) };
        let port = if self.is_tls && self.http.port() == usual { String::new() } else { format!(":{}", self.http.port()) };
        let _ = writeln!(stdout, "open {scheme}://{}{port}/r/demo", names.first().map_or("localhost", String::as_str));
        let _ = stdout.flush();
    }
}

/// Every connection is a descriptor, and the usual soft limit of 1,024 is for programs that use select(2).
fn raise_descriptor_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, "can't raise the limit of open descriptors");
    }
}

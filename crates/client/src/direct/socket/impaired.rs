//! A bad line between a participant and the server, in this process: without privileges, and another for each participant.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use switchyard_netem::{ConfigError, Line};
use tokio::sync::Notify;

use super::{Port, Waiting, deliver};
use crate::direct::{Lane, Lines};

/// A datagram on the way, and where it goes or comes from.
type Travelling = (Vec<u8>, SocketAddr);

/// So often it is looked whether the socket is still in use.
const IDLE: Duration = Duration::from_secs(1);

/// Both directions of the line.
#[derive(Debug)]
pub(super) struct Impaired {
    out: Mutex<Line<Travelling>>,
    r#in: Mutex<Line<Travelling>>,
    /// Notified when something is pushed: it may be due before what was waited for.
    pushed: Notify,
}

impl Impaired {
    pub(super) fn new(lines: &Lines) -> Result<Self, ConfigError> {
        let now = Instant::now();
        let line = |config, seed| Line::new(config, seed, now).map(Mutex::new);
        Ok(Self { out: line(&lines.up, lines.seed)?, r#in: line(&lines.down, lines.seed ^ u64::MAX)?, pushed: Notify::new() })
    }

    pub(super) fn push_out(&self, datagram: &[u8], to: SocketAddr) {
        self.push(&self.out, datagram, to);
    }

    pub(super) fn push_in(&self, datagram: &[u8], from: SocketAddr) {
        self.push(&self.r#in, datagram, from);
    }

    fn push(&self, line: &Mutex<Line<Travelling>>, datagram: &[u8], address: SocketAddr) {
        let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
        line.push(Instant::now(), datagram.len(), (datagram.to_vec(), address));
        drop(line);
        self.pushed.notify_one();
    }

    /// What has come out of a direction.
    fn take(line: &Mutex<Line<Travelling>>, now: Instant) -> Vec<Travelling> {
        let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| line.poll(now)).collect()
    }

    fn timeout(&self) -> Option<Instant> {
        let of = |line: &Mutex<Line<Travelling>>| line.lock().unwrap_or_else(PoisonError::into_inner).poll_timeout();
        [of(&self.out), of(&self.r#in)].into_iter().flatten().min()
    }
}

/// Carries what travels to its end, as long as the socket is in use.
pub(super) async fn run(port: Weak<Port>, lane: Weak<Lane>, waiting: Arc<Waiting>) {
    loop {
        let (Some(port), Some(lane)) = (port.upgrade(), lane.upgrade()) else { return };
        let Some(impaired) = &port.impaired else { return };
        let now = Instant::now();
        for (datagram, to) in Impaired::take(&impaired.out, now) {
            port.send_now(to, &datagram, datagram.len());
        }
        let mut came = Impaired::take(&impaired.r#in, now);
        if !came.is_empty() {
            let at = crate::now_micros();
            deliver(&lane, &waiting, came.iter_mut().map(|(datagram, from)| (&mut datagram[..], at, *from)));
        }
        // This task's share of the socket keeps it open for no longer than that.
        let timeout = impaired.timeout().map_or(now + IDLE, |timeout| timeout.min(now + IDLE));
        tokio::select! {
            () = impaired.pushed.notified() => {}
            () = tokio::time::sleep_until(timeout.into()) => {}
        }
    }
}

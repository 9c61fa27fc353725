//! The configuration is read again while the server runs.

use std::sync::Arc;

use crate::admission::Admission;
use crate::cli::{Command, Serve};
use crate::config::{self, Failure, LIVE, Written};
use crate::logging::Log;
use crate::rooms::Rooms;
use crate::tls::Tls;

/// What can change while the server runs, and what was written before.
pub struct Reload {
    /// At the start: what can't change since then.
    pub started: Written,
    /// When the rest was last read.
    pub written: Written,
    pub log: Log,
    pub admission: Arc<Admission>,
    pub rooms: Arc<Rooms>,
    pub tls: Option<Tls>,
}

impl Reload {
    /// Reads everything again. What is wrong leaves all as it is.
    pub fn reload(&mut self) {
        match config::load(std::env::args_os()) {
            Ok((Command::Serve(options), written)) => self.apply(&options, written),
            Ok(_) => {}
            Err(Failure::Usage(error)) => tracing::error!(%error, "the configuration can't be read again; all stays as it was"),
            Err(Failure::File(wrong)) => {
                for wrong in wrong {
                    tracing::error!(%wrong, "the configuration is wrong; all stays as it was");
                }
            }
        }
    }

    fn apply(&mut self, options: &Serve, written: Written) {
        // The parser has seen that it is one.
        if let Err(error) = self.log.set(&options.log) {
            tracing::error!(%error, "what is to be logged");
        }
        if let Some(Err(error)) = self.tls.as_ref().map(Tls::reload) {
            tracing::error!(error = format!("{error:#}"), "the TLS certificate stays as it was");
        }
        self.admission.set_max_load(options.max_load);
        self.rooms.set_limits(options.room_limits());
        let live: Vec<&str> = written.changed(&self.written).filter(|key| LIVE.contains(key)).collect();
        let fixed: Vec<&str> = written.changed(&self.started).filter(|key| !LIVE.contains(key)).collect();
        tracing::info!(changed = %live.join(" "), "the configuration was read again");
        if !fixed.is_empty() {
            tracing::warn!(keys = %fixed.join(" "), "these need a restart, and stay as they were until then");
        }
        self.written = written;
    }
}

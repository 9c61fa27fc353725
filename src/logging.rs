//! The log: what is in it, how it looks, and a filter that can change while the server runs.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::{EnvFilter, FilterFn, ParseError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, reload};

use crate::cli::LogFormat;

/// Changes what is logged.
#[derive(Clone)]
pub struct Log {
    filter: Arc<Mutex<String>>,
    reload: Arc<dyn Fn(EnvFilter) + Send + Sync>,
}

impl Log {
    /// Begins to log. Logs go to stderr; stdout says where the server listens. No log at any level holds a session description, a password, a token, a client's address
    /// or what people say: that is why only the server's own crates log, whatever the filter asks for.
    pub fn start(filter: &str, format: LogFormat) -> Result<Self, ParseError> {
        let text = filter.to_owned();
        let (filter, handle) = reload::Layer::new(EnvFilter::builder().parse(filter)?);
        let own = FilterFn::new(|metadata| metadata.target().starts_with("switchyard"));
        let lines = tracing_subscriber::fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
        let lines = match format {
            LogFormat::Text => lines.boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry().with(lines.with_filter(own).with_filter(filter)).init();
        // It fails only if there is no log any more.
        Ok(Self { filter: Arc::new(Mutex::new(text)), reload: Arc::new(move |filter| drop(handle.reload(filter))) })
    }

    /// What is logged.
    pub fn filter(&self) -> String {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this is logged.
    pub fn set(&self, filter: &str) -> Result<(), ParseError> {
        (self.reload)(EnvFilter::builder().parse(filter)?);
        filter.clone_into(&mut self.filter.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

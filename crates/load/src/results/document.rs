//! Results files: one JSON object each.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{FORMAT, RunResult};
use crate::capacity::CapacityResult;

/// What a results file holds; its `kind` says which.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// One run.
    Run(Box<RunResult>),
    /// A search for the largest load, with all its runs.
    Capacity(Box<CapacityResult>),
}

/// Why a text is no results file.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is not JSON, or a field is missing or of the wrong type.
    #[error("not a results file: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It was written by a program whose format is another.
    #[error("the results are in format {0}; this program reads format {FORMAT}")]
    Format(u32),
    /// It is neither a run nor a search.
    #[error("results of the kind {0:?}; known are \"run\" and \"capacity\"")]
    Kind(String),
}

/// Why results can't be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// A figure is infinite or not a number, which JSON has no word for and which only an optional one can be absent instead of.
    #[error("a figure is not finite: {0}")]
    NotFinite(ReadError),
    /// Serialization failed.
    #[error("the results can't be written: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Head {
    format: u32,
    kind: String,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Written<'a> {
    Run(&'a RunResult),
    Capacity(&'a CapacityResult),
}

impl Document {
    /// Reads a results file. The format is looked at first, so that a file of a later format says so.
    pub fn from_json(json: &str) -> Result<Self, ReadError> {
        let head: Head = serde_json::from_str(json)?;
        if head.format != FORMAT {
            return Err(ReadError::Format(head.format));
        }
        match head.kind.as_str() {
            "run" => Ok(Self::Run(serde_json::from_str(json)?)),
            "capacity" => Ok(Self::Capacity(serde_json::from_str(json)?)),
            _ => Err(ReadError::Kind(head.kind)),
        }
    }

    /// A results file, over several lines and with a newline at its end. Whatever is written can be read again.
    pub fn to_json(&self) -> Result<String, WriteError> {
        let written = match self {
            Self::Run(run) => Written::Run(run),
            Self::Capacity(capacity) => Written::Capacity(capacity),
        };
        let mut json = serde_json::to_string_pretty(&written)?;
        json.push('\n');
        // serde_json writes what is not finite as null: right where a figure may be absent, unreadable elsewhere.
        match Self::from_json(&json) {
            Ok(_) => Ok(json),
            Err(error) => Err(WriteError::NotFinite(error)),
        }
    }
}

impl From<RunResult> for Document {
    fn from(run: RunResult) -> Self {
        Self::Run(Box::new(run))
    }
}

impl From<CapacityResult> for Document {
    fn from(capacity: CapacityResult) -> Self {
        Self::Capacity(Box::new(capacity))
    }
}

//! What is said about results: text for a terminal, and one HTML page that needs nothing else.
//!
//! Both say first whether there is anything to say: if the bench itself was the bottleneck, if nobody got in or nothing arrived, that
//! is the headline, and no figure stands above it. Names and errors come from people's files and from servers, so nothing of them
//! reaches a terminal or a page unescaped.

mod capacity;
mod chart;
mod curves;
pub mod figures;
mod judgement;
mod page;
mod run;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod timeline;
mod writer;

pub(crate) use writer::printable;

use crate::results::Document;

/// The results for a terminal: lines of at most some 120 columns, no colours, aligned.
pub fn text(document: &Document) -> String {
    match document {
        Document::Run(run) => text::run(run),
        Document::Capacity(capacity) => text::capacity(capacity),
    }
}

/// The results as one HTML page: no script, nothing loaded, light and dark. Several runs are compared.
pub fn html(documents: &[Document]) -> String {
    page::page(documents)
}

/// Several runs for a terminal, a line for each. Searches have no line; without a run there is nothing to say.
pub fn overview(documents: &[Document]) -> Option<String> {
    let runs: Vec<_> = documents.iter().filter_map(page::as_run).collect();
    (!runs.is_empty()).then(|| tables::overview(&runs).text())
}

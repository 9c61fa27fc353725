//! What is said about results: text for a terminal, and one HTML page that needs nothing else.

pub mod figures;

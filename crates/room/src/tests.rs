//! The room as clients and the media plane see it: a shell that only executes effects, and what must hold after each of them.

mod access;
mod audience;
mod codecs;
mod door;
mod requests;
mod shell;
mod slots;

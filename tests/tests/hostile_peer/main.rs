//! One of four validators is hostile: it speaks the real protocol over real sockets, with its own keys, and says what
//! no honest node says. The other three go on, stay small, and say who it was.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod compact;
mod evidence;
mod flood;
mod forged;
mod messages;
mod restarts;
mod rules;
mod siege;

//! What is seen on the wire: one who listens in a validator's place keeps every vote that is really sent to it.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

mod control;
mod restored;

//! How far a long command is: a line on a terminal's standard error that is written over, nothing elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often the line is written.
const EVERY: Duration = Duration::from_millis(200);

/// One long piece of work of so many steps.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    done: u64,
    of: u64,
    said: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// Begins.
    pub fn new(what: &'static str, of: u64) -> Self {
        Self {
            what,
            done: 0,
            of,
            said: None,
            shown: io::stderr().is_terminal(),
        }
    }

    /// Whether somebody at a terminal sees it.
    pub const fn is_shown(&self) -> bool {
        self.shown
    }

    /// One step more is done.
    pub fn step(&mut self) {
        self.at(self.done.saturating_add(1));
    }

    /// So many steps are done.
    pub fn at(&mut self, done: u64) {
        self.done = done;
        if self.shown && self.said.is_none_or(|said| said.elapsed() >= EVERY) {
            self.said = Some(Instant::now());
            let percent = self.done.saturating_mul(100) / self.of.max(1);
            // Without a terminal there is nobody to tell.
            let (what, done, of) = (self.what, self.done, self.of);
            write!(io::stderr(), "\r{what}: {done} of {of} ({percent} %)").ok();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.said.is_some() {
            // Takes the line away.
            write!(io::stderr(), "\r\x1b[K").ok();
        }
    }
}

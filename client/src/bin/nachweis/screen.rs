//! Progress for people, on standard error: a bar on a terminal, plain lines elsewhere.

use client::delivery::Event;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

/// Standard error.
#[derive(Debug)]
pub(crate) struct Screen {
    bar: Option<ProgressBar>,
    plain: Plain,
}

/// What is said about progress where there is no terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// A line for each piece of work.
    Lines,
    /// Nothing.
    Nothing,
}

/// What a bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes read.
    Bytes,
    /// Documents.
    Documents,
    /// Blocks.
    Blocks,
}

impl Screen {
    /// A screen without a bar.
    pub(crate) const fn new(plain: Plain) -> Self {
        Self { bar: None, plain }
    }

    /// Begins a piece of work of a known length.
    pub(crate) fn begin(&mut self, what: &str, length: u64, unit: Unit) {
        self.end();
        if !io::stderr().is_terminal() {
            if self.plain == Plain::Lines {
                self.line(what);
            }
            return;
        }
        let template = match unit {
            Unit::Bytes => {
                "{prefix} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec} eta {eta}"
            }
            Unit::Documents | Unit::Blocks => "{prefix} [{bar:30}] {pos}/{len} {rate} eta {eta}",
        };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_invalid| ProgressStyle::default_bar())
            .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                // A terminal that is gone has no use for the rate.
                out.write_fmt(format_args!("{:.0}/s", state.per_sec())).ok();
            })
            .progress_chars("=> ");
        let bar = ProgressBar::new(length).with_style(style);
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    /// So much more is done.
    pub(crate) fn advance(&self, count: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(count);
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A line for people.
    pub(crate) fn line(&self, text: &str) {
        // Without standard error there is nobody to tell.
        let say = || writeln!(io::stderr(), "{text}").ok();
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        };
    }

    /// Shows what a delivery tells.
    pub(crate) fn event(&self, event: &Event) {
        match event {
            Event::Final { records } => self.advance(*records as u64),
            Event::Receipts { count } => self.advance(*count as u64),
            Event::NoQuorum {
                answering,
                validators,
                needed,
            } => self.line(&format!(
                "waiting for a quorum: {answering} of {validators} validators answer, {needed} are needed"
            )),
            Event::Slow { pool } => self.line(&format!(
                "waiting: nothing became final for a while ({pool} submissions in the node)"
            )),
            Event::Full { reason } => {
                self.line(&format!("waiting: the node takes no submissions: {reason}"));
            }
            Event::Silent { reason } => self.line(&format!("waiting for a node: {reason}")),
        }
    }
}

/// Whether standard output takes colours.
pub(crate) fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !refused
}

/// `1 file`, `2 files`.
pub(crate) fn files(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} file{plural}")
}

/// `1 document`, `2 documents`.
pub(crate) fn documents(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} document{plural}")
}

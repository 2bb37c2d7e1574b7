//! The index, made by a process of its own while the node stands by: what making it takes in memory is given back when that
//! process ends, and the node opens what was made. It has one arena ([`crate::arenas`]).
//!
//! The child is told to stop by SIGTERM; it closes what it has, and the next start goes on from there. It says on its
//! standard output which block it is at. It ends with the node, however that ends.

use super::Failure;
use super::run::RunError;
use crate::arenas;
use crate::config::Config;
use crate::exit::Exit;
use crate::recovery::{self, Elsewhere, Made, Making, RecoveryError};
use genesis::container::Founding;
use ledger::id::Height;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often the child's end is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// Most bytes of what it says of its end.
const MAX_SAID: u64 = 4_096;

/// The child: makes the index of a node whose lock its parent holds, up to this block.
///
/// # Errors
/// As the recovery that it is a part of; the parent then tries it itself and says what is wrong.
pub fn make(dir: &Path, upto: Height) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| RunError::System(error.into()))?;
    let config = Config::load(dir).map_err(RunError::from)?;
    let founding = Founding::load(&config.genesis())
        .map_err(|error| RunError::from(crate::identity::IdentityError::from(error)))?;
    let founding = ledger::tip::Founding::new(founding.into_genesis());
    let founding = founding.map_err(|error| RunError::from(RecoveryError::from(error)))?;
    let stop = told_to_stop().map_err(RunError::from)?;
    let mut said = None;
    let mut say = |height: Height| {
        // A line for every per mille or so: whoever reads them may be slow.
        let step = Height(height.0.saturating_mul(1_000) / upto.0.max(1));
        if said.replace(step) != Some(step) {
            // Without a parent this process ends anyway.
            writeln!(io::stdout(), "{height}").ok();
        }
    };
    match recovery::make_index(&config, &founding, (upto, stop), &mut say) {
        Ok(()) | Err(RecoveryError::Stopped) => Ok(()),
        Err(error) => Err(RunError::from(error).into()),
    }
}

/// Cancelled by the signals that end a node.
fn told_to_stop() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let told = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        told.cancel();
    });
    Ok(stop)
}

/// The parent: has the index of this node made by a child.
#[derive(Clone, Copy, Debug)]
pub struct ByChild<'a> {
    /// The node's directory.
    pub dir: &'a Path,
}

impl Elsewhere for ByChild<'_> {
    fn make(&self, upto: Height, making: &Making, stop: &CancellationToken) -> io::Result<Made> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["make-index", "--dir"])
            .arg(self.dir)
            .args(["--upto", &upto.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // An interrupt of the terminal is the node's to pass on.
            .process_group(0);
        arenas::allow_one(&mut command);
        let mut child = Running(command.spawn()?);
        let (lines, errors) = (child.0.stdout.take(), child.0.stderr.take());
        std::thread::scope(|scope| {
            scope.spawn(move || follow(lines, making));
            let said = scope.spawn(move || first_words(errors));
            let status = child.wait(stop)?;
            let said = said.join().unwrap_or_default();
            if stop.is_cancelled() {
                Ok(Made::Stopped)
            } else if status.success() {
                Ok(Made::Whole)
            } else if status.code() == Some(Exit::Fatal.code().into()) {
                // Whoever cannot write does not go on, wherever that was.
                Ok(Made::NotWritten(said))
            } else {
                Err(io::Error::other(format!("it ended with {status}: {said}")))
            }
        })
    }
}

/// What the child says of its end, in one line.
fn first_words(errors: Option<ChildStderr>) -> String {
    let mut said = Vec::new();
    if let Some(errors) = errors {
        // What cannot be read is not told.
        errors.take(MAX_SAID).read_to_end(&mut said).ok();
    }
    let said = String::from_utf8_lossy(&said);
    let first = said.lines().find(|line| !line.is_empty()).unwrap_or("");
    first.trim_start_matches("error: ").to_owned()
}

/// Notes how far the child is, until its output ends.
fn follow(lines: Option<ChildStdout>, making: &Making) {
    let lines = lines
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines());
    for line in lines.map_while(Result::ok) {
        if let Ok(height) = line.parse() {
            making.reached(Height(height));
        }
    }
}

/// Killed if nobody waits for it any more.
struct Running(Child);

impl Running {
    fn wait(&mut self, stop: &CancellationToken) -> io::Result<ExitStatus> {
        let mut told = false;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if stop.is_cancelled() && !told {
                told = true;
                if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
                    // It may have ended by itself.
                    kill_process(pid, Signal::TERM).ok();
                }
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

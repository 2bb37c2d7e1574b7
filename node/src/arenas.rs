//! One arena for glibc's allocator.
//!
//! It gives threads that allocate at the same time an arena each, up to eight for every core, and hardly gives one back. A
//! block on its way into the index is read by one thread, opened by another, executed by a third and written by a fourth:
//! so each arena grows to what was ever in use at once. With one, making the index holds a fifth less and takes an eighth more of the
//! processor (docs/performance.md). The allocator reads its settings before `main` and never
//! again, hence a program that wants one arena begins once more.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The allocator's setting; one that the operator chose stands.
const SETTING: &str = "MALLOC_ARENA_MAX";

/// Lets a process that is about to begin have one arena.
pub fn allow_one(command: &mut Command) {
    if env::var_os(SETTING).is_none() {
        command.env(SETTING, "1");
    }
}

/// Begins this process's program once more with one arena, under the same process id and with the same arguments; comes
/// back if the setting is there already, or that is not possible: then memory is dearer, and nothing else is different.
pub fn have_one() {
    if !cfg!(target_env = "gnu") || env::var_os(SETTING).is_some() {
        return;
    }
    let mut arguments = env::args_os();
    let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) else {
        return;
    };
    let mut again = Command::new(program);
    again.arg0(name).args(arguments).env(SETTING, "1");
    let error = again.exec();
    tracing::warn!(%error, "glibc's allocator keeps its many arenas");
}

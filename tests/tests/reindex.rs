//! The index of a node that did not end well, and what the node does while there is none: real processes, real files.

use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use tests::binaries::command;
use tests::measure::index_maker;
use tests::running::{Running, wait_for};
use tests::{campaign, http, synthetic};

const ALL: [usize; 4] = [0, 1, 2, 3];
/// What a node says that went on with its index after a crash.
const GOES_ON: &str = "holds all that was written: it goes on";
const MADE_AGAIN: &str = "it is made again";

/// What a node has logged since its newest start.
fn newest_log(running: &Running, at: usize) -> String {
    let log = running.log(at);
    let newest = log.rsplit_once(" starting ").map(|(_, newest)| newest);
    newest.unwrap_or(&log).to_owned()
}

#[test]
fn after_a_kill_the_index_goes_on_and_a_damaged_one_is_made_again() {
    let mut running = Running::with_nodes(&ALL);
    for _ in 0..20 {
        running.becomes_provable(0);
    }
    campaign::agree(&running.network).unwrap();
    running.network.kill(1).unwrap();
    running.start(&[1]);
    let log = newest_log(&running, 1);
    assert!(log.contains(GOES_ON), "{log}");
    running.becomes_provable(1);
    campaign::agree(&running.network).unwrap();
    running.network.kill(1).unwrap();
    let db = running.dir(1).join("data/index/sled/db");
    let file = fs::File::options().write(true).open(&db).unwrap();
    let length = file.metadata().unwrap().len();
    for at in (0..length).step_by(512) {
        file.write_all_at(&[0xa5; 64], at).unwrap();
    }
    running.start(&[1]);
    let log = newest_log(&running, 1);
    assert!(log.contains(MADE_AGAIN) && !log.contains(GOES_ON), "{log}");
    running.becomes_provable(1);
    campaign::agree(&running.network).unwrap();
}

/// A node that is killed under load finds a checkpoint that is seconds old, not one from before the load.
#[test]
fn under_load_without_a_pause_the_kept_checkpoint_keeps_up() {
    let running = Running::with_nodes(&ALL);
    let file = running.dir(1).join("data/checkpoint");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for at in [0, 2, 3] {
            let (running, stop) = (&running, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    running.becomes_provable(at);
                }
            });
        }
        let mut kept = Vec::new();
        let kept_up = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("three checkpoints are kept meanwhile", || {
                let now = fs::read(&file).ok()?;
                if kept.last() != Some(&now) {
                    kept.push(now);
                }
                (kept.len() >= 3).then_some(())
            });
        }));
        // The load ends, whatever came of it.
        stop.store(true, Ordering::Relaxed);
        kept_up.expect("checkpoints are kept");
    });
}

/// Blocks that take some seconds to execute.
const RECORDS: u64 = 150_000;

#[test]
fn while_the_index_is_made_blocks_and_tiles_are_served_and_the_rest_says_why_not() {
    let mut running = Running::founded();
    synthetic::fill(&running.network, 0, RECORDS, |_| ()).unwrap();
    running.network.start(0).unwrap();
    let api = running.api(0);
    let get = |path: &str| http::get(api, path).unwrap();
    wait_for("the node says that it makes its index", || {
        let ready = http::get(api, "/readyz").ok()?;
        ready.text().contains("index-rebuilding").then_some(())
    });
    let block = get("/v1/blocks/1?raw");
    // Served as ever: that there is none is told by the checkpoint, which nobody has cosigned here.
    let tile = get("/log/tile/0/000");
    let status = running.status(0);
    let keys = get("/v1/authorities");
    let document = get("/v1/documents/00000000000000000000000000000000");
    // An audit must not be told that there was no restart.
    let restart = get("/v1/restarts/1");
    let missing = running.metric(0, "nachweis_index_blocks_missing");
    // All that was asked while it was not ready.
    assert!(
        get("/readyz").text().contains("index-rebuilding"),
        "ask for more records"
    );
    assert_eq!(block.status, 200);
    assert!(tile.text().contains("no-tile"), "{}", tile.text());
    assert_eq!(status["height"], RECORDS / 1_000);
    assert!(missing > 0);
    for refused in [keys, document, restart] {
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(
            refused.text().contains("index-rebuilding"),
            "{}",
            refused.text()
        );
    }
    // Told to stop it keeps what it has made, and the next start needs no look through it.
    running.network.signal(0, Signal::TERM);
    wait_for("it ends", || (!running.network.is_running(0)).then_some(()));
    assert_eq!(running.network.exit_code(0), Some(0), "{}", running.log(0));
    running.network.start(0).unwrap();
    wait_for("the index stands", || {
        let ready = http::get(api, "/readyz").ok()?;
        (!ready.text().contains("index-rebuilding")).then_some(())
    });
    assert_eq!(get("/v1/authorities").status, 200);
    assert_eq!(get("/v1/restarts/1").status, 404);
    assert_eq!(running.metric(0, "nachweis_index_blocks_missing"), 0);
    let log = newest_log(&running, 0);
    assert!(!log.contains("looked through"), "{log}");
    running.network.stop(0).unwrap();
    // A rebuild by hand comes to the same, and the audit finds nothing.
    let mut reindex = command("nachweis-node").unwrap();
    let reindex = reindex.args(["reindex", "--dir"]).arg(running.dir(0));
    assert!(reindex.output().unwrap().status.success());
    running.network.start(0).unwrap();
    wait_for("it runs", || {
        let answer = http::get(api, "/v1/authorities").ok()?;
        (answer.status == 200).then_some(())
    });
    let log = newest_log(&running, 0);
    assert!(!log.contains(MADE_AGAIN), "{log}");
}

/// What making takes is the maker's: it has one arena, it ends with its node, and without it the node goes on by itself.
#[test]
fn the_index_is_made_by_a_process_of_its_own() {
    let mut running = Running::founded();
    synthetic::fill(&running.network, 0, RECORDS, |_| ()).unwrap();
    let pid = |running: &Running| running.network.manifest().nodes[0].process.unwrap().pid;
    running.network.start(0).unwrap();
    let of = pid(&running);
    let child = wait_for("the index is made", || index_maker(of));
    let environment = fs::read(format!("/proc/{child}/environ")).unwrap();
    let mut entries = environment.split(|byte| *byte == 0);
    assert!(entries.any(|entry| entry == b"MALLOC_ARENA_MAX=1"));
    running.network.kill(0).unwrap();
    let gone = || !std::path::Path::new(&format!("/proc/{child}/cmdline")).exists();
    wait_for("the maker ends with its node", || gone().then_some(()));

    fs::remove_dir_all(running.dir(0).join("data/index")).unwrap();
    running.network.start(0).unwrap();
    let of = pid(&running);
    let child = wait_for("the index is made", || index_maker(of));
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, Signal::KILL).unwrap();
    let api = running.api(0);
    wait_for("the node has made it by itself", || {
        let answer = http::get(api, "/v1/authorities").ok()?;
        (answer.status == 200).then_some(())
    });
    let log = newest_log(&running, 0);
    assert!(
        log.contains("the process that makes the index failed"),
        "{log}"
    );
    running.network.stop(0).unwrap();
}

/// A sync that fails there ends the node too, as one of its own does; the next start has a whole disk.
#[test]
fn a_maker_that_cannot_write_ends_its_node() {
    let mut running = Running::founded();
    synthetic::fill(&running.network, 0, RECORDS, |_| ()).unwrap();
    let shim = campaign::build_shim(&running.network, "failing").unwrap();
    let (order, calls) = (
        running.network.dir().join("order"),
        running.network.dir().join("calls"),
    );
    // The maker's own: the node has no second one before it.
    fs::write(&order, "1 index fdatasync 2 eio\n").unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let environment = [
        ("LD_PRELOAD", text(&shim)),
        ("FAULT_DIR", text(&running.dir(0).join("data"))),
        ("FAULT_ARM", text(&order)),
        ("FAULT_LOG", text(&calls)),
    ];
    running.network.start_with(0, &environment).unwrap();
    wait_for("it ends", || (!running.network.is_running(0)).then_some(()));
    let calls = fs::read_to_string(&calls).unwrap();
    assert!(calls.contains("! index fdatasync 2 eio"), "{calls}");
    let log = running.log(0);
    assert_eq!(running.network.exit_code(0), Some(74), "{log}");
    assert!(
        log.contains("the process that makes the index could not write"),
        "{log}"
    );
    running.network.start(0).unwrap();
    let api = running.api(0);
    wait_for("the index stands", || {
        let answer = http::get(api, "/v1/authorities").ok()?;
        (answer.status == 200).then_some(())
    });
    running.network.stop(0).unwrap();
}

/// The setting's effect is a figure (docs/performance.md): the peak with ten million records.
#[test]
fn reindex_begins_once_more_with_one_arena_for_its_memory() {
    let running = Running::founded();
    synthetic::fill(&running.network, 0, RECORDS, |_| ()).unwrap();
    let mut reindex = command("nachweis-node").unwrap();
    reindex.arg("reindex").arg("--dir").arg(running.dir(0));
    reindex.env_remove("MALLOC_ARENA_MAX");
    let mut reindex = reindex.spawn().unwrap();
    let environ = format!("/proc/{}/environ", reindex.id());
    let setting = wait_for("reindex began once more", || {
        let environment = fs::read(&environ).ok()?;
        let mut entries = environment.split(|byte| *byte == 0);
        let entry = entries.find(|entry| entry.starts_with(b"MALLOC_ARENA_MAX="))?;
        Some(entry.to_vec())
    });
    assert_eq!(setting, b"MALLOC_ARENA_MAX=1");
    assert!(reindex.wait().unwrap().success());
}

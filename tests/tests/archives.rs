//! Archives that are not as a quiet node leaves them: cut short, forged, restarted, put elsewhere. What an audit says of
//! them, and whether a backup of them can be restored. Written without a network, read by the programs' own code.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use client::audit::segments::{Archive, ManifestFault, OpenError};
use client::audit::{self, Report, Wrong};
use genesis::trust;
use ledger::checkpoint::Checkpoint;
use ledger::frame::Payload;
use ledger::hash::Hash;
use ledger::id::{Height, TreeSize};
use ledger::key::SigningKey;
use ledger::note::{self, Note, VerifierKey};
use ledger::receipt::{Pin, Trust};
use ledger::replay::FaultKind;
use ledger::restart::{RestartFile, file_name};
use node::commands::{backup, export};
use std::fs;
use std::path::{Path, PathBuf};
use tests::binaries::command;
use tests::network::Network;
use tests::synthetic;

/// A network whose nodes never ran.
struct World {
    network: Network,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::found(dir.path(), 4).unwrap();
        Self { network, dir }
    }

    fn node(&self, at: usize) -> PathBuf {
        self.network.manifest().nodes[at].dir.clone()
    }

    fn archive(&self, at: usize) -> PathBuf {
        self.node(at).join("data/archive")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn trust(&self) -> Trust {
        trust::load(&self.network.manifest().trust).unwrap()
    }

    fn fill(&self, at: usize, certified: u64, without: u64) -> RestartFile {
        synthetic::fill_blocks(&self.network, at, certified, without).unwrap()
    }

    fn audit(&self, folder: &Path) -> Report {
        audit_with(&self.trust(), folder)
    }

    /// A copy of a node's segments with a manifest that lists them and says this height.
    fn listed(&self, at: usize, name: &str, height: u64) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir(&folder).unwrap();
        copy_files(&self.archive(at), &folder);
        self.list(&folder, height);
        folder
    }

    fn list(&self, folder: &Path, height: u64) {
        let mut manifest = export::Manifest::of(self.trust().chain());
        manifest.height = height;
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if ledger::frame::segment_number(&name).is_some() {
                let bytes = fs::read(entry.path()).unwrap();
                manifest.files.push(export::Listed::of(&name, &bytes));
            }
        }
        let text = serde_json::to_vec(&manifest).unwrap();
        fs::write(folder.join(export::MANIFEST), text).unwrap();
    }
}

fn audit_with(trust: &Trust, folder: &Path) -> Report {
    let files = Archive::open(folder).unwrap();
    audit::archive(trust, &files, &mut |_| ()).unwrap()
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn wrong(report: &Report) -> (u64, Wrong) {
    let fault = report.fault.clone().unwrap();
    (fault.height.0, fault.wrong)
}

#[track_caller]
fn sound(report: &Report, height: u64) {
    assert_eq!((&report.fault, report.height), (&None, Height(height)));
}

fn put(archive: &Path, epoch: u64, file: &RestartFile) {
    let name = file_name(ledger::id::Epoch(epoch));
    fs::write(archive.join(name), file.encode()).unwrap();
}

/// Backs a node up and restores it; gives the height of both.
fn there_and_back(world: &World, at: usize) -> (u64, u64) {
    let folder = tempfile::tempdir_in(world.dir.path()).unwrap();
    let (stream, new) = (folder.path().join("backup"), folder.path().join("new"));
    let made = backup::backup_file(&world.node(at), &stream).unwrap();
    let restored = backup::restore(&mut fs::File::open(&stream).unwrap(), &new).unwrap();
    (made.height, restored.height.0)
}

#[test]
fn an_end_without_finalization_is_left_out_of_copies_and_counts_for_nothing() {
    let world = World::new();
    world.fill(0, 12, 9);
    assert!(fs::read_dir(world.archive(0)).unwrap().count() > 2);
    let report = world.audit(&world.node(0));
    sound(&report, 12);
    assert_eq!((report.unfinished, report.records), (9, 12));
    assert_eq!(there_and_back(&world, 0), (12, 12));
    let out = world.path("export");
    assert_eq!(export::export(&world.node(0), &out).unwrap().height, 12);
    let report = world.audit(&out);
    sound(&report, 12);
    assert_eq!(report.unfinished, 0);
    // What an export lists is complete, and all of it is final.
    let listed = world.listed(0, "listed", 21);
    let not_final = Wrong::Block(FaultKind::NotFinal);
    assert_eq!(wrong(&world.audit(&listed)), (13, not_final.clone()));
    // Nothing is final at all.
    world.fill(1, 0, 3);
    assert_eq!(there_and_back(&world, 1), (0, 0));
    sound(&world.audit(&world.node(1)), 0);
    // More than any node leaves.
    world.fill(2, 1, 1_100);
    assert_eq!(wrong(&world.audit(&world.node(2))), (2, not_final));
}

#[test]
fn blocks_without_finalization_are_looked_at_all_the_same() {
    let world = World::new();
    let chain = world.trust().chain();
    let mut archive = node::storage::archive::Archive::open(&world.archive(0), chain).unwrap();
    let payload = Payload {
        block: vec![7; 200].try_into().unwrap(),
        finalization: None,
    };
    archive
        .append_group(&[payload.encode(), payload.encode()])
        .unwrap();
    let (height, wrong) = wrong(&world.audit(&world.node(0)));
    assert_eq!(height, 1);
    assert!(
        matches!(wrong, Wrong::Block(FaultKind::Decode(_))),
        "{wrong}"
    );
}

#[test]
fn a_directory_between_install_and_first_block_is_whole_and_one_below_the_restart_is_not() {
    let world = World::new();
    let file = world.fill(0, 5, 4);
    put(&world.archive(0), 1, &file);
    // As a crash leaves it while it is written.
    let unfinished = format!("{}.new", file_name(ledger::id::Epoch(2)));
    fs::write(world.archive(0).join(unfinished), b"half").unwrap();
    let report = world.audit(&world.node(0));
    sound(&report, 9);
    assert_eq!(report.unfinished, 0);
    assert_eq!(there_and_back(&world, 0), (9, 9));
    let out = world.path("export");
    assert_eq!(export::export(&world.node(0), &out).unwrap().height, 9);
    sound(&world.audit(&out), 9);
    // The newest segment was cut off; the file shows that the chain went on.
    let segments = fs::read_dir(world.archive(0)).unwrap();
    let segments = segments.map(|entry| entry.unwrap().path());
    let newest = segments.filter(|path| path.extension().is_some_and(|end| end == "archive"));
    fs::remove_file(newest.max().unwrap()).unwrap();
    let report = world.audit(&world.node(0));
    let anchor = Height(9);
    let below = Wrong::Block(FaultKind::EndsBelow { anchor });
    assert_eq!(wrong(&report), (report.height.0, below));
    assert!(report.height < anchor);
    // A copy of the rest needs no such file, and is as far as it says.
    let (made, restored) = there_and_back(&world, 0);
    assert!(made == restored && made == report.height.0);
}

#[test]
fn a_chain_that_is_shorter_or_other_than_a_known_tree_is_a_fault() {
    let world = World::new();
    world.fill(0, 6, 0);
    let plain = world.audit(&world.node(0));
    sound(&plain, 6);
    assert!(plain.compared.is_empty());
    let set = ledger::tip::Founding::new(world.trust().genesis().clone()).unwrap();
    let pinned = |size: u64, root: Hash| {
        let (size, set) = (TreeSize(size), set.set().clone());
        let trust = world.trust().with_pin(Pin { size, root, set }).unwrap();
        audit_with(&trust, &world.node(0))
    };
    let (size, root) = (plain.log_size, plain.log_root);
    sound(&pinned(size, root), 6);
    let other = Hash([3; 32]);
    let whose = "the pinned checkpoint";
    let differs = |size, root| Wrong::OtherRoot { whose, size, root };
    assert_eq!(wrong(&pinned(size, other)), (6, differs(size, other)));
    // A size at which no block ends.
    assert_eq!(wrong(&pinned(size - 1, root)).1, differs(size - 1, root));
    let found = size;
    let short = |whose| Wrong::Short {
        whose,
        size: size + 2,
        found,
    };
    assert_eq!(wrong(&pinned(size + 2, other)), (6, short(whose)));

    let origin = world.trust().origin().to_owned();
    let keep = |size: u64, root: Hash| {
        let size = TreeSize(size);
        let text = Checkpoint {
            origin: origin.clone(),
            size,
            root,
        }
        .text();
        let key = SigningKey::from_seed(&[5; 32]);
        let line = note::sign_log(&VerifierKey::log(&origin, key.key()), &key, &text);
        let note = Note::new(text, vec![line]).encode();
        fs::write(world.node(0).join("data/checkpoint"), note).unwrap();
        world.audit(&world.node(0))
    };
    let whose = "the checkpoint that the node kept";
    let report = keep(size, root);
    sound(&report, 6);
    assert_eq!(report.compared, [(whose, size)]);
    assert_eq!(wrong(&keep(size + 2, other)), (6, short(whose)));
    let differs = Wrong::OtherRoot {
        whose,
        size,
        root: other,
    };
    assert_eq!(wrong(&keep(size, other)), (6, differs));
}

#[test]
fn an_export_is_audited_itself_and_as_its_manifest_says() {
    let world = World::new();
    world.fill(0, 8, 0);
    let folder = world.listed(0, "export", 8);
    sound(&world.audit(&folder), 8);
    // A good chain in a folder below it says nothing of it.
    fs::create_dir(folder.join("archive")).unwrap();
    copy_files(&world.archive(0), &folder.join("archive"));
    fs::write(folder.join("node.toml"), "[storage]\ndata = \".\"\n").unwrap();
    let first = folder.join(ledger::frame::segment_name(1));
    let kept = fs::read(&first).unwrap();
    fs::write(&first, vec![9; kept.len()]).unwrap();
    world.list(&folder, 8);
    assert!(matches!(
        wrong(&world.audit(&folder)),
        (1, Wrong::Segment(_))
    ));
    fs::write(&first, kept).unwrap();
    world.list(&folder, 9);
    let (listed, found) = (Height(9), Height(8));
    let shorter = ManifestFault::Height { listed, found };
    assert_eq!(wrong(&world.audit(&folder)), (8, shorter.into()));
    // Of another chain; with a file more than it lists.
    let text = fs::read_to_string(folder.join(export::MANIFEST)).unwrap();
    let chain = world.trust().chain().to_string();
    let other = text.replace(&chain, "other");
    fs::write(folder.join(export::MANIFEST), other).unwrap();
    let other = ManifestFault::OtherChain("other".to_owned());
    assert_eq!(wrong(&world.audit(&folder)).1, other.into());
    world.list(&folder, 8);
    let more = ledger::frame::segment_name(99);
    fs::write(folder.join(&more), b"").unwrap();
    assert_eq!(
        wrong(&world.audit(&folder)).1,
        ManifestFault::File(more).into()
    );
    // Two places below a folder that is none itself.
    let two = world.path("two");
    fs::create_dir_all(two.join("data/archive")).unwrap();
    fs::create_dir(two.join("archive")).unwrap();
    copy_files(&world.archive(0), &two.join("archive"));
    sound(&world.audit(&two), 8);
    copy_files(&world.archive(0), &two.join("data/archive"));
    let refused = Archive::open(&two).unwrap_err();
    assert!(matches!(refused, OpenError::Ambiguous { .. }), "{refused}");
}

#[test]
fn a_node_whose_data_were_elsewhere_is_restored_into_its_directory_and_the_operator_is_told() {
    let world = World::new();
    world.fill(0, 4, 0);
    let dir = world.node(0);
    let elsewhere = world.path("disk");
    fs::rename(dir.join("data"), &elsewhere).unwrap();
    fs::rename(dir.join("genesis.nachweis"), dir.join("first.nachweis")).unwrap();
    let text = fs::read_to_string(dir.join("node.toml")).unwrap();
    let moved = text
        .replace("data = \"data\"", &format!("data = {elsewhere:?}"))
        .replace("\"genesis.nachweis\"", "\"first.nachweis\"");
    fs::write(dir.join("node.toml"), &moved).unwrap();
    let (stream, new) = (world.path("node.backup"), world.path("restored"));
    backup::backup_file(&dir, &stream).unwrap();
    let mut restore = command("nachweis-node").unwrap();
    restore
        .args(["restore", "--from"])
        .arg(&stream)
        .arg("--dir")
        .arg(&new);
    let output = restore.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let elsewhere = elsewhere.display();
    let told = format!("storage.data was {elsewhere}, and is data in the restored node.toml\n");
    assert!(said.contains(&told), "{said}");
    assert!(
        said.contains("storage.genesis was first.nachweis"),
        "{said}"
    );
    let config = node::config::Config::load(&new).unwrap();
    assert_eq!(config.data(), new.join("data"));
    assert!(config.genesis().exists());
    sound(&world.audit(&new), 4);
}

//! Tiles, checkpoints, notes and proofs, both ways with tools that we did not write.

use crate::logs::{MADE_ORIGIN, Tiles, hashes, made_entries, mth};
use crate::world::{seed_of, signing_key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::checkpoint::Checkpoint;
use ledger::cosignature;
use ledger::hash::Hash;
use ledger::id::{AuthorityId, LeafIndex, TreeSize};
use ledger::log::{Path, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion};
use ledger::note::{ED25519_COSIGNATURE, Note, VerifierKey, sign_log, verify_log};
use ledger::tile::{Resource, Tile, push_entry};
use signed_note::{Signer as _, StandardSigner, StandardVerifier, Verifier as _, VerifierList};
use std::cell::RefCell;
use tlog_tiles::{
    HashReader as _, TileHashReader, check_record, check_tree, prove_record, prove_tree,
};

const SIZE: usize = 1000;

fn theirs(hash: &Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(hash.0)
}

fn ours(hashes: Vec<tlog_tiles::Hash>) -> Path {
    Path::new(hashes.into_iter().map(|hash| Hash(hash.0)).collect()).unwrap()
}

fn their_proof(path: &Path) -> Vec<tlog_tiles::Hash> {
    path.hashes().iter().map(theirs).collect()
}

/// What a node serves: the bytes of a tile, found by the path that the other tool asks for.
struct Served<'a> {
    tiles: &'a Tiles,
    size: u64,
    asked: RefCell<Vec<String>>,
}

impl Served<'_> {
    fn get(&self, path: &str) -> Vec<u8> {
        self.asked.borrow_mut().push(path.to_owned());
        let resource = Resource::parse(path).expect("a canonical path");
        assert_eq!(resource.path(), path);
        let Resource::Hashes { level, tile } = resource else {
            panic!("asked for hashes");
        };
        assert!(tile.is_within(level, TreeSize(self.size)), "{path}");
        let start = usize::try_from(tile.start()).unwrap();
        let hashes = &self.tiles.0[usize::from(level)][start..start + usize::from(tile.width)];
        hashes.iter().flat_map(|hash| hash.0).collect()
    }
}

/// The crate writes the older layout, which has the tile's height in front; C2SP fixed it at 8.
fn c2sp_path(tile: &tlog_tiles::Tile) -> String {
    tile.path().replacen("tile/8/", "tile/", 1)
}

impl tlog_tiles::TileReader for Served<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        Ok(tiles
            .iter()
            .map(|tile| self.get(&c2sp_path(tile)))
            .collect())
    }

    fn save_tiles(&self, _tiles: &[tlog_tiles::Tile], _data: &[Vec<u8>]) {}
}

#[test]
fn another_tool_reads_our_tiles_and_makes_our_proofs() {
    let tiles = Tiles::new(hashes(&made_entries()));
    for size in [1_usize, 255, 256, 257, 700, SIZE] {
        let root = mth(&tiles.leaves()[..size]);
        let served = Served {
            tiles: &tiles,
            size: size as u64,
            asked: RefCell::default(),
        };
        let reader = TileHashReader::new(size as u64, theirs(&root), &served);
        assert_eq!(
            tlog_tiles::tree_hash(size as u64, &reader).map_err(|error| error.to_string()),
            Ok(theirs(&root))
        );
        for index in [0, size / 2, size - 1] {
            let (at, whole) = (index as u64, size as u64);
            let made = prove_record(whole, at, &reader).unwrap();
            let Ok(proof) = prove_inclusion(&tiles, LeafIndex(at), TreeSize(whole));
            let proof = proof.unwrap();
            assert_eq!(made, their_proof(&proof));
            let leaf = tiles.leaves()[index];
            check_record(
                &their_proof(&proof),
                whole,
                theirs(&root),
                at,
                theirs(&leaf),
            )
            .unwrap();
            let path = ours(made);
            let (at, whole) = (LeafIndex(at), TreeSize(whole));
            assert_eq!(verify_inclusion(&leaf, at, whole, &path, &root), Ok(()));
        }
        for old in [1, size.div_ceil(2), size] {
            let before = mth(&tiles.leaves()[..old]);
            let (from, to) = (old as u64, size as u64);
            let made = prove_tree(to, from, &reader).unwrap();
            let Ok(proof) = prove_consistency(&tiles, TreeSize(from), TreeSize(to));
            let proof = proof.unwrap();
            assert_eq!(made, their_proof(&proof), "{old} to {size}");
            check_tree(
                &their_proof(&proof),
                to,
                theirs(&root),
                from,
                theirs(&before),
            )
            .unwrap();
            let (before, after) = ((TreeSize(from), &before), (TreeSize(to), &root));
            assert_eq!(verify_consistency(before, after, &ours(made)), Ok(()));
        }
        assert!(!served.asked.borrow().is_empty());
    }
}

#[test]
fn another_tool_refuses_a_tile_that_was_tampered_with() {
    let mut tiles = Tiles::new(hashes(&made_entries()));
    let root = mth(tiles.leaves());
    // On the right edge: of the full tiles below it this crate checks only some against their parents.
    tiles.0[0][900].0[0] ^= 1;
    let served = Served {
        tiles: &tiles,
        size: SIZE as u64,
        asked: RefCell::default(),
    };
    let reader = TileHashReader::new(SIZE as u64, theirs(&root), &served);
    let index = tlog_tiles::stored_hash_index(0, 901);
    assert!(reader.read_hashes(&[index]).is_err());
}

/// The paths of both for every kind of tile, and no other spelling is understood.
#[test]
fn tile_paths_are_the_other_tools() {
    let cases = [
        (0, 0, 256, "tile/0/000"),
        (0, 999, 256, "tile/0/999"),
        (1, 1000, 17, "tile/1/x001/000.p/17"),
        (63, 1_234_067, 255, "tile/63/x001/x234/067.p/255"),
    ];
    for (level, number, width, text) in cases {
        let tile = Tile { number, width };
        let resource = Resource::Hashes { level, tile };
        assert_eq!(resource.path(), text);
        assert_eq!(Resource::parse(text), Some(resource));
        let theirs = tlog_tiles::Tile::new(8, level, number, u32::from(width), false);
        assert_eq!(c2sp_path(&theirs), text);
    }
    let entries = Resource::Entries(Tile {
        number: 1,
        width: 3,
    });
    assert_eq!(entries.path(), "tile/entries/001.p/3");
    assert_eq!(Resource::parse("tile/entries/001.p/3"), Some(entries));
    for wrong in [
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/001/000",
        "tile/0/x001",
        "tile/0/+01",
        "tile/0/000/",
        "/tile/0/000",
        "tile/entries",
        "tile//000",
        "tile/0/xx01/000",
        "tile/0/000.p/1.p/1",
        "tile/0/x99999999999999999999/000",
        "",
    ] {
        assert_eq!(Resource::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn only_the_tiles_of_a_tree_are_within_it() {
    let tile = |number, width| Tile { number, width };
    let size = TreeSize(70_000);
    for (level, tile, within) in [
        (0, tile(272, 256), true),
        (0, tile(273, 112), true),
        (0, tile(273, 113), false),
        (0, tile(274, 1), false),
        (1, tile(0, 256), true),
        (1, tile(1, 17), true),
        (1, tile(1, 18), false),
        (2, tile(0, 1), true),
        (2, tile(0, 2), false),
        (3, tile(0, 1), false),
        (63, tile(0, 1), false),
        (0, tile(u64::MAX, 1), false),
    ] {
        assert_eq!(
            tile.is_within(level, size),
            within,
            "level {level} {tile:?}"
        );
    }
    let mut bundle = Vec::new();
    push_entry(&mut bundle, b"ab").unwrap();
    push_entry(&mut bundle, b"").unwrap();
    assert_eq!(bundle, b"\0\x02ab\0\0");
    assert_eq!(push_entry(&mut bundle, &[0; 65_536]), None);
    assert_eq!(push_entry(&mut bundle, &[7; 65_535]), Some(()));
    assert_eq!(bundle.len(), 6 + 2 + 65_535, "nothing of the refused one");
}

fn made_checkpoint() -> Checkpoint {
    Checkpoint {
        origin: MADE_ORIGIN.into(),
        size: TreeSize(SIZE as u64),
        root: mth(&hashes(&made_entries())),
    }
}

#[test]
fn checkpoints_are_read_both_ways() {
    let checkpoint = made_checkpoint();
    let text = checkpoint.text();
    let read = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).unwrap();
    assert_eq!((read.origin(), read.size()), (MADE_ORIGIN, SIZE as u64));
    assert_eq!(read.hash(), &theirs(&checkpoint.root));
    assert_eq!(read.to_bytes(), text.as_bytes());
    let made = tlog_tiles::Checkpoint::new(MADE_ORIGIN, 7, theirs(&seed_of("root")), "").unwrap();
    let read = Checkpoint::parse(std::str::from_utf8(&made.to_bytes()).unwrap()).unwrap();
    assert_eq!((read.size, read.root), (TreeSize(7), seed_of("root")));
    // Ours have no extension lines, and take none.
    let more =
        tlog_tiles::Checkpoint::new(MADE_ORIGIN, 7, theirs(&seed_of("root")), "x\n").unwrap();
    assert!(Checkpoint::parse(std::str::from_utf8(&more.to_bytes()).unwrap()).is_err());
}

#[test]
fn a_checkpoint_has_one_spelling() {
    let right = made_checkpoint().text();
    let root = right.lines().nth(2).unwrap();
    for wrong in [
        right.trim_end().to_owned(),
        format!("{right}\n"),
        right.replace("1000", "01000"),
        right.replace("1000", "+1000"),
        right.replace("1000", " 1000"),
        right.replace("1000", "18446744073709551616"),
        right.replace('\n', "\r\n"),
        right.replace(root, &root.replace('=', "")),
        right.replace(root, &STANDARD.encode([0; 31])),
        right.replace(root, &STANDARD.encode([0; 33])),
        right.replace("NM=", "NN="),
        right.replace(MADE_ORIGIN, ""),
        String::new(),
        "\n\n\n".to_owned(),
    ] {
        assert!(Checkpoint::parse(&wrong).is_err(), "{wrong:?}");
    }
}

/// Checks lines of type 0x04 for a library that knows type 0x01 only.
struct CosignatureVerifier(VerifierKey);

impl signed_note::Verifier for CosignatureVerifier {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn key_id(&self) -> u32 {
        let key = [&[ED25519_COSIGNATURE], self.0.key().as_bytes().as_slice()].concat();
        signed_note::key_id(self.0.name(), &key)
    }

    fn verify(&self, msg: &[u8], sig: &[u8]) -> bool {
        let (time, signature) = sig.split_at(8);
        let time = u64::from_be_bytes(time.try_into().unwrap());
        let text = std::str::from_utf8(msg).unwrap();
        let key = ed25519_dalek::VerifyingKey::from_bytes(self.0.key().as_bytes()).unwrap();
        let signature = ed25519_dalek::Signature::from_slice(signature).unwrap();
        let message = format!("cosignature/v1\ntime {time}\n{text}");
        key.verify_strict(message.as_bytes(), &signature).is_ok()
    }
}

#[test]
fn another_tool_accepts_our_note() {
    let text = made_checkpoint().text();
    let key = signing_key("log");
    let log = VerifierKey::log(MADE_ORIGIN, key.key());
    let cosigner_key = signing_key("auth-a");
    let id = AuthorityId::new("aa").unwrap();
    let cosigner = VerifierKey::cosigner(MADE_ORIGIN, &id, cosigner_key.key());
    let lines = vec![
        sign_log(&log, &key, &text),
        cosignature::cosign(&cosigner, &cosigner_key, 1_790_000_000, &text),
    ];
    let note = Note::new(text.clone(), lines);
    let read = signed_note::Note::from_bytes(note.encode().as_bytes()).unwrap();
    assert_eq!(read.text(), text.as_bytes());
    assert_eq!(read.to_bytes(), note.encode().as_bytes());
    let known = VerifierList::new(vec![
        Box::new(StandardVerifier::new(&log.vkey()).unwrap()),
        Box::new(CosignatureVerifier(cosigner.clone())),
    ]);
    let (verified, unverified) = read.verify(&known).unwrap();
    assert_eq!((verified.len(), unverified.len()), (2, 0));
    let standard = StandardVerifier::new(&log.vkey()).unwrap();
    assert_eq!(standard.key_id().to_be_bytes(), log.id());
    assert_eq!(
        CosignatureVerifier(cosigner.clone()).key_id().to_be_bytes(),
        cosigner.id()
    );
}

#[test]
fn we_accept_another_tools_note() {
    let text = made_checkpoint().text();
    let key = signing_key("log");
    let log = VerifierKey::log(MADE_ORIGIN, key.key());
    let secret = STANDARD.encode([&[1], seed_of("log").as_bytes().as_slice()].concat());
    let secret = format!(
        "PRIVATE+KEY+{MADE_ORIGIN}+{}+{secret}",
        hex::encode(log.id())
    );
    let signer = StandardSigner::new(&secret).unwrap();
    assert_eq!(signer.name(), MADE_ORIGIN);
    let mut made = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
    made.add_sigs(&[&signer]).unwrap();
    let note = Note::parse(&made.to_bytes()).unwrap();
    assert_eq!(note.text(), text);
    assert!(verify_log(&log, &note.lines()[0], note.text()));
    assert_eq!(
        note.lines(),
        [sign_log(&log, &key, &text)],
        "Ed25519 signs the same twice"
    );
}

/// A note that is not exactly of the form is refused, by both where the other tool is as strict.
#[test]
fn a_note_has_one_spelling() {
    let text = "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    let key = signing_key("log");
    let log = VerifierKey::log("origin", key.key());
    let line = sign_log(&log, &key, text).text();
    let right = format!("{text}\n{line}");
    assert!(Note::parse(right.as_bytes()).is_ok());
    let dash = "\u{2014} ";
    let wrong = [
        format!("{text}{line}"),
        format!("{text}\n"),
        right.trim_end().to_owned(),
        format!("{right}\n"),
        format!("{right}junk\n"),
        right.replace(dash, "- "),
        right.replace(dash, "\u{2014}"),
        right.replace(&format!("{dash}origin "), &format!("{dash}ori+gin ")),
        right.replace(&format!("{dash}origin "), &format!("{dash}ori\u{a0}gin ")),
        right.replace(&format!("{dash}origin "), dash),
        right.replace("\n\u{2014}", "\r\n\u{2014}"),
        format!("{text}\n{dash}origin AAAA\n"),
        format!("{text}\n{dash}origin AAAAAA\n"),
        format!("{text}\n{dash}origin ////\n"),
        format!("{text}\n{}", line.replace('\n', "=\n")),
        format!("{text}\n{}", line.repeat(101)),
        format!("{}\n{line}", "x".repeat(70_000)),
        "\n".to_owned(),
        String::new(),
    ];
    for note in wrong {
        let start: String = note.chars().take(200).collect();
        assert!(Note::parse(note.as_bytes()).is_err(), "{start:?}");
    }
    assert!(Note::parse(&[right.as_bytes(), b"\xff"].concat()).is_err());
    assert!(Note::parse(format!("{text}\n{}", line.repeat(100)).as_bytes()).is_ok());
    // The last empty line divides.
    let double = format!("a\n\n{dash}b AAAAAAA=\nc\n\n{line}");
    let note = Note::parse(double.as_bytes()).unwrap();
    assert_eq!(note.text(), format!("a\n\n{dash}b AAAAAAA=\nc\n"));
}

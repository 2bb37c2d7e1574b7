//! The founding ceremony with the real program, and everything that it must refuse.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test stop it where they fail"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use genesis::application::Applicant;
use genesis::birth::{Duty, Keys};
use genesis::container::{Container, Founding};
use genesis::keyfile::KeyFile;
use ledger::codec;
use ledger::genesis::{Application, Genesis, Purpose};
use ledger::id::AuthorityId;
use ledger::key::Key;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const FOUR: [&str; 4] = ["bamf", "lds-sachsen", "stadt-leipzig", "vg-leipzig"];

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// A folder in which authorities hold their ceremony.
struct Table(TempDir);

impl Table {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A table at which these authorities have applied.
    fn with(ids: &[&str]) -> Self {
        let table = Self::new();
        for id in ids {
            table.apply(id);
        }
        table
    }

    /// A table of four with a genesis that all have signed.
    fn founded() -> Self {
        let table = Self::with(&FOUR);
        table.good(&table.assembling(&FOUR, "genesis.nachweis"));
        for id in FOUR {
            table.good(&signing(id));
        }
        table
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run<S: AsRef<str>>(&self, args: &[S]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_nachweis-genesis"))
            .args(args.iter().map(AsRef::as_ref))
            .current_dir(self.0.path())
            .output()
            .unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn good<S: AsRef<str>>(&self, args: &[S]) -> String {
        let said = self.run(args);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
        said.out
    }

    /// Runs a command that must fail: with this code, this text in its error, and no output.
    fn refused<S: AsRef<str>>(&self, args: &[S], code: i32, text: &str) {
        let before = self.files();
        let said = self.run(args);
        assert_eq!(said.code, code, "{}{}", said.out, said.err);
        assert!(said.err.starts_with("error: "), "{}", said.err);
        assert!(said.err.contains(text), "{}", said.err);
        assert_eq!(said.out, "");
        assert_eq!(self.files(), before, "nothing may be created on failure");
    }

    fn apply(&self, id: &str) {
        self.good(&applying(id, "nachweis.test"));
    }

    fn assembling(&self, ids: &[&str], out: &str) -> Vec<String> {
        let files = ids.iter().map(|id| format!("{id}/application.json"));
        let mut args = vec!["assemble".to_owned()];
        args.extend(files);
        args.extend(["--out".to_owned(), out.to_owned()]);
        args
    }

    fn key(&self, id: &str, purpose: Purpose) -> KeyFile {
        let name = genesis::birth::key_name(purpose);
        KeyFile::load(&self.path(id).join(name), purpose).unwrap()
    }

    fn genesis(&self) -> Genesis {
        let container = Container::load(&self.path("genesis.nachweis")).unwrap();
        container.genesis().clone()
    }

    /// Writes a genesis that every authority here has signed, whatever it says.
    fn sign_blindly(&self, genesis: Genesis) {
        let message = genesis.sign_bytes();
        let ids: Vec<_> = genesis
            .indexed()
            .map(|(at, a)| (at, a.id.clone()))
            .collect();
        let mut container = Container::new(genesis);
        for (at, id) in ids {
            let admin = self.key(id.as_str(), Purpose::Admin);
            container
                .add(at, admin.signing_key().sign(&message))
                .unwrap();
        }
        fs::write(self.path("bad.nachweis"), container.encode()).unwrap();
    }

    /// Every file below the table with its content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        collect(self.0.path(), &mut found);
        found.sort();
        found
    }
}

fn collect(dir: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            collect(&path, found);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
}

fn applying(id: &str, domain: &str) -> Vec<String> {
    let address = "/ip4/127.0.0.1/tcp/7447";
    let name = format!("Behörde {id}");
    [
        "apply",
        "--authority",
        id,
        "--name",
        &name,
        "--domain",
        domain,
        "--address",
        address,
        "--out",
        id,
    ]
    .map(str::to_owned)
    .to_vec()
}

fn signing(id: &str) -> Vec<String> {
    let key = format!("{id}/admin.key");
    ["sign", "--genesis", "genesis.nachweis", "--key", &key]
        .map(str::to_owned)
        .to_vec()
}

/// The two lines behind `fingerprint:`.
fn fingerprint(out: &str) -> Vec<String> {
    let mut lines = out.lines().skip_while(|line| *line != "fingerprint:");
    lines.next().unwrap();
    lines.take(2).map(|line| line.trim().to_owned()).collect()
}

/// Changes the signed part of an application file and makes its readable part agree.
fn forge(path: &Path, change: impl FnOnce(&mut Application)) {
    let text = fs::read(path).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let bytes = STANDARD
        .decode(json["application"].as_str().unwrap())
        .unwrap();
    let mut application: Application = codec::decode(&bytes, 16 * 1024).unwrap();
    change(&mut application);
    json["name"] = application.authority.name.to_string().into();
    json["domain"] = application.domain.to_string().into();
    for (at, (_, key)) in application.authority.keys().into_iter().enumerate() {
        json["keys"][at]["key"] = key.to_string().into();
    }
    json["application"] = STANDARD.encode(codec::encode(&application)).into();
    fs::write(path, serde_json::to_vec(&json).unwrap()).unwrap();
}

#[test]
fn four_authorities_found_a_network() {
    let table = Table::founded();
    let checked = table.good(&["check", "genesis.nachweis"]);
    assert!(
        checked.starts_with(
            "genesis.nachweis: good, signed by all 4 authorities; 4 validators, quorum 3\n"
        ),
        "{checked}"
    );
    let founding = Founding::load(&table.path("genesis.nachweis")).unwrap();
    let [words, hex] = fingerprint(&checked).try_into().unwrap();
    assert_eq!(hex, founding.chain().to_string());
    assert_eq!(words.split(' ').count(), 12);
    let ids: Vec<_> = founding
        .genesis()
        .authorities
        .iter()
        .map(|a| a.id.as_str())
        .collect();
    assert_eq!(ids, FOUR);
    let shown = table.good(&["show", "genesis.nachweis"]);
    assert_eq!(shown.matches(" signed ").count(), 4, "{shown}");
    assert!(shown.contains("Behörde vg-leipzig"), "{shown}");
}

#[test]
fn the_same_applications_make_the_same_genesis_in_any_order() {
    let table = Table::with(&FOUR);
    let one = table.good(&table.assembling(&FOUR, "one"));
    let mut other = FOUR;
    other.reverse();
    let two = table.good(&table.assembling(&other, "two"));
    assert_eq!(fingerprint(&one), fingerprint(&two));
    assert_eq!(
        fs::read(table.path("one")).unwrap(),
        fs::read(table.path("two")).unwrap()
    );
    let twice = [other.as_slice(), &["bamf"]].concat();
    let three = table.good(&table.assembling(&twice, "three"));
    assert_eq!(fingerprint(&one), fingerprint(&three));
}

#[test]
fn signatures_made_elsewhere_are_added() {
    let table = Table::with(&FOUR);
    table.good(&table.assembling(&FOUR, "genesis.nachweis"));
    let draft = fs::read(table.path("genesis.nachweis")).unwrap();
    for id in FOUR {
        let mut args = signing(id);
        args.extend(["--out".to_owned(), format!("{id}.signature")]);
        let said = table.good(&args);
        assert!(
            said.starts_with(&format!("{id}.signature: signed by 1 of 4")),
            "{said}"
        );
    }
    assert_eq!(fs::read(table.path("genesis.nachweis")).unwrap(), draft);
    table.refused(
        &["check", "genesis.nachweis"],
        1,
        "not signed by bamf, lds-sachsen",
    );
    let mut args = vec![
        "sign".to_owned(),
        "--genesis".into(),
        "genesis.nachweis".into(),
    ];
    args.push("--add".into());
    args.extend(FOUR.map(|id| format!("{id}.signature")));
    assert!(table.good(&args).contains("All have signed."));
    table.good(&["check", "genesis.nachweis"]);
}

#[test]
fn an_authority_without_validator_takes_part() {
    let table = Table::with(&FOUR);
    let args = [
        "apply",
        "--authority",
        "amt",
        "--name",
        "Amt",
        "--domain",
        "nachweis.test",
        "--no-validator",
        "--out",
        "amt",
    ];
    table.good(&args);
    let mut made: Vec<_> = fs::read_dir(table.path("amt"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    made.sort();
    assert_eq!(made, ["admin.key", "application.json", "registrar.key"]);
    let all = ["amt", "bamf", "lds-sachsen", "stadt-leipzig", "vg-leipzig"];
    table.good(&table.assembling(&all, "genesis.nachweis"));
    for id in all {
        table.good(&signing(id));
    }
    let checked = table.good(&["check", "genesis.nachweis"]);
    assert!(
        checked.contains("all 5 authorities; 4 validators"),
        "{checked}"
    );
}

#[test]
fn keys_are_for_their_owner_alone() {
    let table = Table::with(&["bamf"]);
    for (path, _) in table.files() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let expected = match path.file_name().unwrap().to_str().unwrap() {
            "bamf" | "journal" => 0o700,
            "application.json" => continue,
            _ => 0o600,
        };
        assert_eq!(mode, expected, "{}", path.display());
    }
    let seeds: Vec<_> = table
        .files()
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "key"))
        .map(|(_, text)| {
            let text = String::from_utf8(text).unwrap();
            let seed = text.lines().find_map(|line| line.strip_prefix("seed: "));
            seed.unwrap().to_owned()
        })
        .collect();
    assert_eq!(seeds.len(), 6);
    let sent = fs::read_to_string(table.path("bamf/application.json")).unwrap();
    assert!(seeds.iter().all(|seed| !sent.contains(seed)));
}

#[test]
fn a_missing_signature_is_named() {
    let table = Table::with(&FOUR);
    table.good(&table.assembling(&FOUR, "genesis.nachweis"));
    for id in &FOUR[..3] {
        table.good(&signing(id));
    }
    table.refused(
        &["check", "genesis.nachweis"],
        1,
        "not signed by vg-leipzig\nhint: ",
    );
}

#[test]
fn three_validators_are_refused() {
    let table = Table::with(&FOUR[..3]);
    let args = table.assembling(&FOUR[..3], "genesis.nachweis");
    table.refused(&args, 1, "needs 4 to 64 validators, this has 3");
    let table = Table::founded();
    let mut genesis = table.genesis();
    genesis.authorities.pop();
    table.sign_blindly(genesis);
    table.refused(
        &["check", "bad.nachweis"],
        1,
        "needs 4 to 64 validators, this has 3",
    );
}

#[test]
fn a_key_used_twice_is_refused() {
    let table = Table::with(&FOUR);
    // An authority that applies with another's log key as its own, and even holds it.
    let id = AuthorityId::new("doppelt").unwrap();
    let mut keys = Keys::generate(&id, Duty::Validator).unwrap();
    keys.validator.as_mut().unwrap().log = table.key("bamf", Purpose::Log);
    let own = Applicant::load(&table.path("bamf/application.json")).unwrap();
    let plan = genesis::application::Plan {
        domain: own.application().domain.clone(),
        name: "Doppelt".into(),
        addresses: vec!["/ip4/127.0.0.1/tcp/1".into()],
        created_ms: own.application().created_ms,
    };
    fs::create_dir(table.path("doppelt")).unwrap();
    let path = table.path("doppelt/application.json");
    Applicant::make(&keys, &plan)
        .unwrap()
        .create(&path)
        .unwrap();
    let all = [FOUR.as_slice(), &["doppelt"]].concat();
    table.refused(
        &table.assembling(&all, "genesis.nachweis"),
        1,
        "is used twice",
    );

    let table = Table::founded();
    let mut genesis = table.genesis();
    let key = genesis.authorities[0].registrars[0].key;
    genesis.authorities[3].validator.as_mut().unwrap().vote = key;
    table.sign_blindly(genesis);
    table.refused(
        &["check", "bad.nachweis"],
        1,
        "of authority vg-leipzig is used twice",
    );
}

#[test]
fn weak_and_non_canonical_keys_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut not_canonical = [0xff; 32];
    not_canonical[0] = 0xee;
    not_canonical[31] = 0x7f;
    for (bytes, text) in [
        (identity, "has small order"),
        (not_canonical, "is not a canonical point encoding"),
    ] {
        let weak = Key::from_bytes(bytes);
        let table = Table::founded();
        let mut genesis = table.genesis();
        genesis.authorities[1].validator.as_mut().unwrap().cosigner = weak;
        table.sign_blindly(genesis);
        table.refused(&["check", "bad.nachweis"], 1, text);
        forge(&table.path("bamf/application.json"), |application| {
            application.authority.validator.as_mut().unwrap().vote = weak;
        });
        table.refused(&table.assembling(&FOUR, "other.nachweis"), 1, text);
    }
}

#[test]
fn a_wrong_domain_is_refused() {
    let table = Table::with(&FOUR[..3]);
    table.good(&applying("vg-leipzig", "other.test"));
    let args = table.assembling(&FOUR, "genesis.nachweis");
    table.refused(
        &args,
        1,
        "vg-leipzig applies for domain other.test, the others for nachweis.test",
    );
}

#[test]
fn a_tampered_application_is_refused() {
    let table = Table::with(&FOUR);
    let path = table.path("bamf/application.json");
    let args = table.assembling(&FOUR, "genesis.nachweis");
    let good = fs::read(&path).unwrap();

    // Signed part changed, readable part made to agree.
    forge(&path, |application| {
        application.authority.name = "Anderes Amt".to_owned().try_into().unwrap();
    });
    table.refused(
        &args,
        1,
        "the admin key of bamf did not sign this application",
    );

    // Readable part changed alone.
    let text = String::from_utf8(good.clone()).unwrap();
    fs::write(&path, text.replace("Behörde bamf", "Behörde lds")).unwrap();
    table.refused(&args, 1, "its readable part differs from its signed part");

    // A possession of another purpose's key.
    fs::write(&path, &good).unwrap();
    forge(&path, |application| {
        let mut all = application.possessions.to_vec();
        all.swap(2, 3);
        application.possessions = all.try_into().unwrap();
    });
    table.refused(
        &args,
        1,
        "the vote key of bamf did not sign this application",
    );

    // A member nobody knows, one twice, a cut, nothing at all, far too much.
    for (bad, code) in [
        (text.replacen('{', "{\"more\":1,", 1), 2),
        (text.replacen('{', "{\"domain\":\"nachweis.test\",", 1), 2),
        (text[..text.len() / 2].to_owned(), 2),
        (String::new(), 2),
        (" ".repeat(70_000) + &text, 3),
    ] {
        fs::write(&path, bad).unwrap();
        table.refused(&args, code, "application bamf/application.json is refused");
    }
    fs::remove_file(&path).unwrap();
    table.refused(&args, 3, "it cannot be read");
}

#[test]
fn an_authority_that_applies_twice_is_refused() {
    let table = Table::with(&FOUR);
    let mut again = applying("bamf", "nachweis.test");
    *again.last_mut().unwrap() = "bamf-2".into();
    table.good(&again);
    let all = [FOUR.as_slice(), &["bamf-2"]].concat();
    let args = table.assembling(&all, "genesis.nachweis");
    table.refused(&args, 1, "two different applications of authority bamf");
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let table = Table::with(&FOUR);
    table.good(&table.assembling(&FOUR, "genesis.nachweis"));
    for mode in [0o640, 0o604, 0o620, 0o610] {
        fs::set_permissions(
            table.path("bamf/admin.key"),
            fs::Permissions::from_mode(mode),
        )
        .unwrap();
        table.refused(&signing("bamf"), 4, "is open to others: mode 0");
    }
    let said = table.run(&signing("bamf"));
    assert!(
        said.err.contains("\nhint: chmod 600 bamf/admin.key"),
        "{}",
        said.err
    );
    fs::set_permissions(
        table.path("bamf/admin.key"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    table.good(&signing("bamf"));
}

#[test]
fn a_damaged_or_foreign_key_file_is_refused() {
    let table = Table::with(&FOUR);
    table.good(&table.assembling(&FOUR, "genesis.nachweis"));
    let path = table.path("bamf/admin.key");
    let good = fs::read_to_string(&path).unwrap();
    let other = fs::read_to_string(table.path("vg-leipzig/admin.key")).unwrap();
    let public = |text: &str| text.lines().nth(3).unwrap().to_owned();
    for (bad, problem) in [
        (good.replace("v1", "v2"), "first line"),
        (good.trim_end().to_owned(), "last line is cut off"),
        (
            good.replace(&public(&good), &public(&other)),
            "public key is not that of its seed",
        ),
        (
            good.clone() + "journal: 00000000000000000000000000000000\n",
            "more lines",
        ),
        (good.replace("admin", "king"), "purpose is unknown"),
        (good.replace("admin", "vote"), "is for vote, not for admin"),
        (good.replace("seed: ", "seed: zz"), "64 hex digits"),
    ] {
        fs::write(&path, bad).unwrap();
        table.refused(&signing("bamf"), 2, problem);
    }
    fs::write(&path, &other).unwrap();
    table.refused(&signing("bamf"), 2, "the key is of authority vg-leipzig");
}

#[test]
fn nobody_signs_what_differs_from_his_application() {
    let table = Table::with(&FOUR);
    table.good(&table.assembling(&FOUR, "genesis.nachweis"));
    let mut genesis = table.genesis();
    let network = table.key("bamf", Purpose::Network).key();
    let swapped = genesis.authorities[3].validator.as_mut().unwrap();
    swapped.network = KeyFile::generate(Purpose::Network, AuthorityId::new("x1").unwrap())
        .unwrap()
        .key();
    assert_ne!(swapped.network, network);
    fs::write(
        table.path("genesis.nachweis"),
        Container::new(genesis).encode(),
    )
    .unwrap();
    table.good(&signing("bamf"));
    table.refused(
        &signing("vg-leipzig"),
        1,
        "describes authority vg-leipzig differently",
    );
}

#[test]
fn signatures_of_another_genesis_are_refused() {
    let table = Table::founded();
    let other = Table::founded();
    fs::copy(other.path("genesis.nachweis"), table.path("other")).unwrap();
    let args = ["sign", "--genesis", "genesis.nachweis", "--add", "other"];
    table.refused(&args, 1, "the signatures are for chain");
    // Another chain's signature, put into the file by hand.
    let ours = Container::load(&table.path("genesis.nachweis")).unwrap();
    let theirs = Container::load(&table.path("other")).unwrap();
    let mut bytes = codec::encode(ours.genesis());
    bytes.extend(codec::encode(
        &theirs.signatures().iter().collect::<Vec<_>>(),
    ));
    fs::write(table.path("mixed"), bytes).unwrap();
    table.refused(
        &["check", "mixed"],
        1,
        "the signature of authority bamf is not good",
    );
}

#[test]
fn only_the_one_encoding_of_a_genesis_file_is_read() {
    let table = Table::founded();
    let good = fs::read(table.path("genesis.nachweis")).unwrap();
    let mut trailing = good.clone();
    trailing.push(0);
    let mut version = good.clone();
    version[0] = 2;
    for bad in [
        trailing,
        version,
        good[..good.len() - 1].to_vec(),
        Vec::new(),
    ] {
        fs::write(table.path("bad"), bad).unwrap();
        table.refused(&["check", "bad"], 2, "the bytes are no genesis file");
    }
    table.refused(&["check", "missing"], 3, "cannot be read");
    let mut flipped = good;
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    fs::write(table.path("bad"), flipped).unwrap();
    table.refused(
        &["check", "bad"],
        1,
        "the signature of authority vg-leipzig is not good",
    );
}

#[test]
fn nothing_is_overwritten() {
    let table = Table::founded();
    table.refused(
        &applying("bamf", "nachweis.test"),
        4,
        "bamf exists and is not empty",
    );
    let assemble = table.assembling(&FOUR, "genesis.nachweis");
    table.refused(&assemble, 4, "cannot be written");
    let mut sign = signing("bamf");
    sign.extend(["--out".to_owned(), "bamf/application.json".to_owned()]);
    table.refused(&sign, 4, "cannot be written");
    fs::write(table.path("file"), "mine").unwrap();
    let mut onto_file = applying("bamf", "nachweis.test");
    *onto_file.last_mut().unwrap() = "file".into();
    table.refused(&onto_file, 4, "file exists and is not empty");
}

#[test]
fn bad_words_on_the_command_line_create_nothing() {
    let table = Table::new();
    let with = |flag: &str, value: &str| {
        let mut args = applying("bamf", "nachweis.test");
        let at = args.iter().position(|arg| arg == flag).unwrap();
        args[at + 1] = value.into();
        args
    };
    table.refused(
        &with("--authority", "BAMF"),
        2,
        "authority id \"BAMF\" is not",
    );
    table.refused(
        &with("--domain", "nachweis test"),
        2,
        "domain \"nachweis test\" is not",
    );
    table.refused(
        &with("--name", "Amt\u{202e}tmA"),
        2,
        "characters that do not show",
    );
    table.refused(&with("--name", ""), 2, "is empty");
    table.refused(
        &with("--name", &"x".repeat(129)),
        2,
        "over the limit of 128",
    );
    table.refused(
        &with("--address", "127.0.0.1:7447"),
        2,
        "hint: give 1 to 8 addresses",
    );
    table.refused(&with("--out", "missing/folder"), 3, "cannot be created");
    let mut none = applying("bamf", "nachweis.test");
    none.push("--no-validator".into());
    table.refused(&none, 2, "has no validator, but an address");
    for nonsense in [
        vec!["found"],
        vec!["sign", "--genesis", "x"],
        vec!["assemble", "--out", "x"],
    ] {
        assert_eq!(table.run(&nonsense).code, 2);
    }
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let table = Table::new();
    let help = table.good(&["--help"]);
    for command in ["apply", "assemble", "sign", "check", "show"] {
        assert!(help.contains(&format!("\n  {command}")), "{help}");
        let own = table.good(&[command, "--help"]);
        assert!(
            own.contains(&format!("nachweis-genesis {command} ")),
            "{own}"
        );
        assert!(own.contains("Example"), "{own}");
    }
}

#[test]
fn trust_files_are_made_once_and_name_the_chain() {
    let table = Table::founded();
    fs::create_dir(table.path("trust")).unwrap();
    let made = table.good(&["trust", "genesis.nachweis", "--out", "trust"]);
    let checked = table.good(&["check", "genesis.nachweis"]);
    assert_eq!(fingerprint(&made), fingerprint(&checked));
    let trust = genesis::trust::load(&table.path("trust/trust.json")).unwrap();
    assert_eq!(trust.chain(), table.genesis().chain());
    assert_eq!(trust.pin(), None);
    let policy = fs::read_to_string(table.path("trust/trust.policy")).unwrap();
    assert!(policy.ends_with("\nquorum quorum-of-validators\n"));
    table.refused(
        &["trust", "genesis.nachweis", "--out", "trust"],
        4,
        "trust file cannot be written",
    );
    table.refused(
        &["trust", "genesis.nachweis", "--out", "nowhere"],
        3,
        "trust file cannot be written",
    );
}

#[test]
fn no_trust_comes_from_a_genesis_that_not_all_have_signed() {
    let table = Table::with(&FOUR);
    table.good(&table.assembling(&FOUR, "genesis.nachweis"));
    table.refused(
        &["trust", "genesis.nachweis", "--out", "."],
        1,
        "not signed by",
    );
}

//! `nachweis register`.

use crate::failure::Failure;
use crate::screen::{self, Plain, Screen, Unit};
use crate::session::{Global, Session};
use client::delivery::Event;
use client::desk::{self, Signatory};
use client::documents::{self, Found, Trouble};
use client::exit::Exit;
use client::registration::{
    Batch, Finished, Hashed, Refusal, Registrar, Sent, Step, Target, plan, set_aside,
};
use client::state::{FileEntry, State};
use ledger::document::DocumentId;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// Up to this many files are listed one by one unless -v asks for all.
const FEW: usize = 50;
/// How long a node may take to give receipts, in seconds.
const RECEIPTS_S: u64 = 30;

/// Register documents and put a receipt beside each
///
/// Every file of a folder is taken, but for hidden ones and receipts. A file that is registered already is
/// passed over; an interrupted run is continued by starting it again, and nothing is registered twice. A file
/// that changed since it was registered is an error: replace the old document with `supersede`, or register
/// the changed file as a document of its own with --changed.
///
/// Example: nachweis register akte/
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Documents of one submission
    #[arg(long, default_value_t = 1000, value_name = "RECORDS", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    batch: u16,
    /// Register files that changed since as documents of their own; their old receipts are kept beside them
    #[arg(long)]
    changed: bool,
    /// Give up when nothing becomes final for so long
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    wait: u64,
    /// List every file, however many there are
    #[arg(short, long)]
    verbose: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Everything about one run.
#[derive(Default)]
struct Run {
    already: Vec<(PathBuf, DocumentId)>,
    targets: Vec<Target>,
    batches: Vec<Batch>,
    failed: Vec<(PathBuf, String)>,
    new: usize,
    aside: HashMap<PathBuf, Option<DocumentId>>,
    refusal: Option<Refusal>,
}

pub(crate) async fn run(
    global: &Global,
    args: &Args,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let session = Session::open(global)?;
    let signatory = Signatory::registrar(&session.config, &session.trust)?;
    let api = desk::api(&session.config)?;
    let mut screen = Screen::new(Plain::Lines);
    let found = documents::find(&args.paths, session.config.state().ok());
    if found.files.is_empty()
        && found
            .failed
            .iter()
            .all(|f| matches!(f.trouble, Trouble::Empty))
    {
        let folders: Vec<_> = args.paths.iter().map(|p| p.display().to_string()).collect();
        return Err(Failure::Nothing(format!(
            "no documents in {}",
            folders.join(", ")
        )));
    }
    let owner = desk::owner(&session.config, &session.trust)?;
    let mut state = State::open(session.config.state()?, owner)?;
    let (hashed, failed) = hash(found, &mut screen);
    let mut run = Run {
        failed,
        ..Run::default()
    };
    let resumed = state.registrations().pending().count();
    if resumed > 0 {
        screen.line("continuing an interrupted registration");
    }
    let kept = prepare(&mut run, hashed, &session, &signatory, (&state, args))?;

    let mut registrar = Registrar {
        api: &api,
        trust: &session.trust,
        signatory: &signatory,
        state: &mut state,
        patience: Duration::from_secs(args.wait),
    };
    let count = run.new + kept;
    if count > 0 {
        let what = format!("registering {}", screen::documents(count));
        screen.begin(&what, count as u64, Unit::Documents);
    }
    let watch = |event: &Event| screen.event(event);
    let sent = registrar
        .send(std::mem::take(&mut run.batches), &watch)
        .await?;
    screen.end();
    refused(&sent, &mut run);
    set_old_receipts_aside(&mut run);
    if !run.targets.is_empty() {
        let count = run.targets.len();
        let what = format!("checking the receipts of {}", screen::documents(count));
        screen.begin(&what, count as u64, Unit::Documents);
    }
    let watch = |event: &Event| screen.event(event);
    let bounds = (
        Duration::from_secs(RECEIPTS_S).max(api.timeout()),
        &watch as _,
    );
    let finished = registrar.finish(&run.targets, bounds).await?;
    screen.end();
    report(args, run, finished, &screen, out).inspect(|_| summary(&sent, count, &screen))
}

/// Decides about every file; returns how many documents of earlier runs are still on their way.
fn prepare(
    run: &mut Run,
    hashed: Vec<Hashed>,
    session: &Session,
    signatory: &Signatory,
    (state, args): (&State, &Args),
) -> Result<usize, Failure> {
    let registrations = state.registrations();
    let steps = plan(&hashed, registrations, &session.trust, session.now);
    let mut batch = Batch::default();
    for (Hashed { file, digest }, step) in hashed.into_iter().zip(steps) {
        let path = file.path.clone();
        let aside = match step {
            Step::Done(id) => {
                run.already.push((path, id));
                continue;
            }
            Step::Fetch(entry) => {
                let digest = Some(digest);
                run.targets.push(Target {
                    path,
                    entry,
                    digest,
                });
                continue;
            }
            Step::New => None,
            Step::Changed(id) if args.changed => Some(Some(id)),
            Step::OtherReceipt(_) if args.changed => Some(None),
            Step::Changed(id) => {
                run.failed
                    .push((path, format!("changed since it was registered as {id}")));
                continue;
            }
            Step::OtherReceipt(finding) => {
                let why = format!("has a receipt beside it that is not good: {finding}");
                run.failed.push((path, why));
                continue;
            }
        };
        if let Some(id) = aside {
            run.aside.insert(path.clone(), id);
        }
        batch.add(&session.trust, signatory, &file.place, &digest)?;
        let entry = batch.files.last().cloned();
        let digest = Some(digest);
        run.targets.extend(entry.map(|entry| Target {
            path,
            entry,
            digest,
        }));
        run.new += 1;
        if batch.files.len() >= usize::from(args.batch) {
            run.batches.push(std::mem::take(&mut batch));
        }
    }
    if !batch.files.is_empty() {
        run.batches.push(batch);
    }
    Ok(adopt(run, state))
}

/// Files of earlier runs that are on their way and were not named this time.
fn adopt(run: &mut Run, state: &State) -> usize {
    let named: HashSet<_> = run.targets.iter().map(|t| t.entry.document).collect();
    let pending = state.registrations().pending();
    let kept: Vec<&FileEntry> = pending.flat_map(|pending| &pending.files).collect();
    for entry in &kept {
        if named.contains(&entry.document) {
            continue;
        }
        let path = PathBuf::from(OsStr::from_bytes(&entry.place));
        let digest = documents::hash(&path, &|_| {}).ok();
        let digest = digest.filter(|digest| *digest.as_bytes() == entry.digest);
        let entry = (*entry).clone();
        run.targets.push(Target {
            path,
            entry,
            digest,
        });
    }
    kept.len()
}

/// Documents that the ledger refuses get no receipt.
fn refused(sent: &Sent, run: &mut Run) {
    let mut why = HashMap::new();
    for refusal in &sent.refused {
        for document in &refusal.documents {
            why.insert(*document, refusal.message.clone());
        }
    }
    if why.is_empty() {
        return;
    }
    run.refusal = sent.refused.first().cloned();
    let targets = std::mem::take(&mut run.targets);
    for target in targets {
        match why.get(&target.entry.document) {
            Some(why) => run.failed.push((target.path, format!("refused: {why}"))),
            None => run.targets.push(target),
        }
    }
}

fn set_old_receipts_aside(run: &mut Run) {
    let targets = std::mem::take(&mut run.targets);
    for target in targets {
        let aside = run.aside.get(&target.path);
        match aside.map_or(Ok(()), |id| set_aside(&target.path, *id)) {
            Ok(()) => run.targets.push(target),
            Err(error) => {
                let why = format!("its old receipt cannot be kept: {error}");
                run.failed.push((target.path, why));
            }
        }
    }
}

fn report(
    args: &Args,
    mut run: Run,
    finished: Vec<Finished>,
    screen: &Screen,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let all = args.verbose || args.json || finished.len() + run.already.len() <= FEW;
    let mut line = |word: &str, path: &PathBuf, id: DocumentId| {
        let file = path.display();
        if args.json {
            let state = word.to_lowercase().replace(' ', "-");
            let line = serde_json::json!({
                "file": file.to_string(), "document": id.to_string(), "state": state,
            });
            return writeln!(out, "{line}");
        }
        writeln!(out, "{word:<18}  {id}  {file}")
    };
    let mut registered = 0;
    for one in finished {
        match one.outcome {
            Ok(_) => {
                registered += 1;
                if all {
                    line("REGISTERED", &one.path, one.document)?;
                }
            }
            Err(why) => run.failed.push((one.path, why)),
        }
    }
    if all {
        for (path, id) in &run.already {
            line("ALREADY REGISTERED", path, *id)?;
        }
    }
    out.flush()?;
    if !run.already.is_empty() {
        let count = screen::documents(run.already.len());
        screen.line(&format!("{count} already registered"));
    }
    if registered > 0 {
        let count = screen::documents(registered);
        screen.line(&format!("{count} registered, every receipt checked"));
    }
    list(&run.failed, screen);
    match run.refusal {
        // Nothing went well, and this is why.
        Some(Refusal { message, hint, .. }) if registered == 0 && run.already.is_empty() => {
            Err(Failure::Refused { message, hint })
        }
        _ if run.failed.is_empty() => Ok(Exit::Done),
        _ => Ok(Exit::Partly),
    }
}

fn summary(sent: &Sent, count: usize, screen: &Screen) {
    if let (Some(last), Some(provable)) = (sent.to_final, sent.to_provable) {
        let (last, provable) = (last.as_secs_f64(), provable.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = count as f64 / last.max(0.001);
        screen.line(&format!(
            "final after {last:.2} s, provable after {provable:.2} s, {rate:.0} documents/s"
        ));
    }
}

/// The files that could not be processed, on standard error.
fn list(failed: &[(PathBuf, String)], screen: &Screen) {
    if failed.is_empty() {
        return;
    }
    screen.line(&format!(
        "{} could not be processed:",
        screen::files(failed.len())
    ));
    for (path, why) in failed {
        screen.line(&format!("  {}  {why}", path.display()));
    }
}

/// Hashes what was found; what cannot be hashed is added to the failed ones.
fn hash(found: Found, screen: &mut Screen) -> (Vec<Hashed>, Vec<(PathBuf, String)>) {
    let total: u64 = found.files.iter().map(|file| file.size).sum();
    let count = screen::files(found.files.len());
    screen.begin(&format!("hashing {count}"), total, Unit::Bytes);
    let digests = documents::hash_all(&found.files, &|count| screen.advance(count));
    screen.end();
    let told = |path, trouble: Trouble| (path, trouble.to_string());
    let mut failed: Vec<_> = found
        .failed
        .into_iter()
        .map(|failed| told(failed.path, failed.trouble))
        .collect();
    let mut hashed = Vec::new();
    for (file, digest) in found.files.into_iter().zip(digests) {
        match digest {
            Ok(digest) => hashed.push(Hashed { file, digest }),
            Err(trouble) => failed.push(told(file.path, trouble)),
        }
    }
    (hashed, failed)
}

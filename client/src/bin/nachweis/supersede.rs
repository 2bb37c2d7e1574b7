//! `nachweis supersede`.

use crate::act;
use crate::failure::Failure;
use crate::screen::{Plain, Screen};
use crate::session::{Global, Named, Session};
use client::delivery::Event;
use client::desk::{self, Signatory};
use client::documents;
use client::exit::Exit;
use client::identity::IdentityError;
use client::registration::{Batch, Registrar, Target};
use client::state::State;
use ledger::document::DocumentId;
use ledger::receipt::Finding;
use ledger::record::Record;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// Replace a document by another one
///
/// Both are told by the receipts beside them, or by their ids. A new file that is not registered yet is
/// registered in the same step. Both receipts are refreshed.
///
/// Example: nachweis supersede bescheid.pdf bescheid-berichtigt.pdf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The document that ends: a file, or a document id
    #[arg(value_name = "OLD")]
    old: String,
    /// The document that takes its place: a file, or a document id
    #[arg(value_name = "NEW")]
    new: String,
    /// Give up when nothing becomes final for so long
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    wait: u64,
}

pub(crate) async fn run(
    global: &Global,
    args: &Args,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let session = Session::open(global)?;
    let signatory = Signatory::registrar(&session.config, &session.trust)?;
    let api = desk::api(&session.config)?;
    let registrations = session.registrations()?;
    let old = session.named(&args.old, registrations.as_ref())?;
    let new = match session.named(&args.new, registrations.as_ref()) {
        Err(Failure::Identity(IdentityError::Unknown(_))) => None,
        named => Some(named?),
    };
    let screen = Screen::new(Plain::Nothing);
    let (_, verdict) = act::fetch(&session, &api, &old).await?;
    if let (Finding::Superseded { by }, Some(new)) = (verdict.finding(), &new)
        && *by == new.document()
    {
        act::refresh(&session, &api, &old).await?;
        return done(out, &old, *by, args);
    }
    let prev = act::lane_head(&verdict, &signatory, old.document())?;
    let document = old.document();
    let supersede = |successor| Record::Supersede {
        document,
        prev,
        successor,
    };
    let wait = Duration::from_secs(args.wait);
    let successor = match new {
        Some(new) => {
            let successor = new.document();
            let records = vec![supersede(successor)];
            act::act(&session, &api, (&signatory, records), wait, &screen).await?;
            act::refresh(&session, &api, &new).await?;
            successor
        }
        None => {
            let mut state = State::open(
                session.config.state()?,
                desk::owner(&session.config, &session.trust)?,
            )?;
            let mut registrar = Registrar {
                api: &api,
                trust: &session.trust,
                signatory: &signatory,
                state: &mut state,
                patience: wait,
            };
            both(&mut registrar, Path::new(&args.new), &supersede, &screen).await?
        }
    };
    act::refresh(&session, &api, &old).await?;
    done(out, &old, successor, args)
}

/// Registers the new file and ends the old document in one submission.
async fn both(
    registrar: &mut Registrar<'_>,
    path: &Path,
    supersede: &dyn Fn(DocumentId) -> Record,
    screen: &Screen,
) -> Result<DocumentId, Failure> {
    let found = documents::find(&[path.to_path_buf()], None);
    let cannot = |trouble| IdentityError::File {
        path: path.into(),
        trouble,
    };
    if let Some(failed) = found.failed.into_iter().next() {
        return Err(cannot(failed.trouble).into());
    }
    let [file] = found.files.as_slice() else {
        return Err(Failure::Usage(format!(
            "{} is not one file",
            path.display()
        )));
    };
    let digest = documents::hash(&file.path, &|_| {}).map_err(cannot)?;
    let mut batch = Batch::default();
    let successor = batch.add(registrar.trust, registrar.signatory, &file.place, &digest)?;
    batch.records.push(supersede(successor));
    let entry = batch.files.first().cloned();
    let watch = |event: &Event| screen.event(event);
    let sent = registrar.send(vec![batch], &watch).await?;
    let refusal = sent.refused.into_iter();
    if let Some(refusal) = refusal
        .into_iter()
        .find(|r| r.documents.contains(&successor))
    {
        let (message, hint) = (refusal.message, refusal.hint);
        return Err(Failure::Refused { message, hint });
    }
    let target = entry.map(|entry| Target {
        path: file.path.clone(),
        entry,
        digest: Some(digest),
    });
    let targets: Vec<_> = target.into_iter().collect();
    let bounds = (registrar.api.timeout(), &watch as _);
    for finished in registrar.finish(&targets, bounds).await? {
        finished.outcome.map_err(|problem| Failure::NotProved {
            document: successor.to_string(),
            problem,
        })?;
    }
    Ok(successor)
}

fn done(
    out: &mut dyn Write,
    old: &Named,
    successor: DocumentId,
    args: &Args,
) -> Result<Exit, Failure> {
    let (id, old, new) = (old.document(), &args.old, &args.new);
    writeln!(out, "SUPERSEDED  {id}  {old}")?;
    writeln!(out, "        by  {successor}  {new}")?;
    Ok(Exit::Done)
}

//! `nachweis supersede`.

use crate::act;
use crate::failure::Failure;
use crate::screen::{Plain, Screen};
use crate::session::{Global, Named, Session};
use client::api::Api;
use client::delivery::Event;
use client::desk::{self, Signatory};
use client::documents::{self, DocumentFile};
use client::exit::Exit;
use client::identity::IdentityError;
use client::registration::{Batch, Registrar, Target};
use client::state::{Progress, State};
use ledger::document::{DocumentDigest, DocumentId};
use ledger::receipt::{Finding, Verdict};
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
    let wait = Duration::from_secs(args.wait);
    let (_, verdict) = act::fetch(&session, &api, &old).await?;
    let unsettled = match &new {
        None => true,
        Some(Named::File(file)) => {
            let known = registrations.as_ref();
            let known = known.and_then(|known| known.document(&file.document));
            matches!(known, Some((_, Progress::Pending)))
        }
        Some(Named::Id(_)) => false,
    };
    let desk = At {
        session: &session,
        api: &api,
        signatory: &signatory,
        screen: &screen,
        wait,
    };
    let successor = match new {
        Some(new) if !unsettled => new.document(),
        Some(_) | None => desk.register(&args.new, &old, &verdict).await?,
    };
    let (_, verdict) = act::fetch(&session, &api, &old).await?;
    if !matches!(verdict.finding(), Finding::Superseded { by } if *by == successor) {
        let supersede = desk.supersede(&old, &verdict, successor)?;
        act::act(&session, &api, (&signatory, vec![supersede]), wait, &screen).await?;
    }
    act::refresh(&session, &api, &old).await?;
    if Path::new(&args.new).exists() {
        let registrations = session.registrations()?;
        let new = session.named(&args.new, registrations.as_ref())?;
        act::refresh(&session, &api, &new).await?;
    }
    done(out, &old, successor, args)
}

/// Everything with which a new version is registered.
struct At<'a> {
    session: &'a Session,
    api: &'a Api,
    signatory: &'a Signatory,
    screen: &'a Screen,
    wait: Duration,
}

impl At<'_> {
    fn supersede(
        &self,
        old: &Named,
        verdict: &Verdict,
        successor: DocumentId,
    ) -> Result<Record, Failure> {
        let document = old.document();
        let prev = act::lane_head(verdict, self.signatory, document)?;
        Ok(Record::Supersede {
            document,
            prev,
            successor,
        })
    }

    /// Registers the new file, and ends the old document in the same submission. What an earlier run left of
    /// it is finished instead.
    async fn register(
        &self,
        new: &str,
        old: &Named,
        verdict: &Verdict,
    ) -> Result<DocumentId, Failure> {
        let session = self.session;
        let owner = desk::owner(&session.config, &session.trust)?;
        let mut state = State::open(session.config.state()?, owner)?;
        let (file, digest) = one_file(Path::new(new))?;
        let mut batches = Vec::new();
        let kept = state.registrations().at(&file.place);
        let kept = kept.filter(|(entry, _)| entry.digest == *digest.as_bytes());
        let entry = match kept {
            Some((entry, _)) => Some(entry.clone()),
            None => {
                self.check_old(old, verdict)?;
                let mut batch = Batch::default();
                let id = batch.add(&session.trust, self.signatory, &file.place, &digest)?;
                batch.records.push(self.supersede(old, verdict, id)?);
                let entry = batch.files.first().cloned();
                batches.push(batch);
                entry
            }
        };
        let Some(entry) = entry else {
            return Err(Failure::Usage(format!("{new} is not one file")));
        };
        let successor = entry.document;
        let mut registrar = Registrar {
            api: self.api,
            trust: &session.trust,
            signatory: self.signatory,
            state: &mut state,
            patience: self.wait,
        };
        let watch = |event: &Event| self.screen.event(event);
        let sent = registrar.send(batches, &watch).await?;
        let mut refusals = sent.refused.into_iter();
        if let Some(refusal) = refusals.find(|refusal| refusal.documents.contains(&successor)) {
            let (message, hint) = (refusal.message, refusal.hint);
            return Err(Failure::Refused { message, hint });
        }
        let target = Target {
            path: file.path,
            entry,
            digest: Some(digest),
        };
        let bounds = (self.api.timeout(), &watch as _);
        for finished in registrar.finish(&[target], bounds).await? {
            finished.outcome.map_err(|problem| Failure::NotProved {
                document: successor.to_string(),
                problem,
            })?;
        }
        Ok(successor)
    }

    /// Nothing is registered for a document that cannot be replaced.
    fn check_old(&self, old: &Named, verdict: &Verdict) -> Result<(), Failure> {
        let refused = |why: &str| Failure::Refused {
            message: format!("document {} {why}", old.document()),
            hint: None,
        };
        match verdict.facts().map(|facts| &facts.state) {
            Some(state) if state.is_ended() => Err(refused("has ended already")),
            Some(state) if state.responsible != self.signatory.authority => {
                Err(refused("is another authority's"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn one_file(path: &Path) -> Result<(DocumentFile, DocumentDigest), Failure> {
    let found = documents::find(&[path.to_path_buf()], None);
    let cannot = |trouble| IdentityError::File {
        path: path.into(),
        trouble,
    };
    if let Some(failed) = found.failed.into_iter().next() {
        return Err(cannot(failed.trouble).into());
    }
    let mut files = found.files.into_iter();
    let (Some(file), None) = (files.next(), files.next()) else {
        return Err(Failure::Usage(format!(
            "{} is not one file",
            path.display()
        )));
    };
    let digest = documents::hash(&file.path, &|_| {}).map_err(cannot)?;
    Ok((file, digest))
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

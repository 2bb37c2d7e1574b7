//! `nachweis audit`.

use crate::failure::Failure;
use crate::screen::{Plain, Screen, Unit};
use crate::session::Global;
use client::api::Api;
use client::audit::segments::Archive;
use client::audit::{self, Report};
use client::config::{Config, DEFAULT_TIMEOUT_S};
use client::exit::Exit;
use client::when::Utc;
use ledger::id::Height;
use ledger::replay::Recorded;
use serde_json::json;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Verify a whole ledger again, from the pinned genesis to its newest block
///
/// DIR is a node's directory, running or stopped, or a folder that `nachweis-node export-archive` made. Every frame,
/// certificate, signature, rule, log entry and root is checked; the first fault is named with its block, and ends
/// with exit code 1. A torn end of the last segment, as a crash leaves it, is said and is no fault. The current
/// state of all documents is kept in memory, the blocks are not.
///
/// Example: nachweis audit /var/lib/nachweis/bamf
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Node's directory, or folder of exported segments
    #[arg(value_name = "DIR", required_unless_present = "node")]
    dir: Option<PathBuf>,
    /// Audit what the node at this address serves instead
    #[arg(long, value_name = "URL", conflicts_with = "dir")]
    node: Option<String>,
    /// Trust file [default: the one of the configuration]
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(
    global: &Global,
    args: &Args,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let path = match &args.trust {
        Some(path) => path.clone(),
        None => Config::load(global.config.as_deref())?
            .trust()
            .to_path_buf(),
    };
    let trust = genesis::trust::load(&path)?;
    let begun = Instant::now();
    let mut screen = Screen::new(Plain::Nothing);
    let mut audited = String::new();
    let report = match (&args.node, &args.dir) {
        (Some(url), _) => {
            audited.clone_from(url);
            let api = Api::new(std::slice::from_ref(url), DEFAULT_TIMEOUT_S)?;
            // Before the head: of an honest node that goes at least as far.
            let served = audit::checkpoint(&trust, &api).await?;
            let head = api.status().await?.height;
            screen.begin("auditing", head, Unit::Blocks);
            let mut watch = |_bytes| screen.advance(1);
            let end = (Height(head), served.as_ref());
            audit::node(&trust, &api, end, &mut watch).await
        }
        (None, Some(dir)) => {
            let files = Archive::open(dir).map_err(audit::AuditError::from)?;
            audited = files.place().display().to_string();
            screen.begin("auditing", files.bytes(), Unit::Bytes);
            let mut watch = |bytes| screen.advance(bytes);
            audit::archive(&trust, &files, &mut watch)
        }
        (None, None) => return Err(Failure::Usage("name a directory or a node".into())),
    };
    screen.end();
    let report = report?;
    if args.json {
        let mut told = as_json(&report, begun.elapsed());
        told["audited"] = audited.into();
        writeln!(out, "{told}")?;
    } else {
        writeln!(out, "audited        {audited}")?;
        print(&report, begun.elapsed(), out)?;
    }
    Ok(match report.fault {
        Some(_) => Exit::No,
        None => Exit::Done,
    })
}

fn print(report: &Report, took: Duration, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "chain          {}", report.chain)?;
    writeln!(out, "blocks         {}", report.height)?;
    writeln!(out, "records        {}", report.records)?;
    writeln!(out, "registrations  {}", report.registrations)?;
    writeln!(out, "revoked        {}", report.revoked)?;
    writeln!(out, "superseded     {}", report.superseded)?;
    writeln!(out, "evidence       {}", report.evidence.len())?;
    for recorded in &report.evidence {
        writeln!(out, "               {}", accusation(recorded))?;
    }
    writeln!(out, "log entries    {}", report.log_size)?;
    writeln!(out, "log root       {}", report.log_root)?;
    writeln!(out, "status root    {}", report.status_root)?;
    if let Some(first) = report.first_ms {
        let newest = Utc(report.newest_ms);
        writeln!(out, "time           {} to {newest}", Utc(first))?;
    }
    let (seconds, rate) = (took.as_secs_f64(), rate(report.records, took));
    writeln!(
        out,
        "checked        {} bytes in {seconds:.1} s, {rate:.0} records/s",
        report.bytes
    )?;
    for (whose, size) in &report.compared {
        writeln!(out, "compared with  {whose}: {size} log entries")?;
    }
    if report.compared.is_empty() {
        writeln!(
            out,
            "compared with  no checkpoint: nothing says that the chain ends here"
        )?;
    }
    if let Some(torn) = report.torn {
        writeln!(
            out,
            "torn end       {} bytes of segment {} from byte {} on, behind block {}",
            torn.bytes, torn.segment, torn.offset, report.height
        )?;
    }
    if report.unfinished > 0 {
        let count = report.unfinished;
        writeln!(out, "not final      {count} newest, without a finalization")?;
    }
    match &report.fault {
        None => writeln!(
            out,
            "SOUND          from genesis to block {}",
            report.height
        ),
        Some(fault) => writeln!(out, "FAULT          {fault}"),
    }
}

/// Whom evidence accuses, and of what.
fn accusation(recorded: &Recorded) -> String {
    let (a, b) = recorded.evidence.votes();
    let Recorded {
        height, authority, ..
    } = recorded;
    format!(
        "block {height}: {authority} (validator #{}) signed {:?} and {:?} in view {} of epoch {}",
        a.signer, a.kind, b.kind, a.view, a.epoch
    )
}

fn as_json(report: &Report, took: Duration) -> serde_json::Value {
    let fault = report.fault.as_ref().map(|fault| {
        json!({
            "height": fault.height.0,
            "segment": fault.segment,
            "problem": fault.wrong.to_string(),
        })
    });
    let evidence = report.evidence.iter().map(|recorded| {
        let (a, b) = recorded.evidence.votes();
        json!({
            "height": recorded.height.0,
            "authority": recorded.authority.as_str(),
            "epoch": a.epoch.0,
            "view": a.view.0,
            "votes": [format!("{:?}", a.kind), format!("{:?}", b.kind)],
        })
    });
    let evidence: Vec<_> = evidence.collect();
    let compared = report.compared.iter();
    let compared: Vec<_> = compared
        .map(|(whose, size)| json!({ "whose": whose, "size": size }))
        .collect();
    let torn = report
        .torn
        .map(|torn| json!({ "segment": torn.segment, "offset": torn.offset, "bytes": torn.bytes }));
    json!({
        "sound": report.fault.is_none(),
        "fault": fault,
        "chain": report.chain.to_string(),
        "blocks": report.height.0,
        "records": report.records,
        "registrations": report.registrations,
        "revoked": report.revoked,
        "superseded": report.superseded,
        "evidence": evidence,
        "log_size": report.log_size,
        "log_root": report.log_root.to_string(),
        "status_root": report.status_root.to_string(),
        "first_time_ms": report.first_ms.map(|time| time.0),
        "newest_time_ms": report.newest_ms.0,
        "bytes": report.bytes,
        "compared": compared,
        "torn": torn,
        "not_final": report.unfinished,
        "seconds": took.as_secs_f64(),
        "records_per_s": rate(report.records, took),
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate for people; exact far beyond any ledger"
)]
fn rate(records: u64, took: Duration) -> f64 {
    records as f64 / took.as_secs_f64().max(1e-9)
}

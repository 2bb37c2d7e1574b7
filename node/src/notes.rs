//! Takes checkpoints from validators where a validator would make its own: for nodes without a cosigner's key.
//!
//! A validator sends the note that it serves itself: checkpoint, log line, a quorum's cosignatures. It is verified as a
//! whole, and shown only once this node has computed the very same root.

use crate::chain::Chain;
use crate::cosigner::{Decided, Input, KeptNote, Signers};
use crate::mesh::Mesh;
use crate::publisher::{self, Noted};
use consensus::Peer;
use ledger::id::TreeSize;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Own checkpoints that are remembered until a note for them comes.
const MAX_DECIDED: usize = 4_096;

/// See the module; lives on a thread of its own.
#[derive(Debug)]
pub struct NoteTaker {
    /// For counters and alarms.
    pub chain: Chain,
    /// To disconnect who sends notes that do not verify.
    pub mesh: Arc<dyn Mesh>,
    /// Where verified checkpoints go.
    pub publisher: mpsc::Sender<publisher::Input>,
    /// Names and keys of all cosigners.
    pub signers: Signers,
    /// Checkpoints that this node computed.
    decided: BTreeMap<TreeSize, Decided>,
    /// The newest note whose tree is not held here yet.
    early: Option<KeptNote>,
    /// Size and newest time of the note that is shown.
    shown: (TreeSize, u64),
}

impl NoteTaker {
    /// Nothing is known yet but the node's newest block.
    pub fn new(
        chain: Chain,
        mesh: Arc<dyn Mesh>,
        publisher: mpsc::Sender<publisher::Input>,
        signers: Signers,
        head: Option<Decided>,
    ) -> Self {
        Self {
            chain,
            mesh,
            publisher,
            signers,
            decided: head.into_iter().map(|head| (head.size, head)).collect(),
            early: None,
            shown: (TreeSize(0), 0),
        }
    }

    /// Works until nobody is left to tell it anything. Blocks its thread.
    pub fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        while let Some(input) = inputs.blocking_recv() {
            match input {
                Input::Decided(all) => all.into_iter().for_each(|one| self.decide(one)),
                Input::CaughtUp(decided, _) | Input::Sealing(decided) => self.decide(decided),
                Input::Note { from, text } => self.note(&from, &text),
                Input::Archiving(_)
                | Input::Received { .. }
                | Input::Asked { .. }
                | Input::Up(_) => {}
            }
        }
    }

    fn decide(&mut self, decided: Decided) {
        self.decided.insert(decided.size, decided);
        while self.decided.len() > MAX_DECIDED {
            self.decided.pop_first();
        }
        if let Some(early) = self.early.take() {
            self.offer(early);
        }
    }

    fn note(&mut self, from: &Peer, text: &str) {
        let Some(note) = self.signers.read_served_note(text) else {
            self.chain.counters().offences.increment();
            let why = "sent a checkpoint that no quorum cosigned";
            self.mesh.disconnect(from, why);
            return;
        };
        self.chain.counters().cosignatures.increment();
        self.offer(note);
    }

    fn offer(&mut self, note: KeptNote) {
        let size = note.checkpoint.size;
        let time = note.lines.values().map(|(time, _)| *time).max();
        let time = time.unwrap_or_default();
        if (size, time) <= self.shown {
            return;
        }
        let Some(decided) = self.decided.get(&size) else {
            let newest = self.decided.last_key_value().map(|(size, _)| *size);
            let waits = self.early.as_ref().map(|early| early.checkpoint.size);
            if newest < Some(size) && waits < Some(size) {
                self.early = Some(note);
            }
            return;
        };
        if decided.root != note.checkpoint.root {
            let text = format!("a quorum cosigned another root at size {size}");
            tracing::error!("{text}");
            self.chain.update_status(|status| status.alarm = Some(text));
            return;
        }
        self.shown = (size, time);
        let noted = Noted {
            height: decided.height,
            time_ms: decided.time_ms,
            size,
            root: decided.root,
            note: note.text,
        };
        self.decided = self.decided.split_off(&size);
        // Without a publisher the node has stopped.
        let input = publisher::Input::Provable(noted);
        self.publisher.blocking_send(input).ok();
    }
}

#[cfg(test)]
mod tests;

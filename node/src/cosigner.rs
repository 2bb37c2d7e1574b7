//! The cosigner: after a block is final and on this disk, it signs the checkpoint, and collects the others' signatures
//! to a quorum (formats.md, section 4; consensus.md, 3.23).
//!
//! Its rules: the guard remembers the largest size and its root before a signature leaves; never a smaller size; the
//! same size with another root ends the process; only roots that this node computed itself. A node that catches up
//! signs no history, only its head when it reaches it. When nothing happens it signs its head again, with a newer time.
//! Every received line is verified before it is kept. A vote is never a cosignature: other key, other bytes.

mod collection;
mod reentry;

pub use collection::{KeptNote, Signers};

use crate::archivist::Place;
use crate::chain::Chain;
use crate::clock;
use crate::exit;
use crate::gossip::{Cosig, Message};
use crate::library;
use crate::mesh::Mesh;
use crate::publisher;
use crate::states::Post;
use crate::storage::guard::{CosignerGuard, Found, NotPermitted};
use collection::{Collection, Received};
use consensus::Peer;
use ledger::cosignature;
use ledger::hash::Hash;
use ledger::header::Header;
use ledger::id::{Height, TimeMs, TreeSize, ValidatorIndex};
use ledger::key::{RawSignature, SigningKey};
use ledger::note;
use reentry::{OwnPast, Reentry};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Inputs that may wait.
pub const INPUTS: usize = 1_024;
/// Blocks of one commit that are all signed; of a longer one only the last is.
const MAX_SIGNED: usize = 4;

/// A final block's checkpoint, as this node computed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Height of the block.
    pub height: Height,
    /// Its time.
    pub time_ms: TimeMs,
    /// Leaves of the log.
    pub size: TreeSize,
    /// Root of the log.
    pub root: Hash,
}

impl Decided {
    /// The checkpoint after a block that is final and whose roots were checked.
    pub const fn after(header: &Header) -> Self {
        Self {
            height: header.height,
            time_ms: header.time_ms,
            size: header.log_size,
            root: header.log_root,
        }
    }

    /// The checkpoint of a block.
    pub fn of(post: &Post) -> Self {
        let tip = post.tip();
        Self {
            height: tip.height,
            time_ms: tip.time_ms,
            size: tip.log_size(),
            root: tip.log.root(),
        }
    }
}

/// What moves the cosigner.
#[derive(Debug)]
pub enum Input {
    /// This block is final and being archived: the guard may be synced meanwhile.
    Archiving(Decided),
    /// These blocks became final with the others.
    Decided(Vec<Decided>),
    /// The newest block of a step of catch-up, and whether it is the last step.
    CaughtUp(Decided, Place),
    /// A block that ends an epoch, met while catching up: it is signed all the same.
    Sealing(Decided),
    /// A peer sent a cosignature.
    Received {
        /// Who sent it; not always its signer.
        from: Peer,
        /// The cosignature.
        cosig: Cosig,
    },
    /// A peer asks for this node's.
    Asked {
        /// Who.
        from: Peer,
        /// Of which size; 0 = the newest.
        size: TreeSize,
    },
    /// A peer is connected.
    Up(Peer),
    /// A validator sent a checkpoint with its signatures; only observers take it.
    Note {
        /// Who sent it.
        from: Peer,
        /// The note, unverified.
        text: String,
    },
}

/// What a cosigner starts from.
#[derive(Debug)]
pub struct Setup {
    /// For counters.
    pub chain: Chain,
    /// To send cosignatures.
    pub mesh: Arc<dyn Mesh>,
    /// Where quorums are told.
    pub publisher: mpsc::Sender<publisher::Input>,
    /// Names and keys of all cosigners.
    pub signers: Signers,
    /// This node's place among them.
    pub me: ValidatorIndex,
    /// Signs cosignatures.
    pub key: SigningKey,
    /// Signs as the log.
    pub log_key: SigningKey,
    /// The guard; if it is lost, nothing is signed until the others have said how far they are.
    pub guard: Found,
    /// How often an idle node signs again.
    pub heartbeat: Duration,
    /// How often a missing quorum is asked for.
    pub retry: Duration,
    /// The newest final block, if there is one.
    pub head: Option<Decided>,
    /// The checkpoint at which the node starts, and its kept note.
    pub kept: Option<(Decided, KeptNote)>,
}

/// What is asked before anything is signed.
#[derive(Debug)]
enum Guarding {
    Kept(CosignerGuard),
    Lost(Reentry),
}

/// The cosigner; lives on a thread of its own.
#[derive(Debug)]
pub struct Cosigner {
    chain: Chain,
    mesh: Arc<dyn Mesh>,
    publisher: mpsc::Sender<publisher::Input>,
    me: ValidatorIndex,
    key: SigningKey,
    log_key: SigningKey,
    guard: Guarding,
    heartbeat: Duration,
    retry: Duration,
    collection: Collection,
    /// The newest own cosignature.
    own: Option<Cosig>,
    /// The newest checkpoint, signed or not.
    head: Option<Decided>,
    /// Whether the head came by catch-up and waits to be signed.
    unsigned: bool,
    signed_at: Instant,
    retried_at: Instant,
}

impl Cosigner {
    /// A cosigner that holds what the disk holds.
    pub fn new(setup: Setup) -> Self {
        let guard = match setup.guard {
            Found::Kept(guard) => Guarding::Kept(guard),
            Found::Lost(lost) => {
                let chain = &setup.chain;
                chain.update_status(|status| status.unguarded = Some(reentry::WHY.to_owned()));
                Guarding::Lost(Reentry::new(lost, setup.signers.quorum()))
            }
        };
        let mut collection = Collection::new(setup.signers);
        if let Some((decided, note)) = setup.kept {
            collection.decide(decided);
            collection.resume(note);
        }
        Self {
            chain: setup.chain,
            mesh: setup.mesh,
            publisher: setup.publisher,
            me: setup.me,
            key: setup.key,
            log_key: setup.log_key,
            guard,
            heartbeat: setup.heartbeat,
            retry: setup.retry,
            collection,
            own: None,
            unsigned: setup.head.is_some(),
            head: setup.head,
            signed_at: Instant::now(),
            retried_at: Instant::now(),
        }
    }

    /// Works until nobody is left to tell it anything. Blocks its thread.
    pub fn run(mut self, runtime: &tokio::runtime::Handle, mut inputs: mpsc::Receiver<Input>) {
        self.sign_head();
        loop {
            let wake = self.wake();
            let next = runtime.block_on(async {
                tokio::select! {
                    biased;
                    next = inputs.recv() => next.map(Some),
                    () = tokio::time::sleep_until(wake.into()) => Some(None),
                }
            });
            match next {
                Some(Some(input)) => self.take(input),
                Some(None) => self.time_passed(),
                None => return,
            }
            if self.unsigned && inputs.is_empty() {
                self.sign_head();
            }
        }
    }

    fn wake(&self) -> Instant {
        let beat = self.signed_at + self.heartbeat;
        if self.lacks_quorum() || self.is_unguarded() {
            beat.min(self.retried_at + self.retry)
        } else {
            beat
        }
    }

    const fn is_unguarded(&self) -> bool {
        matches!(self.guard, Guarding::Lost(_))
    }

    fn lacks_quorum(&self) -> bool {
        self.head
            .is_some_and(|head| head.size > TreeSize(0) && !self.collection.is_provable(head.size))
    }

    fn time_passed(&mut self) {
        if self.signed_at.elapsed() >= self.heartbeat {
            // Also if nothing may be signed: or the timer would ring for ever.
            self.signed_at = Instant::now();
            self.sign_head();
        }
        if (self.lacks_quorum() || self.is_unguarded()) && self.retried_at.elapsed() >= self.retry {
            self.retried_at = Instant::now();
            self.ask_again();
        }
    }

    /// Sends the own cosignature of the head again, and asks for the others'.
    fn ask_again(&mut self) {
        self.say_who_is_missing();
        if self.is_unguarded() {
            // What is known of the key's past changes without a word to this thread.
            self.unsigned |= self.head.is_some();
            let newest = Message::CosigReq(TreeSize(0));
            self.mesh.broadcast(newest.encode().into());
        }
        if let Some(own) = self.own {
            self.mesh.broadcast(Message::Cosig(own).encode().into());
        }
        if let Some(head) = self.head {
            let ask = Message::CosigReq(head.size);
            self.mesh.broadcast(ask.encode().into());
        }
    }

    /// Names those without whom nothing becomes provable; nobody once a quorum has signed.
    fn say_who_is_missing(&self) {
        let set = self.chain.founding().set();
        let lacking = self.head.filter(|_| self.lacks_quorum());
        let missing = |head: Decided| {
            let signed = self.collection.signed(head.size);
            let silent = set.indices().filter(|index| !signed.contains(index));
            let silent = silent.filter_map(|index| Some(set.get(index)?.id.clone()));
            silent.collect::<Vec<_>>()
        };
        let missing = lacking.map(missing).unwrap_or_default();
        if self.chain.status().missing_cosigners != missing {
            if !missing.is_empty() {
                let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
                tracing::info!(missing = %missing.join(", "), "no quorum has cosigned the newest block yet");
            }
            self.chain
                .update_status(|status| status.missing_cosigners = missing);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Archiving(next) => {
                // Not signed before it is archived; if the node stops between, the same block comes again.
                self.permit(&next);
            }
            Input::Decided(all) => {
                let skip = if all.len() > MAX_SIGNED {
                    all.len().saturating_sub(1)
                } else {
                    0
                };
                for decided in all.into_iter().skip(skip) {
                    self.head = Some(decided);
                    self.sign_head();
                }
            }
            Input::Sealing(decided) => {
                self.head = Some(decided);
                self.sign_head();
            }
            Input::CaughtUp(decided, place) => {
                // History is not signed, only the head once it is reached.
                self.head = Some(decided);
                self.unsigned = place == Place::Head;
            }
            Input::Received { from, cosig } => self.receive(&from, &cosig),
            Input::Asked { from, size } => {
                if let Some(own) = self.own
                    && (size == TreeSize(0) || size == own.size)
                {
                    self.mesh.send(&from, Message::Cosig(own).encode().into());
                }
            }
            Input::Up(peer) => {
                if self.is_unguarded() {
                    let newest = Message::CosigReq(TreeSize(0));
                    self.mesh.send(&peer, newest.encode().into());
                }
                if let Some(own) = self.own {
                    self.mesh.send(&peer, Message::Cosig(own).encode().into());
                }
                if let Some(head) = self.head.filter(|_| self.lacks_quorum()) {
                    let ask = Message::CosigReq(head.size);
                    self.mesh.send(&peer, ask.encode().into());
                }
            }
            Input::Note { .. } => {}
        }
    }

    /// Signs the newest checkpoint, with the time of now.
    fn sign_head(&mut self) {
        self.unsigned = false;
        let Some(head) = self.head.filter(|head| head.size > TreeSize(0)) else {
            return;
        };
        self.collection.decide(head);
        if !self.permit(&head) {
            return;
        }
        let signers = self.collection.signers();
        let (Some(key), Some(log)) = (signers.get(self.me), signers.log(self.me)) else {
            return;
        };
        let text = signers.text(head.size, head.root);
        let time_s = clock::wall().0 / 1_000;
        let line = cosignature::cosign(key, &self.key, time_s, &text);
        let log_line = note::sign_log(log, &self.log_key, &text);
        let signature = line.blob.last_chunk::<64>().copied();
        let own = Cosig {
            size: head.size,
            root: head.root,
            time_s,
            signer: self.me,
            signature: RawSignature(signature.unwrap_or([0; 64])),
        };
        self.own = Some(own);
        self.signed_at = Instant::now();
        self.retried_at = Instant::now();
        self.mesh.broadcast(Message::Cosig(own).encode().into());
        let by = (self.me, time_s);
        self.collection.sign(head.size, by, line, log_line);
        self.tell();
    }

    fn permit(&mut self, head: &Decided) -> bool {
        if let Guarding::Lost(reentry) = &self.guard {
            let newest = self.chain.head().header.clone();
            let newest = newest.filter(|header| header.log_size == head.size);
            let past = OwnPast::of(&self.chain.status());
            match reentry.guard_for(head, past.is_below(newest.as_ref())) {
                Ok(Some(guard)) => {
                    self.guard = Guarding::Kept(guard);
                    self.chain.update_status(|status| status.unguarded = None);
                }
                Ok(None) => return false,
                Err(error) => exit::abort(&error),
            }
        }
        let Guarding::Kept(guard) = &mut self.guard else {
            return false;
        };
        match guard.permit(head.size, head.root) {
            Ok(()) => true,
            Err(NotPermitted::Smaller(refusal)) => {
                tracing::info!(%refusal, "not cosigned");
                false
            }
            Err(NotPermitted::Fatal(fatal)) => exit::abort(&fatal),
        }
    }

    fn receive(&mut self, from: &Peer, cosig: &Cosig) {
        if cosig.signer == self.me {
            return;
        }
        if self.is_unguarded() {
            self.hear(from, cosig);
        }
        match self.collection.receive(cosig) {
            Received::Known => {}
            Received::Early => self.chain.counters().cosignatures.increment(),
            Received::Added => {
                self.chain.counters().cosignatures.increment();
                if let Some(noted) = self.collection.note(cosig.size) {
                    self.publish(noted);
                }
            }
            Received::Bad => {
                self.chain.counters().offences.increment();
                let why = "sent a cosignature that does not verify";
                self.mesh.disconnect(from, why);
            }
            Received::OtherRoot => {
                let (signer, size) = (cosig.signer, cosig.size);
                let text = format!("validator #{signer} cosigned another root at size {size}");
                tracing::error!("{text}");
                self.chain.update_status(|status| status.alarm = Some(text));
            }
        }
    }

    /// What a signer says itself, over its own connection, is its newest.
    fn hear(&mut self, from: &Peer, cosig: &Cosig) {
        let set = self.chain.founding().set();
        let itself = set.position(|member| member.network == from.0) == Some(cosig.signer);
        if let Guarding::Lost(reentry) = &mut self.guard
            && itself
            && self.collection.signers().verify(cosig).is_some()
        {
            reentry.hear(cosig.signer, cosig.size);
            self.unsigned |= self.head.is_some();
        }
    }

    fn tell(&mut self) {
        if let Some(noted) = self.collection.newest_quorum() {
            self.publish(noted);
        }
    }

    fn publish(&self, noted: publisher::Noted) {
        self.say_who_is_missing();
        if let Some(note) = library::note(&noted.note) {
            self.mesh.inform(note);
        }
        // Without a publisher the node has stopped.
        let input = publisher::Input::Provable(noted);
        self.publisher.blocking_send(input).ok();
    }
}

#[cfg(test)]
mod tests;

//! The small BFT module of Nachweis: Simplex with self-contained proposals, re-proposal instead of empty blocks,
//! and timers that run only while there is work. `docs/protocol.md` says what it promises and why it holds.
//!
//! It is a state machine without input or output: events go in, outputs come out, and the same events give the same
//! outputs on every machine. It has no clock, no randomness, no thread, no socket and no file; it knows no document,
//! no peer address and no configuration file. Bodies of blocks are opaque bytes whose validity is the caller's.
//!
//! # The contract
//!
//! One task (the *driver*) owns the [`Engine`]. It makes one by [`Engine::recover`] from everything that the journal
//! holds, before it reads from the network, and gives it [`Event::Start`] first. Then, for ever:
//!
//! 1. **Give it one event**: [`Engine::handle`] with the time on both clocks.
//! 2. **Drain it**: call [`Engine::poll_output`] until `None` and carry the outputs out *in order*. Most are done at
//!    once. The records of a [`Output::Persist`] are appended to a buffer.
//! 3. **Sync**: if the buffer is not empty and no sync is under way, write it to the journal as one batch, fdatasync
//!    once, and give the engine [`Event::Persisted`] with the newest `seq` of the buffer. Events may be handled while
//!    the sync is under way; what they persist goes into the next batch. If a write or sync fails, end the process.
//!
//! The driver never holds anything back: an output that depends on a record is not in the queue before that record's
//! `seq` was reported. The engine never calls back, and a handled event changes nothing but the engine.
//!
//! | kind of call | which | what it does |
//! | --- | --- | --- |
//! | make | [`Engine::recover`] | rebuilds the state from the journal; no output yet |
//! | mutate | [`Engine::handle`], [`Engine::admit`] | the only calls that change the state; drain after either |
//! | drain | [`Engine::poll_output`] | hands out what is to be done |
//! | look | [`Engine::status`], [`Engine::snapshot`], … | change nothing |
//!
//! **Messages** pass three doors. [`Message::decode`] takes bytes, checks form and bounds. [`Engine::admit`] drops
//! what is stale, unasked or too much, before any cryptography. [`Admitted::verify`] checks the signatures; it needs
//! no engine, so run it on workers. Only its result, a [`VerifiedMessage`], fits into [`Event::Message`]. An
//! [`Offence`] from the third door, or undecodable bytes at the first, mean: disconnect and report.
//!
//! **Work.** After [`Output::Head`], and whenever the pool changes, the driver answers [`Event::WorkChanged`] with
//! the newest head and the number of items that a block on that head would include: the same predicate that it uses
//! to build. Items that are already in an unfinalized ancestor of the head do not count. When it is this node's turn
//! there comes [`Output::Build`]; the answer is [`Event::ProposalReady`] or [`Event::BuildEmpty`], any time later.
//!
//! **Blocks.** [`Output::Validate`] names a block whose parent was committed or answered `Valid`; the driver keeps
//! the post-state of every valid block until [`Output::Commit`] passes its height or [`Output::Forget`] names it, and
//! answers [`Event::BlockValidated`]. After a restart, blocks above the archive's tip are asked for again.
//! [`Output::Commit`] comes once per block in one process, in height order, starting after the archive's tip; blocks
//! committed before a crash but not archived come again.
//!
//! **Time.** The driver keeps one timer: [`Output::SetTimer`] replaces it, [`Event::Tick`] reports it. A late or
//! superfluous tick is harmless.
//!
//! **Epochs.** One engine lives through all of them. After the [`Output::Commit`] of a SEAL block comes
//! [`Output::Sealed`]: nothing is voted in that epoch any more. The driver answers [`Event::EpochOpened`] as soon as it
//! knows the next set, from that block's post-state; the engine goes on from view 1 of the next epoch, as a member or as
//! an observer. A peer keeps its connection; the driver reports connections of nodes that are no members, too.
//! After a restart, [`Setup::epoch`] is the epoch of the archive's tip, and [`Setup::previous`] how the one before ended.
//!
//! **A lost journal.** With [`JournalState::Lost`] the engine begins in quarantine and asks the others, until it knows from
//! which view on its key is free; [`EngineStatus::standing`] tells how far it is. From the first record on, what is
//! found is that journal: [`JournalState::Intact`].
//!
//! **Pruning.** [`Engine::snapshot`], when nothing is under way and all commits are archived, returns the records
//! that are still needed: write them to a new segment, sync, and delete the older segments.
//!
//! **Compact proposals.** A large body, or any body among many validators, is proposed by the ids of its items. For such a
//! proposal comes [`Output::Gather`]; the answer is [`Event::Gathered`] with what the pool holds, any time later. What is
//! missing the engine asks of the proposer, once. How items make up a body the caller says in [`Setup::layout`].
//!
//! The restart procedure is the caller's; the engine honours what its journal says of it.
//!
//! # Map
//!
//! - what goes in and out: [`Event`], [`Output`], [`message`], [`verify`], [`journal`]
//! - what is given: [`config`], [`epoch`], [`block`], [`items`], [`time`]
//! - the machine: [`Engine`]; inside it, one file per idea
//! - the guard: the one object that signs
#![no_std]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

extern crate alloc;

pub mod block;
pub mod config;
pub mod engine;
pub mod epoch;
mod event;
pub mod items;
pub mod journal;
pub mod message;
mod outbox;
pub mod output;
pub mod time;
pub mod verify;

pub use block::{Block, Body, Tip};
pub use config::{Compaction, Config, Rules, Timing};
pub use engine::{Archived, Engine, EngineStatus, Held, Identity, RecoverError, Setup, Standing};
pub use epoch::{EpochInfo, EpochSpec, Peer, Sealed};
pub use event::{Event, Verdict};
pub use items::{Item, Layout};
pub use journal::{JournalState, Record};
pub use message::Message;
pub use outbox::Seq;
pub use output::{Alarm, BuildRequest, Commit, Output, ServeRequest};
pub use time::{Mono, Now};
pub use verify::{
    Admitted, Dropped, Ed25519, Offence, Signer, VerifiedMessage, VerifiedSync, Verifier,
};

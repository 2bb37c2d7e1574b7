//! The driver's part of the contract: carries out what an engine wants, in order.

use super::World;
use super::happen::{Frame, Happening, Inside};
use crate::byzantine::{Frames, Outgoing, twins};
use crate::crypto::fold;
use crate::items::Item;
use crate::node::{Process, spec};
use crate::oracle::Watch;
use crate::plan::{Double, Fault};
use crate::trace;
use crate::violation::{Checked, Failure, Invariant, broken, check};
use consensus::message::{SyncReq, SyncResp};
use consensus::{Event, Message, Mono, Output, Peer, Seq, ServeRequest, Tip};
use ledger::evidence::Evidence;
use ledger::id::View;
use ledger::vote::Vote;
use std::sync::Arc;

/// No run lasts this long, in ms.
const FOREVER: u64 = 1 << 40;
/// Evidence that is not on the chain yet is pushed again after so long, in ms.
const PUSH: u64 = 1_000;

impl World {
    /// Carries out all outputs of one event, then starts what can be started.
    pub(super) fn carry(&mut self, node: usize, outputs: Vec<Output>) -> Checked {
        for output in outputs {
            self.trace.outcome(code(&output), || trace::output(&output));
            self.carry_one(node, output)?;
        }
        let process = self.nodes[node].process.as_mut();
        if process.is_some_and(Process::begin_sync) {
            self.plan_sync(node, Inside::Synced);
        }
        self.begin_archive(node);
        self.watch(node)
    }

    fn carry_one(&mut self, node: usize, output: Output) -> Checked {
        match output {
            Output::Persist { seq, records } => self.persist(node, seq, &records),
            Output::Broadcast(message) => self.send(node, None, &message),
            Output::Send { to, message } => self.send(node, Some(to), &message),
            Output::SetTimer { at } => {
                self.set_timer(node, at);
                Ok(())
            }
            Output::Serve { to, request } => self.serve(node, &to, &request),
            Output::Evidence { a, b } => self.accuse(node, a, b),
            Output::Alarm(alarm) => self.oracle.alarm(node, alarm),
            Output::Ban { peer, offence } => {
                let peers: Vec<_> = self.roster.nodes_of(&peer).collect();
                peers
                    .into_iter()
                    .try_for_each(|peer| self.ban(node, peer, &offence.to_string()))
            }
            Output::Sealed(tip) => self.sealed(node, &tip),
            Output::Park(_)
            | Output::Head(_)
            | Output::Build(_)
            | Output::Validate { .. }
            | Output::Gather { .. }
            | Output::Commit(_)
            | Output::Forget(_) => self.apply(node, output),
        }
    }

    /// An epoch is over here; the application's state says who makes up the next one.
    fn sealed(&mut self, node: usize, tip: &Tip) -> Checked {
        let Some(process) = &mut self.nodes[node].process else {
            return Ok(());
        };
        let epoch = process.application.epoch();
        check(epoch.anchor() == tip, Invariant::Epochs, || {
            format!("#{node} seals {tip:?}, but stands on {:?}", epoch.anchor())
        })?;
        let opened = Event::EpochOpened(Box::new(spec(epoch)));
        self.answer(node, opened);
        if self.now < self.plan.gst && self.chance.chance(self.plan.dies_at_switch) {
            let at = self.now + self.chance.below(120);
            let down = self.chance.between(1, 2_000);
            let dies = Happening::Fault(Fault::Crash { node, down });
            self.queue.plan(at, dies);
        }
        Ok(())
    }

    /// Outputs for the application.
    fn apply(&mut self, node: usize, output: Output) -> Checked {
        let wall = self.nodes[node].now(self.now).wall;
        let Some(process) = &mut self.nodes[node].process else {
            return Ok(());
        };
        match output {
            Output::Head(head) => {
                process.head = head;
                self.ask_work(node);
            }
            Output::Build(request) => {
                let view = request.view;
                process.asked = wall;
                let event = match process.application.build(&request)? {
                    Some(block) => Event::ProposalReady { view, block },
                    None => Event::BuildEmpty { view },
                };
                self.answer(node, event);
            }
            Output::Validate { hash, block } => {
                check(
                    hash == block.hash(),
                    Invariant::Contract,
                    || "Validate names another block than it carries",
                )?;
                let verdict = process.application.validate(&block)?;
                let block = hash;
                self.answer(node, Event::BlockValidated { block, verdict });
            }
            Output::Gather { block, ids, .. } => {
                let items = process.application.gather(&ids);
                self.answer(node, Event::Gathered { block, items });
            }
            Output::Commit(commit) => {
                self.oracle.commits(node, &self.roster, &commit)?;
                process.commit(commit)?;
                let epoch = process.application.epoch();
                if self.oracle.is_honest(node) && epoch.epoch() > self.roster.newest().epoch() {
                    let spec = spec(epoch);
                    self.roster.open(spec);
                }
                if self.oracle.is_honest(node) {
                    let (epoch, view, _) = self.furthest();
                    self.worked_in = (epoch, view);
                }
            }
            Output::Forget(hash) => process.application.forget(&hash),
            Output::Persist { .. }
            | Output::Broadcast(_)
            | Output::Send { .. }
            | Output::SetTimer { .. }
            | Output::Serve { .. }
            | Output::Evidence { .. }
            | Output::Alarm(_)
            | Output::Ban { .. }
            | Output::Park(_)
            | Output::Sealed(_) => {}
        }
        Ok(())
    }

    fn set_timer(&mut self, node: usize, at: Mono) {
        // Timers ring late, never early.
        let late = self.chance.below(4);
        let clock = self.nodes[node].clock;
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        process.timer += 1;
        let timer = Inside::Timer(process.timer);
        let after = clock.when(process.started, at).saturating_sub(self.now);
        self.plan_inside(node, after.saturating_add(late).min(FOREVER), timer);
    }

    fn plan_sync(&mut self, node: usize, what: Inside) {
        let after = self.chance.below(self.plan.slowness_of(node).sync + 1);
        self.plan_inside(node, after, what);
    }

    fn persist(&mut self, node: usize, seq: Seq, records: &[consensus::Record]) -> Checked {
        let wall = self.nodes[node].now(self.now).wall;
        let Some(process) = &mut self.nodes[node].process else {
            return Ok(());
        };
        let watch = Watch {
            wall,
            asked: process.asked,
            before: process.last_status,
        };
        self.oracle.writes(node, &self.roster, &watch, records)?;
        process.persist(seq, records)
    }

    /// The application takes its time.
    fn answer(&mut self, node: usize, event: Event) {
        let after = self.chance.below(self.plan.slowness_of(node).answer + 1);
        self.plan_inside(node, after, Inside::Answer(Box::new(event)));
    }

    /// `WorkChanged` follows soon; one stands for several changes.
    pub(crate) fn ask_work(&mut self, node: usize) {
        let process = self.nodes[node].process.as_mut();
        if let Some(process) = process.filter(|process| !process.work_asked) {
            process.work_asked = true;
            let after = self.chance.below(3);
            self.plan_inside(node, after, Inside::Work);
        }
    }

    pub(super) fn work(&mut self, node: usize) -> Checked {
        let Some(process) = &mut self.nodes[node].process else {
            return Ok(());
        };
        process.work_asked = false;
        let head = process.head;
        match process.application.includable(&head.hash) {
            Some(includable) => {
                let head = head.hash;
                self.feed(node, 6, Event::WorkChanged { head, includable })
            }
            // A commit overtook this head; the engine names another.
            None if head.height <= process.application.tip().height => Ok(()),
            None => broken(
                Invariant::Contract,
                format!("#{node} heads for {head:?}, whose state is unknown"),
            ),
        }
    }

    pub(super) fn begin_archive(&mut self, node: usize) {
        let process = self.nodes[node].process.as_mut();
        if process.is_some_and(Process::begin_archive) {
            self.plan_sync(node, Inside::Archived);
        }
    }

    pub(super) fn prune(&mut self, node: usize) -> Checked {
        let every = self.plan.slowness.prune;
        let again = self.chance.between(every / 2, every);
        self.plan_inside(node, again, Inside::Prune);
        let process = self.nodes[node].process.as_mut();
        if process.is_some_and(Process::begin_prune) {
            self.plan_sync(node, Inside::Synced);
            return self.watch_prune(node);
        }
        Ok(())
    }

    fn watch_prune(&mut self, node: usize) -> Checked {
        let Some(process) = &self.nodes[node].process else {
            return Ok(());
        };
        let status = process.engine.status();
        self.oracle.prunes(node, &status, process.pruning())
    }

    /// Replaces an idle node's journal by the records that are still needed; how many those are.
    pub(crate) fn prune_at_rest(&mut self, node: usize) -> Result<Option<usize>, Failure> {
        let process = self.nodes[node].process.as_mut();
        if !process.is_some_and(Process::begin_prune) {
            return Ok(None);
        }
        self.watch_prune(node)
            .map_err(|violation| self.failure(violation))?;
        self.nodes[node].synced();
        Ok(Some(self.nodes[node].disk.journal().len()))
    }

    fn serve(&mut self, node: usize, to: &Peer, request: &ServeRequest) -> Checked {
        let archive = &self.nodes[node].disk.archive;
        let from = |height: u64| usize::try_from(height.max(1) - 1).unwrap_or(usize::MAX);
        let message = match request {
            ServeRequest::Block(block) => archive
                .get(from(block.height.0))
                .filter(|(held, _)| held.block_ref() == *block)
                .map(|(held, _)| Message::Block(held.clone())),
            ServeRequest::Sync(request @ SyncReq { from: first, .. }) => {
                let frames = archive.iter().skip(from(first.0)).cloned();
                SyncResp::collect(request, frames).map(Message::SyncResp)
            }
        };
        match message {
            Some(message) => self.send(node, Some(*to), &message),
            None => Ok(()),
        }
    }

    /// The nodes that a message goes to: those behind one peer, or all others.
    fn targets(&self, node: usize, to: Option<Peer>) -> Vec<usize> {
        let owner = self.roster.owner(node);
        let others = (0..self.roster.nodes()).filter(|to| self.roster.owner(*to) != owner);
        match to {
            Some(peer) => others.filter(|to| self.roster.peers[*to] == peer).collect(),
            None => others.collect(),
        }
    }

    /// Evidence goes into the pools of all, as a submission does.
    fn accuse(&mut self, node: usize, a: Vote, b: Vote) -> Checked {
        self.oracle.evidence(node, &self.roster, &a, &b)?;
        let process = self.nodes[node].process.as_mut();
        if let (Some(process), Some(evidence)) = (process, Evidence::new(a, b))
            && process.application.offer(&Item::Evidence(evidence))
        {
            self.ask_work(node);
            self.push_evidence(node);
        }
        Ok(())
    }

    /// Whoever showed it to this node may be gone: if it still waits after a while, this node pushes it on.
    pub(super) fn push_evidence_later(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        if self.now >= process.push_again {
            process.push_again = self.now + PUSH;
            self.plan_inside(node, PUSH, Inside::Push);
        }
    }

    /// Evidence that waits at a node is pushed to all others, and again while it waits.
    pub(super) fn push_evidence(&mut self, node: usize) {
        let Some(process) = &mut self.nodes[node].process else {
            return;
        };
        let waiting: Vec<_> = process.application.waiting_evidence().copied().collect();
        if waiting.is_empty() || self.now < process.push_again {
            return;
        }
        process.push_again = self.now + PUSH;
        self.plan_inside(node, PUSH, Inside::Push);
        let incarnation = self.nodes[node].incarnations;
        for to in self.targets(node, None) {
            if self.network.connection(node, incarnation, to).is_none() {
                continue;
            }
            for evidence in &waiting {
                if let Some(at) = self.network.route(self.now, node, to)[0] {
                    let item = Item::Evidence(*evidence);
                    self.queue.plan(at, Happening::Gossip { node: to, item });
                }
            }
        }
    }

    /// An engine's message to one peer, or to all.
    fn send(&mut self, node: usize, to: Option<Peer>, message: &Message) -> Checked {
        self.oracle.sent(node, &self.roster, message)?;
        let targets = self.targets(node, to);
        if matches!(message, Message::Status(_)) {
            self.figures.heartbeats += targets.len() as u64;
        }
        if self.shells[node].is_some() {
            let frames = self.with_shell(node, |shell, scene| {
                shell.outgoing(scene, targets.into_iter(), message)
            });
            self.send_frames(node, frames);
            return Ok(());
        }
        let bytes: Arc<[u8]> = message.encode().into();
        let hash = fold(0, &bytes);
        for to in targets {
            let mut script = self.script.as_mut();
            if script
                .as_mut()
                .is_some_and(|s| !s.passes(node, to, message))
            {
                continue;
            }
            self.transmit(node, to, &bytes, hash);
        }
        Ok(())
    }

    pub(super) fn send_frames(&mut self, node: usize, frames: Frames) {
        for Outgoing { to, after, bytes } in frames {
            let bytes: Arc<[u8]> = bytes.into();
            if after > 0 {
                let from = node;
                self.queue
                    .plan(self.now + after, Happening::Late { from, to, bytes });
            } else {
                self.transmit(node, to, &bytes, fold(0, &bytes));
            }
        }
    }

    /// Whether a node and another hear each other, as far as the first is a twin.
    fn twins_hear(&self, node: usize, other: usize) -> bool {
        let owner = self.roster.owner(node);
        let is_twin = |double: &Double| matches!(double, Double::Twin(of) if *of == owner);
        if self.script.is_some() || !self.plan.doubles.iter().any(is_twin) {
            return true;
        }
        let process = self.nodes[node].process.as_ref();
        let view = process.map_or(View(0), |process| process.last_status.view);
        twins::hears(owner, node == owner, other, view)
    }

    pub(super) fn transmit(&mut self, from: usize, to: usize, bytes: &Arc<[u8]>, hash: u64) {
        let incarnation = self.nodes[from].incarnations;
        let Some(generation) = self.network.connection(from, incarnation, to) else {
            return;
        };
        if !(self.twins_hear(from, to) && self.twins_hear(to, from)) {
            return;
        }
        let Some(late) = self.lateness(from, to, bytes) else {
            return;
        };
        self.figures.messages += 1;
        for at in self.network.route(self.now, from, to).into_iter().flatten() {
            let frame = Frame {
                from,
                to,
                generation,
                bytes: Arc::clone(bytes),
                hash,
            };
            self.queue.plan(at + late, Happening::Deliver(frame));
        }
    }
}

/// A number for the trace's hash; messages add their own when they arrive.
const fn code(output: &Output) -> u64 {
    match output {
        Output::Persist { seq, records } => 1 << 32 | seq.0 << 40 | records.len() as u64,
        Output::Broadcast(_) => 2 << 32,
        Output::Send { .. } => 3 << 32,
        Output::SetTimer { at } => 4 << 32 ^ at.0,
        Output::Head(head) => 5 << 32 ^ head.height.0,
        Output::Build(request) => 6 << 32 ^ request.view.0,
        Output::Validate { .. } => 7 << 32,
        Output::Commit(commit) => 8 << 32 ^ commit.blocks.len() as u64,
        Output::Forget(_) => 9 << 32,
        Output::Serve { .. } => 10 << 32,
        Output::Evidence { .. } => 11 << 32,
        Output::Alarm(_) => 12 << 32,
        Output::Ban { .. } => 13 << 32,
        Output::Sealed(_) => 14 << 32,
        Output::Park(_) => 15 << 32,
        Output::Gather { ids, .. } => 16 << 32 ^ ids.len() as u64,
    }
}

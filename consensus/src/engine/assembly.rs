//! Compact proposals: named by its leader, and put together by its receivers from their pools and, in one round, from
//! that leader (consensus.md, 3.13).
//!
//! A list of ids is a promise of nobody: only the header is signed. So whatever goes wrong on this way (ids that nobody
//! has, items that do not fit, no answer) costs the time of one request, and then the block is fetched as a whole, from
//! its proposer and others, as any missing block is. A body that was put together is checked like a delivered one.

use super::Engine;
use super::blocks::State;
use crate::block::Block;
use crate::epoch::Peer;
use crate::items::{self, Item, MAX_ITEMS, Positions};
use crate::message::{
    BodyItems, BodyReq, CompactProposal, Justification, Message, Outline, Proposal,
};
use crate::output::Output;
use crate::time::{Mono, Now};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use ledger::codec::List;
use ledger::hash::{BlockHash, ItemId};
use ledger::header::{BlockRef, Header};
use ledger::id::View;
use ledger::vote::Vote;

/// Who has to answer next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pool,
    Proposer,
    /// It can come to nothing any more.
    Vain,
}

/// A body that is put together.
#[derive(Debug)]
struct Assembly {
    view: View,
    header: Header,
    from: Peer,
    ids: Vec<ItemId>,
    /// As many as ids, once the pool has answered.
    items: Vec<Option<Item>>,
    stage: Stage,
    /// From here on the block is fetched as a whole; an answer still counts.
    until: Mono,
}

/// All that are under way, or came to nothing: one for each block, of the views whose bodies are kept.
#[derive(Debug, Default)]
pub(super) struct Assemblies(BTreeMap<BlockHash, Assembly>);

impl Assembly {
    fn give_up(&mut self) {
        self.stage = Stage::Vain;
        self.ids = Vec::new();
        self.items = Vec::new();
    }

    /// Positions of what is not there.
    fn missing(&self) -> impl Iterator<Item = usize> {
        let items = self.items.iter().enumerate();
        items.filter(|(_, item)| item.is_none()).map(|(at, _)| at)
    }

    /// Whether the bytes of what is there can be, or with nothing missing are, those that the header says.
    fn fits(&self) -> bool {
        let limit = usize::try_from(self.header.body_len).unwrap_or(usize::MAX);
        let there = self.items.iter().flatten();
        let bytes = there.fold(0_usize, |sum, item| sum.saturating_add(item.len()));
        if self.missing().next().is_some() {
            bytes < limit
        } else {
            bytes == limit
        }
    }
}

impl Assemblies {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the whole block need not be asked for yet.
    pub(super) fn is_under_way(&self, hash: &BlockHash, now: Mono) -> bool {
        let assembly = self.0.get(hash);
        assembly.is_some_and(|assembly| assembly.stage != Stage::Vain && now < assembly.until)
    }

    /// Whether items of this block were asked of this peer.
    pub(super) fn expects(&self, hash: &BlockHash, from: &Peer) -> bool {
        let assembly = self.0.get(hash);
        assembly.is_some_and(|one| one.stage == Stage::Proposer && one.from == *from)
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = Mono> {
        self.0.values().map(|assembly| assembly.until)
    }

    /// Whether a compact proposal of this block in this view brings nothing new.
    fn has_tried(&self, hash: &BlockHash, view: View, now: Mono) -> bool {
        let assembly = self.0.get(hash);
        self.is_under_way(hash, now) || assembly.is_some_and(|assembly| assembly.view >= view)
    }
}

impl Engine {
    /// Whether the ids of a compact proposal are of use: its body is not here, and they were not tried already.
    pub(super) fn wants_ids(&self, now: Mono, from: &Peer, outline: &Outline<'_>) -> bool {
        let hash = outline.vote.block.hash;
        !self.blocks.is_here(&hash)
            && !self.run.fetches.shuns(&hash, from)
            && !self.run.assemblies.has_tried(&hash, outline.view, now)
    }

    /// A compact proposal took its slot: the pool is asked first.
    pub(super) fn assemble(
        &mut self,
        now: Now,
        from: Peer,
        view: View,
        header: Header,
        ids: Vec<ItemId>,
    ) {
        let block = header.hash();
        let hopeless = self.blocks.is_here(&block)
            || header.height <= self.blocks.committed().block.height
            || self.run.assemblies.has_tried(&block, view, now.mono);
        if hopeless {
            return;
        }
        // No body has an item twice: such a list is as good as none, and the block is fetched.
        let distinct: BTreeSet<&ItemId> = ids.iter().collect();
        let is_list = !ids.is_empty() && distinct.len() == ids.len();
        if is_list {
            self.outbox.now(Output::Gather {
                block,
                ids: ids.clone(),
                bytes: header.body_len,
            });
        }
        let assembly = Assembly {
            view,
            header,
            from,
            ids: if is_list { ids } else { Vec::new() },
            items: Vec::new(),
            stage: if is_list { Stage::Pool } else { Stage::Vain },
            until: now.mono.plus(self.config.fetch_ms()),
        };
        self.run.assemblies.0.insert(block, assembly);
    }

    /// The pool has answered: what it lacks is asked of the proposer, once.
    pub(super) fn gathered(&mut self, now: Now, hash: BlockHash, items: Vec<Option<Item>>) {
        let until = now.mono.plus(self.config.fetch_ms());
        let Some(assembly) = self.run.assemblies.0.get_mut(&hash) else {
            return;
        };
        if assembly.stage != Stage::Pool || items.len() != assembly.ids.len() {
            return;
        }
        assembly.items = items;
        if !assembly.fits() {
            assembly.give_up();
            return;
        }
        assembly.stage = Stage::Proposer;
        if assembly.missing().next().is_none() {
            self.finish(now, &hash);
            return;
        }
        assembly.until = until;
        let request = BodyReq {
            block: assembly.header.block_ref(),
            missing: Positions::new(assembly.ids.len(), assembly.missing()),
        };
        let to = assembly.from;
        self.ask(&to, Message::BodyReq(request));
    }

    /// The proposer has answered, each item with its real id. What is still missing then is not asked for again.
    pub(super) fn items_came(
        &mut self,
        now: Now,
        from: &Peer,
        block: BlockRef,
        items: Vec<(ItemId, Item)>,
    ) {
        if !self.run.assemblies.expects(&block.hash, from) {
            return;
        }
        let Some(assembly) = self.run.assemblies.0.get_mut(&block.hash) else {
            return;
        };
        let mut came: BTreeMap<ItemId, Item> = items.into_iter().collect();
        for (id, slot) in assembly.ids.iter().zip(&mut assembly.items) {
            if slot.is_none() {
                *slot = came.remove(id);
            }
        }
        if assembly.missing().next().is_none() && assembly.fits() {
            self.finish(now, &block.hash);
        } else {
            assembly.give_up();
        }
    }

    /// All items are there: the block is as good as delivered by its proposer.
    fn finish(&mut self, now: Now, hash: &BlockHash) {
        let Some(assembly) = self.run.assemblies.0.remove(hash) else {
            return;
        };
        let items: Vec<Item> = assembly.items.into_iter().flatten().collect();
        let block = Block {
            header: assembly.header,
            body: (self.layout.join)(&items),
        };
        self.blocks.insert(block, Some(assembly.from), now.mono);
    }

    /// Drops what nobody waits for any more: the block is here, or its view is over. Then it is fetched if it is needed.
    pub(super) fn drop_assemblies(&mut self) {
        let current = self.run.current.view;
        let committed = self.blocks.committed().block.height;
        let blocks = &self.blocks;
        self.run.assemblies.0.retain(|hash, assembly| {
            assembly.view.saturating_add(1) >= current
                && assembly.header.height > committed
                && !blocks.is_here(hash)
        });
    }

    /// A receiver asks for items of a block that this node proposed, or holds.
    pub(super) fn serve_items(&mut self, peer: &Peer, request: &BodyReq) {
        let entry = self.blocks.get(&request.block.hash);
        let Some(entry) = entry.filter(|entry| entry.state == State::Valid) else {
            return;
        };
        let Some(all) = (self.layout.cut)(&entry.block.body) else {
            return;
        };
        let Some(missing) = request.missing.among(all.len()) else {
            return;
        };
        let items = missing.into_iter().filter_map(|at| all.get(at));
        let items: Vec<Item> = items.map(|item| Item::from(*item)).collect();
        if let Ok(items) = items.try_into() {
            let block = request.block;
            self.send(peer, Message::BodyItems(BodyItems { block, items }));
        }
    }

    /// What this node proposes in a view, whole or compact.
    pub(super) fn draft(&self, view: View, parent_view: View, block: Block) -> Draft {
        Draft {
            view,
            parent_view,
            ids: self.compacted(&block),
            block,
            justification: self.run.certificates.justification(parent_view, view),
        }
    }

    /// The ids that stand for a body in a proposal; `None` if it travels whole.
    fn compacted(&self, block: &Block) -> Option<List<ItemId, MAX_ITEMS>> {
        let compaction = self.config.compaction();
        let compact = self.run.epoch.set().n() > compaction.above_members
            || block.body.len() > compaction.above_bytes;
        let items = compact.then(|| (self.layout.cut)(&block.body)).flatten()?;
        if items.is_empty() || items.len() > MAX_ITEMS {
            return None;
        }
        let ids: Vec<ItemId> = items.into_iter().map(items::id_of).collect();
        ids.try_into().ok()
    }
}

/// A leader's own proposal, before it is signed.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) view: View,
    pub(super) parent_view: View,
    pub(super) block: Block,
    /// In place of the body.
    pub(super) ids: Option<List<ItemId, MAX_ITEMS>>,
    pub(super) justification: Justification,
}

impl Draft {
    /// The message.
    pub(super) fn sign(self, vote: Vote) -> Message {
        let Self {
            view,
            parent_view,
            block,
            ids,
            justification,
        } = self;
        match ids {
            Some(ids) => Message::CompactProposal(CompactProposal {
                view,
                parent_view,
                header: block.header,
                ids,
                justification,
                vote,
            }),
            None => Message::Proposal(Proposal {
                view,
                parent_view,
                block,
                justification,
                vote,
            }),
        }
    }
}

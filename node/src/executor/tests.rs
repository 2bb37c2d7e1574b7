//! Checking, building and counting on real state, without a network.

use super::*;
use crate::chain::{Fate, Parts};
use crate::testkit::{self, CREATED};
use consensus::Tip as Parent;
use ledger::codec;
use ledger::document::DocumentId;
use ledger::genesis::Purpose;
use ledger::header::{BlockRef, Flags};
use ledger::id::{Epoch, Height, ValidatorIndex, View};
use ledger::record::Record;
use ledger::tip::Founding;
use ledger::vote::{Statement, Vote, VoteKind};
use std::sync::Mutex;
use tokio::sync::oneshot;

/// Remembers what was broadcast.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Arc<[u8]>>>);

impl Mesh for Recorder {
    fn send(&self, _to: &Peer, bytes: Arc<[u8]>) {
        self.0.lock().unwrap().push(bytes);
    }
    fn broadcast(&self, bytes: Arc<[u8]>) {
        self.0.lock().unwrap().push(bytes);
    }
    fn inform(&self, _bytes: Arc<[u8]>) {}
    fn disconnect(&self, _peer: &Peer, why: &'static str) {
        panic!("{why}");
    }
}

struct Bench {
    founding: Founding,
    chain: Chain,
    executor: Executor,
    answers: mpsc::Receiver<Event>,
    work: watch::Receiver<Work>,
    sent: Arc<Recorder>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let founding = testkit::founding(4);
        let dir = tempfile::tempdir().unwrap();
        let (config, recovered) = testkit::recovered(&founding, dir.path());
        let (chain, submissions) = Chain::new(Parts {
            founding: founding.clone(),
            states: recovered.states,
            head: recovered.head,
            provable: None,
            archive: recovered.archive.reader(),
            log: recovered.log.reader(),
            restarts: recovered.restarts,
        });
        let (_, requests) = mpsc::channel(1);
        let (_, gossip) = mpsc::channel(1);
        let (sender, answers) = mpsc::channel(64);
        let (work, work_outlet) = watch::channel(Work::default());
        let sent = Arc::new(Recorder::default());
        let setup = Setup {
            chain: chain.clone(),
            mesh: Arc::clone(&sent) as Arc<dyn Mesh>,
            data: recovered.data,
            mempool: config.mempool,
            min_free_bytes: 0,
            retry: Duration::from_secs(1),
            evidence: Vec::new(),
        };
        let ports = Ports {
            requests,
            gossip,
            submissions,
            answers: sender,
            work,
        };
        Self {
            executor: Executor::new(setup, ports),
            founding,
            chain,
            answers,
            work: work_outlet,
            sent,
            _dir: dir,
        }
    }

    fn take(&mut self, request: Request) -> Option<Event> {
        self.executor.take(Input::Request(request)).unwrap();
        self.answers.try_recv().ok()
    }

    fn submit(&mut self, pending: Pending) -> Result<(), NotTaken> {
        let (reply, mut answer) = oneshot::channel();
        let submit = Submit {
            submissions: vec![pending],
            reply,
        };
        self.executor.take(Input::Submit(submit)).unwrap();
        answer.try_recv().unwrap().pop().unwrap()
    }

    fn register(&self, authority: u16, number: u32) -> Pending {
        let now = clock::wall();
        let window = (TimeMs(now.0 - 1_000), now.saturating_add(600_000));
        testkit::register_in(&self.founding, authority, (number, 1), window)
    }

    fn request(&self, parent: Parent, view: u64) -> BuildRequest {
        BuildRequest {
            chain: self.founding.chain(),
            epoch: Epoch(0),
            view: View(view),
            parent,
            height: parent.block.height.next().unwrap(),
            proposer: ValidatorIndex(0),
            time_ms: clock::wall().max(parent.time_ms.saturating_add(1)),
            flags: Flags::NONE,
            validator_set: self.founding.set().hash(),
        }
    }

    /// Two votes of a validator that exclude each other.
    fn contradiction(&self, signer: u16) -> Box<Evidence> {
        let epoch = self.founding.epoch();
        let vote = |block: u8| {
            let block = BlockRef {
                height: Height(1),
                hash: BlockHash(ledger::hash::Hash([block; 32])),
            };
            let statement = Statement {
                kind: VoteKind::Finalize,
                view: View(3),
                block,
            };
            let key = testkit::key(signer, Purpose::Vote);
            let signer = ValidatorIndex(signer);
            Vote::sign(statement, Epoch(0), signer, &epoch.context, &key)
        };
        Box::new(Evidence::new(vote(1), vote(2)).unwrap())
    }

    fn genesis(&self) -> Parent {
        Parent {
            block: self.founding.tip().block_ref(),
            time_ms: CREATED,
            flags: Flags::NONE,
        }
    }

    fn build(&mut self, parent: Parent, view: u64) -> Option<consensus::Block> {
        let request = self.request(parent, view);
        match self.take(Request::Build(Box::new(request))).unwrap() {
            Event::ProposalReady { block, .. } => Some(block),
            Event::BuildEmpty { .. } => None,
            other => panic!("{other:?}"),
        }
    }

    fn validate(&mut self, block: &consensus::Block) -> Verdict {
        let request = Request::Validate {
            hash: block.hash(),
            block: Box::new(block.clone()),
        };
        match self.take(request).unwrap() {
            Event::BlockValidated { verdict, .. } => verdict,
            other => panic!("{other:?}"),
        }
    }

    fn finalize(&mut self, block: &consensus::Block) {
        let post = self.chain.states().open(&block.hash()).unwrap();
        self.chain.states().finalize(std::slice::from_ref(&post));
        self.chain.publish_final(std::slice::from_ref(&post));
        self.take(Request::Final(vec![post]));
    }

    fn includable(&mut self, head: BlockHash) -> u32 {
        self.take(Request::Head(head));
        let work = *self.work.borrow_and_update();
        assert_eq!(work.head, head);
        work.includable
    }
}

#[test]
fn what_one_builds_another_finds_valid() {
    let (mut builder, mut other) = (Bench::new(), Bench::new());
    let genesis = builder.genesis();
    assert!(builder.build(genesis, 1).is_none(), "nothing pends");
    for number in 0..3 {
        builder.submit(builder.register(0, number)).unwrap();
    }
    let block = builder.build(genesis, 1).unwrap();
    assert_eq!(other.validate(&block), Verdict::Valid);
    builder.submit(builder.register(1, 0)).unwrap();
    let child = builder.build(Parent::from(&block.header), 2).unwrap();
    assert_eq!(other.validate(&child), Verdict::Valid);
    let size = builder.chain.states().open(&child.hash()).unwrap();
    assert_eq!(size.tip().log_size().0, 3 + 1 + 1 + 1);
    // Every submission that a client handed in was pushed.
    assert_eq!(builder.sent.0.lock().unwrap().len(), 4);
}

#[test]
fn what_a_compact_proposal_names_is_found_in_the_pool_and_put_together() {
    let (mut builder, mut other) = (Bench::new(), Bench::new());
    let genesis = builder.genesis();
    for number in 0..2 {
        let pending = builder.register(0, number);
        builder
            .submit(Pending::new(Arc::clone(&pending.submission)))
            .unwrap();
        other.submit(pending).unwrap();
    }
    builder.submit(builder.register(1, 0)).unwrap();
    let evidence = builder.contradiction(2);
    other.take(Request::Accuse(evidence.clone()));
    builder.take(Request::Accuse(evidence));
    let block = builder.build(genesis, 1).unwrap();
    let items = (crate::node::LAYOUT.cut)(&block.body).unwrap();
    let ids: Vec<ItemId> = items
        .iter()
        .map(|one| consensus::items::id_of(one))
        .collect();
    let mut gather = |bytes| {
        let request = Request::Gather {
            block: block.hash(),
            ids: ids.clone(),
            bytes,
        };
        match other.take(request).unwrap() {
            Event::Gathered { block: of, items } if of == block.hash() => items,
            answer => panic!("{answer:?}"),
        }
    };
    let bytes = block.header.body_len;
    let all: usize = items.iter().map(|item| item.len()).sum();
    assert_eq!(
        u32::try_from(all),
        Ok(bytes),
        "lengths add up to the header's"
    );
    let mut found = gather(bytes);
    let lacks: Vec<bool> = found.iter().map(Option::is_none).collect();
    assert_eq!(lacks, [false, false, true, false], "one was not pushed");
    found[2] = Some(consensus::Item::from(items[2]));
    let found: Vec<_> = found.into_iter().flatten().collect();
    assert_eq!((crate::node::LAYOUT.join)(&found), block.body);
    // No more than the header says is taken out of the pool.
    let few = u32::try_from(items[0].len()).unwrap();
    assert_eq!(gather(few).iter().flatten().count(), 1);
    let counters = other.chain.counters();
    assert_eq!(counters.gathered_items.get(), 3 + 1);
    assert_eq!(counters.lacked_items.get(), 1 + 3);
}

#[test]
fn evidence_is_pushed_is_work_stands_in_the_next_block_and_is_recorded_once() {
    let (mut bench, mut other) = (Bench::new(), Bench::new());
    let genesis = bench.genesis();
    let accuse = |bench: &mut Bench, signer| {
        let evidence = bench.contradiction(signer);
        bench.take(Request::Accuse(evidence));
        let pushed = bench.sent.0.lock().unwrap().len();
        (bench.work.borrow_and_update().includable, pushed)
    };
    assert_eq!(accuse(&mut bench, 2), (1, 1));
    assert_eq!(accuse(&mut bench, 2), (1, 1), "filed already");
    // Whoever lacks it asks for it by its id.
    let pushed = bench.sent.0.lock().unwrap()[0].clone();
    let Ok(gossip::Message::Items(items)) = gossip::Message::decode(&pushed) else {
        panic!("no items");
    };
    assert!(bench.executor.worklist.item(&items[0].id()).is_some());
    assert_eq!(accuse(&mut bench, 1), (2, 2));
    bench.submit(bench.register(0, 0)).unwrap();
    assert_eq!(bench.work.borrow_and_update().includable, 3);
    let block = bench.build(genesis, 1).unwrap();
    assert_eq!(other.validate(&block), Verdict::Valid);
    let post = bench.chain.states().open(&block.hash()).unwrap();
    let accused = [1, 2].map(|signer| (Epoch(0), ValidatorIndex(signer)));
    assert_eq!(post.effects().evidence, accused.into());
    // A record, two accusations, the trailer.
    assert_eq!(post.leaves().len(), 4);
    assert_eq!(bench.includable(block.hash()), 0);
    assert_eq!(bench.includable(genesis.block.hash), 3);
    bench.finalize(&block);
    assert_eq!(bench.includable(block.hash()), 0);
    assert!(bench.executor.worklist.is_empty());
    assert_eq!(bench.chain.counters().recorded_evidence.get(), 2);
    assert_eq!(accuse(&mut bench, 2), (0, 3), "recorded already");
    assert!(bench.build(Parent::from(&block.header), 2).is_none());
    // Of what another signed, nothing is filed: not this validator, not these votes.
    let mut forged = codec::encode(&*bench.contradiction(3));
    forged[100] ^= 1;
    let forged: Evidence = codec::decode(&forged, Evidence::LEN).unwrap();
    bench.take(Request::Accuse(Box::new(forged)));
    assert!(bench.executor.worklist.is_empty());
}

#[test]
fn a_wrong_header_is_invalid_and_a_wrong_body_is_a_bad_delivery() {
    let (mut builder, mut other) = (Bench::new(), Bench::new());
    builder.submit(builder.register(0, 0)).unwrap();
    let block = builder.build(builder.genesis(), 1).unwrap();
    let mut wrong = block.clone();
    wrong.header.status_root = ledger::hash::Hash([1; 32]);
    assert_eq!(other.validate(&wrong), Verdict::Invalid);
    builder.submit(builder.register(0, 1)).unwrap();
    let longer = builder.build(builder.genesis(), 2).unwrap();
    let mut swapped = block.clone();
    swapped.body = longer.body;
    assert_eq!(other.validate(&swapped), Verdict::BadDelivery);
    swapped.body = vec![1, 2, 3].into();
    assert_eq!(other.validate(&swapped), Verdict::BadDelivery);
    assert_eq!(other.validate(&block), Verdict::Valid);
}

#[test]
fn what_an_unfinalized_ancestor_includes_is_no_work_until_it_is_dropped() {
    let mut bench = Bench::new();
    let genesis = bench.genesis();
    let root = genesis.block.hash;
    assert_eq!(bench.includable(root), 0);
    bench.submit(bench.register(0, 0)).unwrap();
    assert_eq!(bench.work.borrow_and_update().includable, 1);
    let block = bench.build(genesis, 1).unwrap();
    assert_eq!(bench.includable(block.hash()), 0);
    bench.submit(bench.register(0, 1)).unwrap();
    assert_eq!(bench.work.borrow_and_update().includable, 1);
    // The view failed: both are work again on the block before.
    assert_eq!(bench.includable(root), 2);
    assert_eq!(bench.includable(block.hash()), 1);
    bench.finalize(&block);
    assert_eq!(bench.includable(block.hash()), 1);
    assert_eq!(bench.chain.status().pool, 1);
    assert!(bench.build(Parent::from(&block.header), 2).is_some());
}

#[test]
fn a_submission_that_the_final_chain_rules_out_is_dropped_with_its_reason() {
    let mut bench = Bench::new();
    let first = bench.register(0, 7);
    // Another window, so another submission, for the same document.
    let now = clock::wall();
    let window = (TimeMs(now.0 - 2_000), now.saturating_add(600_000));
    let rival = testkit::register_in(&bench.founding, 0, (7, 1), window);
    let (first_hash, rival_hash) = (first.hash, rival.hash);
    bench.submit(first).unwrap();
    bench.submit(rival).unwrap();
    let block = bench.build(bench.genesis(), 1).unwrap();
    let post = bench.chain.states().open(&block.hash()).unwrap();
    assert_eq!(
        post.effects().submissions.len(),
        1,
        "one document, one registration"
    );
    bench.finalize(&block);
    assert_eq!(bench.includable(block.hash()), 0);
    assert!(bench.chain.locate(&first_hash).unwrap().is_some());
    let document: DocumentId = testkit::document(&bench.founding, 0, 7);
    let Some(Fate::Refused(refused)) = bench.chain.fate(&rival_hash) else {
        panic!("it still waits");
    };
    assert_eq!(
        refused.refusal,
        ledger::refusal::Refusal::DocumentKnown(document)
    );
    assert_eq!(bench.chain.status().pool, 0);
    // And from now on it is refused at once.
    let again = testkit::register_in(&bench.founding, 0, (7, 1), window);
    assert!(matches!(bench.submit(again), Err(NotTaken::Refused(_))));
}

#[test]
fn what_waits_for_another_record_is_parked_and_included_after_it() {
    let mut bench = Bench::new();
    let now = clock::wall();
    let window = (TimeMs(now.0 - 1_000), now.saturating_add(600_000));
    let registration = bench.register(0, 3);
    let revoke = Record::Revoke {
        document: testkit::document(&bench.founding, 0, 3),
        prev: ledger::id::LeafIndex(0),
        code: ledger::record::RevokeReason::ALL[0],
    };
    let revocation = testkit::submission(&bench.founding, 0, window, vec![revoke]);
    bench.submit(revocation).unwrap();
    assert_eq!(bench.includable(bench.genesis().block.hash), 0, "parked");
    bench.submit(registration).unwrap();
    let first = bench.build(bench.genesis(), 1).unwrap();
    assert_eq!(bench.includable(first.hash()), 1);
    let second = bench.build(Parent::from(&first.header), 2).unwrap();
    assert_eq!(bench.includable(second.hash()), 0);
}

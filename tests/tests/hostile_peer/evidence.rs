//! Two votes that exclude each other, signed with a validator's own key: every honest node records them on the chain.

use crate::siege::{HONEST, HOSTILE, HOSTILE_ID, Siege};
use consensus::Message;
use ledger::hash::{BlockHash, Hash};
use ledger::header::BlockRef;
use ledger::id::{Height, View};
use ledger::vote::{Statement, VoteKind};
use node::network::Lane;
use serde_json::Value;
use tests::binaries::command;
use tests::running::wait_for;
use tests::{http, replay};

const RECORDED: &str = "nachweis_recorded_evidence_total";

impl Siege {
    /// Tells one node two things about one view.
    async fn contradict(&self, at: usize, kind: VoteKind) -> View {
        let mut peer = self.connect(at).await;
        let view = View(self.view(at).0 + 2);
        for hash in [[1; 32], [2; 32]] {
            let height = Height(1_000);
            let block = BlockRef {
                height,
                hash: BlockHash(Hash(hash)),
            };
            let vote = self.vote_of(HOSTILE, Statement { kind, view, block });
            let bytes = Message::Vote(vote).encode();
            peer.send(Lane::Consensus, &bytes).await.unwrap();
        }
        // Said to one node, and not again.
        self.is_logged(at, 0, &["signed two votes that exclude each other"]);
        view
    }

    /// The one accusation on a node's chain, once it is there.
    fn accusation(&self, at: usize) -> Value {
        wait_for("the evidence is on the chain", || {
            (self.running.metric(at, RECORDED) == 1).then_some(())
        });
        let height = self.running.status(at)["height"].as_u64().unwrap();
        let blocks = (1..=height).map(|height| {
            let path = format!("/v1/blocks/{height}");
            let block = http::get(self.running.api(at), &path).unwrap();
            let block: Value = serde_json::from_slice(&block.body).unwrap();
            block["evidence"].as_array().unwrap().clone()
        });
        let all: Vec<Value> = blocks.flatten().collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    }

    /// What an auditor reads of it in a node's archive.
    fn audit(&self, at: usize) -> (Value, String) {
        let run = |arguments: &[&str]| {
            let mut audit = command("nachweis").unwrap();
            audit.arg("audit").args(arguments).arg("--trust");
            audit.arg(&self.running.network.manifest().trust);
            let output = audit.arg(self.running.dir(at)).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        (serde_json::from_str(&run(&["--json"])).unwrap(), run(&[]))
    }

    fn is_recorded_everywhere(&mut self, view: View, kind: &str) {
        for at in HONEST {
            let accusation = self.accusation(at);
            assert_eq!(accusation["authority"], HOSTILE_ID);
            assert_eq!(accusation["validator"], HOSTILE);
            assert_eq!(accusation["view"], view.0);
            assert_eq!(accusation["votes"], serde_json::json!([kind, kind]));
        }
        self.goes_on(0);
        self.running.network.stop_all().unwrap();
        for at in HONEST {
            let (report, text) = self.audit(at);
            let evidence = report["evidence"].as_array().unwrap();
            assert_eq!(evidence.len(), 1, "{report}");
            assert_eq!(evidence[0]["authority"], HOSTILE_ID);
            let line = text.lines().find(|line| line.starts_with("evidence "));
            assert_eq!(line, Some("evidence       1"), "{text}");
            let named = format!("{HOSTILE_ID} (validator #{HOSTILE}) signed");
            assert!(text.contains(&named), "{text}");
            // The oracle reads the leaves itself.
            replay::archive(self.running.dir(at)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_finalize_votes_of_one_view_are_on_every_chain_and_name_their_signer() {
    let mut siege = Siege::begin();
    siege.running.becomes_provable(0);
    let view = siege.contradict(0, VoteKind::Finalize).await;
    siege.is_recorded_everywhere(view, "finalize");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_only_the_journal_holds_is_recorded_after_a_restart() {
    let mut siege = Siege::founded();
    // No quorum runs: nothing can be recorded yet.
    siege.running.network.start(0).unwrap();
    wait_for("the node answers", || {
        http::get(siege.running.api(0), "/healthz").ok()
    });
    let view = siege.contradict(0, VoteKind::Notarize).await;
    siege.running.network.kill(0).unwrap();
    siege.running.start(&HONEST);
    siege.is_recorded_everywhere(view, "notarize");
}

//! Questions for restart files and their answers (messages 14 and 15), to validators. What those who follow make of a
//! false file is played in the node's own tests (`follow/tests.rs`).

use crate::messages::framed;
use crate::siege::{HONEST, HOSTILE_ID, Offence, Siege};
use ledger::id::Epoch;
use ledger::restart::{Base, RestartFile};
use ledger::tip::Founding;
use node::gossip::Message;
use node::network::Lane;
use std::time::Duration;
use tests::running::wait_for;
use tokio::time::timeout;

/// A file without a report, which is one by its form.
fn empty_file(siege: &Siege) -> RestartFile {
    let path = siege.running.network.dir().join("genesis.nachweis");
    let founding = genesis::container::Founding::load(&path).unwrap();
    let founding = Founding::new(founding.into_genesis()).unwrap();
    RestartFile::new(Base::of(&founding.epoch()), None, Vec::new()).unwrap()
}

impl Siege {
    fn bad_restarts(&self, _at: usize) -> Vec<Offence> {
        let question = Message::EpochReq(Epoch(1)).encode();
        let answer = Message::EpochResp(empty_file(self)).encode();
        let malformed = |lane, bytes: &[u8]| Offence {
            lane,
            bytes: framed(bytes),
            why: "sent a malformed pool message or cosignature",
            detail: "",
        };
        // The list of reports comes last.
        let promise = [
            &answer[..answer.len() - 4],
            &u32::MAX.to_le_bytes(),
            &[0; 8],
        ]
        .concat();
        let limit = u32::try_from(Message::limit(15).unwrap()).unwrap();
        let over = [&(limit + 1).to_le_bytes()[..], &[15]].concat();
        let frame = |lane, bytes, why| Offence {
            lane,
            bytes,
            why,
            detail: "",
        };
        vec![
            malformed(Lane::Consensus, &question[..5]),
            malformed(Lane::Bulk, &promise),
            malformed(Lane::Bulk, &[&answer[..], &[0]].concat()),
            frame(Lane::Bulk, over, "frame over its limit"),
            frame(Lane::Consensus, framed(&answer), "frame of unknown kind"),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_and_restart_files_that_are_none_end_the_connection() {
    let mut siege = Siege::begin();
    siege.stands(5, Siege::bad_restarts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_files_that_nobody_asked_for_and_floods_of_questions_do_nothing() {
    let siege = Siege::begin();
    siege.running.becomes_provable(0);
    let file = Message::EpochResp(empty_file(&siege)).encode();
    for at in HONEST {
        let mut peer = siege.connect(at).await;
        for epoch in 0..2_000 {
            let question = Message::EpochReq(Epoch(epoch)).encode();
            peer.send(Lane::Consensus, &question).await.unwrap();
        }
        for _ in 0..200 {
            peer.send(Lane::Bulk, &file).await.unwrap();
        }
        let named = format!("nachweis_peer_dropped_total{{authority=\"{HOSTILE_ID}\"");
        wait_for("the files are dropped and their sender is counted", || {
            let metrics = tests::http::get(siege.running.api(at), "/metrics").ok()?;
            let text = metrics.text();
            let mut lines = text.lines().filter(|line| line.starts_with(&named));
            let dropped = lines.any(|line| {
                let count = line.rsplit(' ').next().and_then(|count| count.parse().ok());
                count >= Some(200_u64)
            });
            dropped.then_some(())
        });
        // There is no restart here, and so no answer.
        while let Ok(Ok(bytes)) = timeout(Duration::from_millis(500), peer.recv(Lane::Bulk)).await {
            assert_ne!(bytes.first(), Some(&15));
        }
        assert_eq!(siege.running.metric(at, "nachweis_offences_total"), 0);
        siege.goes_on(at);
    }
}

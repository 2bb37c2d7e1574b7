//! Messages that a hostile peer makes by hand.

use consensus::Message;
use consensus::message::Status;
use ledger::codec;
use ledger::hash::{BlockHash, Hash};
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, TimeMs, View};
use ledger::key::RawSignature;
use ledger::vote::{PROTOCOL, Statement, VoteKind};

pub(crate) fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_le_bytes()[..], bytes].concat()
}

pub(crate) fn now() -> TimeMs {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    TimeMs(u64::try_from(now.unwrap().as_millis()).unwrap())
}

/// A heartbeat that claims a chain of this height.
pub(crate) fn boast(height: u64, view: View) -> Message {
    Message::Status(Status {
        protocol: PROTOCOL,
        instance: 7,
        epoch: Epoch(0),
        view,
        finalized: BlockRef {
            height: Height(height),
            hash: BlockHash(Hash([7; 32])),
        },
        finalized_view: view,
        notarized_view: view,
        pending: u32::MAX,
        wall: now(),
    })
}

pub(crate) fn notarize(view: View) -> Statement {
    let hash = BlockHash(Hash([9; 32]));
    let height = Height(1_000);
    Statement {
        kind: VoteKind::Notarize,
        view,
        block: BlockRef { height, hash },
    }
}

/// A certificate's message with any bitmap and signatures, by hand: its type refuses to be made wrong.
pub(crate) fn certificate(
    statement: Statement,
    bitmap: u8,
    signatures: &[RawSignature],
) -> Vec<u8> {
    certificate_of(Epoch(0), statement, bitmap, signatures)
}

/// The same for any epoch.
pub(crate) fn certificate_of(
    epoch: Epoch,
    statement: Statement,
    bitmap: u8,
    signatures: &[RawSignature],
) -> Vec<u8> {
    let fields = certificate_fields(epoch, statement, bitmap, signatures);
    [&[5][..], &fields].concat()
}

/// The certificate alone, as it stands inside other messages.
pub(crate) fn certificate_fields(
    epoch: Epoch,
    statement: Statement,
    bitmap: u8,
    signatures: &[RawSignature],
) -> Vec<u8> {
    let Statement { kind, view, block } = statement;
    codec::encode(&(kind, epoch, view, block, vec![bitmap], signatures.to_vec()))
}

//! Frames on a stream: a length (u32, little-endian), then as many bytes; never 0, never over the limit of the first
//! byte's kind, which is checked before anything is allocated.

use super::Lane;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a frame on [`Lane::Consensus`]; a kind that can be longer belongs on [`Lane::Bulk`].
pub const CONSENSUS_MAX: usize = 8 * 1024;
/// Frames up to this length are copied together, so that one write carries many votes.
const COALESCE: usize = 16 * 1024;
/// What every frame may take to arrive once its length is known …
const FRAME_TIME: Duration = Duration::from_secs(10);
/// … and the slowest rate beyond that, in bytes per second: 8 MiB have 42 s.
const SLOWEST: usize = 256 * 1024;

/// Most bytes of a frame by lane and kind (its first byte); `None` for a kind that the lane does not carry.
#[derive(Clone, Copy, Debug)]
pub struct FrameLimits(pub fn(Lane, u8) -> Option<usize>);

/// Why no frame could be read.
#[derive(Debug)]
pub(super) enum FrameError {
    /// The stream ended or failed, or the frame took too long.
    Stream,
    /// No honest peer sends that.
    Offence(&'static str),
}

/// The head of a frame: what can be known before its bytes are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    kind: u8,
    /// 1 or more.
    pub(super) len: usize,
}

impl FrameLimits {
    /// Those of the consensus messages and of [`crate::gossip`].
    pub const PROTOCOL: Self = Self(protocol_limit);

    /// Most bytes of a frame of this kind on this lane.
    pub fn of(self, lane: Lane, kind: u8) -> Option<usize> {
        (self.0)(lane, kind)
    }

    /// Whether a frame is within its limit.
    pub(super) fn allow(self, lane: Lane, bytes: &[u8]) -> bool {
        bytes
            .first()
            .and_then(|kind| self.of(lane, *kind))
            .is_some_and(|limit| bytes.len() <= limit)
    }
}

fn protocol_limit(lane: Lane, kind: u8) -> Option<usize> {
    let gossip = || crate::gossip::Message::limit(kind);
    let limit = consensus::message::Message::limit(kind).or_else(gossip)?;
    match lane {
        Lane::Consensus => (limit <= CONSENSUS_MAX).then_some(limit),
        Lane::Bulk => Some(limit),
    }
}

/// How long a frame of this length may take on the wire.
pub(super) fn time_for(len: usize) -> Duration {
    let seconds = u64::try_from(len / SLOWEST).unwrap_or(u64::MAX);
    FRAME_TIME.saturating_add(Duration::from_secs(seconds))
}

/// Waits for the next frame and reads its length and kind.
pub(super) async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    lane: Lane,
    limits: FrameLimits,
) -> Result<Head, FrameError> {
    let mut length = [0; 4];
    read(stream, &mut length).await?;
    let len = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if len == 0 {
        return Err(FrameError::Offence("empty frame"));
    }
    let mut kind = [0; 1];
    timed(FRAME_TIME, read(stream, &mut kind)).await?;
    let [kind] = kind;
    match limits.of(lane, kind) {
        None => Err(FrameError::Offence("frame of unknown kind")),
        Some(limit) if len > limit => Err(FrameError::Offence("frame over its limit")),
        Some(_) => Ok(Head { kind, len }),
    }
}

/// Reads the bytes that a head announced, the kind among them.
pub(super) async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    head: Head,
) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; head.len];
    if let Some((first, rest)) = bytes.split_first_mut() {
        *first = head.kind;
        timed(time_for(head.len), read(stream, rest)).await?;
    }
    Ok(bytes)
}

async fn read(stream: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Result<(), FrameError> {
    let result = stream.read_exact(bytes).await;
    result.map_err(|_ended| FrameError::Stream)
}

async fn timed<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, FrameError>>,
) -> Result<T, FrameError> {
    let result = tokio::time::timeout(limit, work).await;
    result.unwrap_or(Err(FrameError::Stream))
}

/// The length that goes before a frame.
pub(super) fn prefix(bytes: &[u8]) -> [u8; 4] {
    // The limits are far below; a longer frame would be refused by its reader.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// Writes frames in order and flushes once after the last.
pub(super) async fn write_all(
    stream: &mut (impl AsyncWrite + Unpin),
    frames: &[Arc<[u8]>],
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    for frame in frames {
        if frame.len() > COALESCE {
            buffer.extend(prefix(frame));
            stream.write_all(buffer).await?;
            buffer.clear();
            stream.write_all(frame).await?;
            continue;
        }
        buffer.extend(prefix(frame));
        buffer.extend_from_slice(frame);
        if buffer.len() > COALESCE {
            stream.write_all(buffer).await?;
            buffer.clear();
        }
    }
    if !buffer.is_empty() {
        stream.write_all(buffer).await?;
        buffer.clear();
    }
    stream.flush().await
}

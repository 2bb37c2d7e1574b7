//! How an observer is let in: it shows its certificate on a stream of its own, and is answered in one byte, before
//! either side opens a lane.
//!
//! ```text
//! observer  ─▶ certificate, [`Certificate::LEN`] bytes
//! validator ─▶ 0 = welcome; anything else is the reason of the refusal
//! ```

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use ledger::id::{AuthorityId, AuthorityIndex, TimeMs};
use ledger::observer::{self, Certificate, MAX_PER_AUTHORITY};
use ledger::tip::Founding;
use libp2p::swarm::Stream;
use std::fmt;
use std::io;

/// Protocol name of the stream.
pub(super) const PROTOCOL: &str = "/nachweis/observer/1";
/// Most observers that a node lets in at a time, of all authorities.
pub(super) const MAX_OBSERVERS: usize = 32;

/// What the validator answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The lanes may be opened.
    Welcome,
    /// Go away.
    Refused(Reason),
}

/// Why an observer is not let in; a closed list, also as a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The certificate is for another chain.
    OtherChain,
    /// It is of an authority that the chain does not have.
    UnknownAuthority,
    /// It is for another network key.
    OtherKey,
    /// Its network key may not be an observer's.
    BadKey,
    /// It is over.
    Expired,
    /// It is good for more than a year.
    TooLong,
    /// Its authority's admin key did not sign it.
    NotSigned,
    /// It is no certificate.
    Malformed,
    /// The authority's other observers are connected.
    TooManyOfAuthority,
    /// The node has as many observers as it takes.
    TooMany,
    /// None was shown in time.
    NoCertificate,
    /// A reason that this version does not know.
    Unknown,
}

impl Reason {
    const ALL: [Self; 11] = [
        Self::OtherChain,
        Self::UnknownAuthority,
        Self::OtherKey,
        Self::BadKey,
        Self::Expired,
        Self::TooLong,
        Self::NotSigned,
        Self::Malformed,
        Self::TooManyOfAuthority,
        Self::TooMany,
        Self::NoCertificate,
    ];

    /// In words, for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtherChain => "observer certificate for another chain",
            Self::UnknownAuthority => "observer certificate of an unknown authority",
            Self::OtherKey => "observer certificate for another key",
            Self::BadKey => "observer certificate for a key that may not be used",
            Self::Expired => "observer certificate expired",
            Self::TooLong => "observer certificate good for more than a year",
            Self::NotSigned => "observer certificate not signed by the authority's admin key",
            Self::Malformed => "observer certificate malformed",
            Self::TooManyOfAuthority => "authority has four observers here already",
            Self::TooMany => "node has as many observers as it takes",
            Self::NoCertificate => "no observer certificate",
            Self::Unknown => "refused for a reason of a later version",
        }
    }

    fn code(self) -> u8 {
        let at = Self::ALL.iter().position(|reason| *reason == self);
        at.and_then(|at| u8::try_from(at).ok())
            .map_or(u8::MAX, |at| at.saturating_add(1))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<observer::Refusal> for Reason {
    fn from(refusal: observer::Refusal) -> Self {
        match refusal {
            observer::Refusal::Chain { .. } => Self::OtherChain,
            observer::Refusal::Authority(_) => Self::UnknownAuthority,
            observer::Refusal::OtherKey { .. } => Self::OtherKey,
            observer::Refusal::Key(_) => Self::BadKey,
            observer::Refusal::Expired { .. } => Self::Expired,
            observer::Refusal::TooLong { .. } => Self::TooLong,
            observer::Refusal::Signature { .. } => Self::NotSigned,
        }
    }
}

impl Answer {
    fn code(self) -> u8 {
        match self {
            Self::Welcome => 0,
            Self::Refused(reason) => reason.code(),
        }
    }

    fn of(code: u8) -> Self {
        match usize::from(code).checked_sub(1) {
            None => Self::Welcome,
            Some(at) => Self::Refused(Reason::ALL.get(at).copied().unwrap_or(Reason::Unknown)),
        }
    }
}

/// The observer's part.
pub(super) async fn show(mut stream: Stream, certificate: Vec<u8>) -> io::Result<Answer> {
    stream.write_all(&certificate).await?;
    stream.flush().await?;
    let mut code = [0];
    stream.read_exact(&mut code).await?;
    let [code] = code;
    Ok(Answer::of(code))
}

/// The validator's part, first half. How long it may take is bounded by the handler's deadline.
pub(super) async fn look(mut stream: Stream) -> io::Result<(Vec<u8>, Stream)> {
    let mut bytes = vec![0; Certificate::LEN];
    stream.read_exact(&mut bytes).await?;
    Ok((bytes, stream))
}

/// The second half.
pub(super) async fn answer(mut stream: Stream, answer: Answer) {
    let said = async {
        stream.write_all(&[answer.code()]).await?;
        stream.flush().await?;
        stream.close().await
    };
    // Whoever is gone needs no answer.
    said.await.ok();
}

/// An observer that may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) network: ledger::key::Key,
    pub(super) authority: AuthorityIndex,
    pub(super) id: AuthorityId,
    pub(super) not_after: TimeMs,
}

/// Looks at a shown certificate. Who shows it and how many are there already is for the caller.
pub(super) fn judge(founding: &Founding, bytes: &[u8], now: TimeMs) -> Result<Admitted, Reason> {
    let certificate = Certificate::decode(bytes).map_err(|_malformed| Reason::Malformed)?;
    let network = certificate.permission.network;
    let permission = certificate.check(founding, &network, now)?;
    let authority = founding.genesis().authority(permission.authority);
    Ok(Admitted {
        network,
        authority: permission.authority,
        id: authority.ok_or(Reason::UnknownAuthority)?.id.clone(),
        not_after: permission.not_after_ms,
    })
}

/// Whether there is room for one more, given the authorities of those who are in.
pub(super) fn has_room(
    of: AuthorityIndex,
    inside: impl Iterator<Item = AuthorityIndex>,
) -> Result<(), Reason> {
    let (mut all, mut same) = (0_usize, 0_usize);
    for authority in inside {
        all = all.saturating_add(1);
        same = same.saturating_add(usize::from(authority == of));
    }
    if same >= MAX_PER_AUTHORITY {
        return Err(Reason::TooManyOfAuthority);
    }
    if all >= MAX_OBSERVERS {
        return Err(Reason::TooMany);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_byte() {
        assert_eq!(Answer::of(Answer::Welcome.code()), Answer::Welcome);
        for reason in Reason::ALL {
            let answer = Answer::Refused(reason);
            assert_ne!(answer.code(), 0);
            assert_eq!(Answer::of(answer.code()), answer);
        }
        assert_eq!(Answer::of(200), Answer::Refused(Reason::Unknown));
    }

    #[test]
    fn the_fifth_of_an_authority_and_the_thirty_third_of_all_find_no_room() {
        let one = AuthorityIndex(1);
        assert_eq!(has_room(one, [one; 3].into_iter()), Ok(()));
        let five = has_room(one, [one; 4].into_iter());
        assert_eq!(five, Err(Reason::TooManyOfAuthority));
        let others = (0..32).map(|i| AuthorityIndex(2 + i / 4));
        assert_eq!(has_room(one, others), Err(Reason::TooMany));
    }
}

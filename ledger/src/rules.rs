//! The rules: (state, record, context) → new state, or a named refusal (design.md, section 4).
//!
//! One table, [`decide`], for admission, block validity, replay and audit alike. It reads the state
//! through a view and says what changes as a value; nothing here writes. [`Act::of`] is the one
//! place that says which records are enabled.

use crate::document::{DocumentId, Nonce};
use crate::hash::Hash;
use crate::id::{AuthorityIndex, Height, LeafIndex, TimeMs};
use crate::key::{Key, Signature};
use crate::record::{Record, RevokeReason, Role};
use crate::refusal::Refusal;
use crate::state::{
    DocState, KeyState, Lane, Lifecycle, MAX_ENTRIES, Registration, RegistrationKind,
};
use crate::tip::Founding;
use crate::view::{StateUnavailable, StateView};

/// A record whose rules are built, with the fields that they look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are those of the record of that name, formats.md 3.2"
)]
pub enum Act<'a> {
    /// A new document.
    Register {
        document: &'a DocumentId,
        nonce: &'a Nonce,
    },
    /// A new public document.
    Publish {
        document: &'a DocumentId,
        nonce: &'a Nonce,
        sha256: &'a Hash,
    },
    /// Ends a document by naming its successor.
    Supersede {
        document: &'a DocumentId,
        prev: LeafIndex,
        successor: &'a DocumentId,
    },
    /// Ends a document.
    Revoke {
        document: &'a DocumentId,
        prev: LeafIndex,
        code: RevokeReason,
    },
    /// Says that the author checked or countersigns a document.
    Endorse {
        document: &'a DocumentId,
        prev: LeafIndex,
    },
    /// Enrols a registrar key.
    Enrol {
        key: &'a Key,
        role: Role,
        not_after_ms: TimeMs,
        possession: &'a Signature,
    },
    /// Retires a registrar key.
    RetireKey {
        key: &'a Key,
        compromised_since: Option<LeafIndex>,
    },
}

impl<'a> Act<'a> {
    /// What a record does, if its rules are built.
    ///
    /// # Errors
    /// [`Refusal::NotEnabled`] for every other record.
    #[expect(
        clippy::too_many_lines,
        reason = "a flat table: an arm for each enabled record, one for all others"
    )]
    pub const fn of(record: &'a Record) -> Result<Self, Refusal> {
        Ok(match record {
            Record::Register {
                document, nonce, ..
            } => Self::Register { document, nonce },
            Record::Publish {
                document,
                nonce,
                sha256,
                ..
            } => Self::Publish {
                document,
                nonce,
                sha256,
            },
            Record::Supersede {
                document,
                prev,
                successor,
            } => Self::Supersede {
                document,
                prev: *prev,
                successor,
            },
            Record::Revoke {
                document,
                prev,
                code,
            } => Self::Revoke {
                document,
                prev: *prev,
                code: *code,
            },
            Record::Endorse { document, prev, .. } => Self::Endorse {
                document,
                prev: *prev,
            },
            Record::Enrol {
                key,
                role,
                not_after_ms,
                possession,
            } => Self::Enrol {
                key,
                role: *role,
                not_after_ms: *not_after_ms,
                possession,
            },
            Record::RetireKey {
                key,
                compromised_since,
            } => Self::RetireKey {
                key,
                compromised_since: *compromised_since,
            },
            Record::Derive { .. }
            | Record::Transfer { .. }
            | Record::Withdraw { .. }
            | Record::Accept { .. }
            | Record::Reject { .. }
            | Record::Dispute { .. }
            | Record::Answer { .. }
            | Record::Correct { .. }
            | Record::Suspend { .. }
            | Record::Reinstate { .. }
            | Record::Hold { .. }
            | Record::Release { .. }
            | Record::Retire { .. }
            | Record::ErasureAck { .. }
            | Record::Renew { .. }
            | Record::AccessRoot { .. }
            | Record::Propose { .. }
            | Record::Approve { .. }
            | Record::Ready { .. } => return Err(Refusal::NotEnabled(record.name())),
        })
    }
}

/// In which capacity a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// The authority's admin key: key changes, and nothing else.
    Admin,
    /// A registrar key with these roles: everything else.
    Registrar(Role),
}

/// Who acts, where and when. The same for all records of a submission but for `index`.
#[derive(Clone, Copy, Debug)]
pub struct Acting {
    /// Who.
    pub authority: AuthorityIndex,
    /// With which key.
    pub key: Key,
    /// In which capacity; see [`capacity`].
    pub capacity: Capacity,
    /// Height of the block.
    pub height: Height,
    /// Time of the block.
    pub time_ms: TimeMs,
    /// Log index of the block's first leaf.
    pub block_start: LeafIndex,
    /// Log index of this record.
    pub index: LeafIndex,
}

/// What a record changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new document, with its plain hash if it is public.
    Registered {
        /// Its id.
        document: DocumentId,
        /// Where.
        registration: Registration,
        /// The plain hash of a published document.
        published: Option<Hash>,
    },
    /// A document's new state.
    Document(DocState),
    /// A key's new state.
    Key(Key, KeyState),
}

/// Why a record has no new state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The rules forbid it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The state could not be read: says nothing about the record.
    #[error(transparent)]
    Unavailable(#[from] StateUnavailable),
}

/// In which capacity `key` may sign for `authority` at this index and block time.
///
/// # Errors
/// [`Refusal`]: no such authority, or the key is unknown, another's, retired or expired.
pub fn capacity<V: StateView + ?Sized>(
    founding: &Founding,
    view: &V,
    (authority, key): (AuthorityIndex, &Key),
    index: LeafIndex,
    time_ms: TimeMs,
) -> Result<Capacity, RuleError> {
    let changed = view.auth_state(authority)?.map(|state| state.admin);
    let admin = changed.or_else(|| founding.admin(authority));
    let admin = admin.ok_or(Refusal::UnknownAuthority(authority))?;
    if admin == *key {
        return Ok(Capacity::Admin);
    }
    let state = view.key_state(key)?.ok_or(Refusal::UnknownKey(*key))?;
    check_owner(*key, &state, authority)?;
    if let Some(at) = state.retired.filter(|_| !state.lives_at(index)) {
        return Err(Refusal::KeyRetired { key: *key, at }.into());
    }
    if state.is_expired(time_ms) {
        return Err(Refusal::KeyExpired {
            key: *key,
            not_after: state.not_after_ms,
            time: time_ms,
        }
        .into());
    }
    Ok(Capacity::Registrar(state.role))
}

fn check_owner(key: Key, state: &KeyState, authority: AuthorityIndex) -> Result<(), Refusal> {
    if state.authority == authority {
        Ok(())
    } else {
        Err(Refusal::ForeignKey {
            key,
            owner: state.authority,
            authority,
        })
    }
}

/// The table: what a record changes in this state.
///
/// Checks that do not need the state ([`crate::admission`]) must have passed before.
///
/// # Errors
/// [`RuleError::Refused`] names the rule that forbids it.
pub fn decide<V: StateView + ?Sized>(
    founding: &Founding,
    view: &V,
    acting: &Acting,
    record: &Record,
) -> Result<Change, RuleError> {
    match Act::of(record)? {
        Act::Register { document, .. } => {
            acting.needs(record, Role::ISSUE, "issue")?;
            acting.register(view, document, RegistrationKind::Register, None)
        }
        Act::Publish {
            document, sha256, ..
        } => {
            acting.needs(record, Role::PUBLIC, "public")?;
            acting.register(view, document, RegistrationKind::Publish, Some(*sha256))
        }
        Act::Supersede {
            document,
            prev,
            successor,
        } => {
            let mut state = acting.own(view, record, document)?;
            acting.check_successor(view, document, successor)?;
            state.lifecycle = Lifecycle::Superseded { by: *successor };
            acting.advance(state, prev)
        }
        Act::Revoke {
            document,
            prev,
            code,
        } => {
            let mut state = acting.own(view, record, document)?;
            state.lifecycle = Lifecycle::Revoked { code: code.code() };
            acting.advance(state, prev)
        }
        Act::Endorse { document, prev } => {
            acting.needs(record, Role::EXCHANGE, "exchange")?;
            let (_, state) = known(view, document)?.ok_or(Refusal::UnknownDocument(*document))?;
            let authority = acting.authority;
            if !state.is_holder(authority) && !state.is_consulted(authority) {
                let document = *document;
                return Err(Refusal::NotInvolved {
                    document,
                    authority,
                }
                .into());
            }
            acting.advance(state, prev)
        }
        Act::Enrol {
            key,
            role,
            not_after_ms,
            ..
        } => {
            acting.needs_admin(record)?;
            acting.enrol(founding, view, key, (role, not_after_ms))
        }
        Act::RetireKey {
            key,
            compromised_since,
        } => {
            acting.needs_admin(record)?;
            acting.retire_key(view, key, compromised_since)
        }
    }
}

/// A document's registration and present state, if it is registered.
///
/// # Errors
/// [`StateUnavailable`].
pub fn known<V: StateView + ?Sized>(
    view: &V,
    document: &DocumentId,
) -> Result<Option<(Registration, DocState)>, StateUnavailable> {
    let Some(registration) = view.registration(document)? else {
        return Ok(None);
    };
    let state = view.doc_state(document)?;
    let state = state.unwrap_or_else(|| DocState::registered(*document, &registration));
    Ok(Some((registration, state)))
}

impl Acting {
    /// The key is a registrar's with one of these roles.
    fn needs(&self, record: &Record, roles: Role, named: &'static str) -> Result<(), Refusal> {
        match self.capacity {
            Capacity::Registrar(role) if role.intersects(roles) => Ok(()),
            Capacity::Registrar(_) | Capacity::Admin => Err(Refusal::Role {
                key: self.key,
                record: record.name(),
                needs: named,
            }),
        }
    }

    /// The key is the authority's admin key.
    fn needs_admin(&self, record: &Record) -> Result<(), Refusal> {
        match self.capacity {
            Capacity::Admin => Ok(()),
            Capacity::Registrar(_) => Err(Refusal::Role {
                key: self.key,
                record: record.name(),
                needs: "the admin key",
            }),
        }
    }

    fn register<V: StateView + ?Sized>(
        &self,
        view: &V,
        document: &DocumentId,
        kind: RegistrationKind,
        published: Option<Hash>,
    ) -> Result<Change, RuleError> {
        if view.registration(document)?.is_some() {
            return Err(Refusal::DocumentKnown(*document).into());
        }
        let registration = Registration {
            index: self.index,
            height: self.height,
            time_ms: self.time_ms,
            authority: self.authority,
            kind,
        };
        Ok(Change::Registered {
            document: *document,
            registration,
            published,
        })
    }

    /// The state of a document that this authority is responsible for and that has not ended.
    ///
    /// The role `issue` serves for every document, `public` for published ones.
    fn own<V: StateView + ?Sized>(
        &self,
        view: &V,
        record: &Record,
        document: &DocumentId,
    ) -> Result<DocState, RuleError> {
        let found = known(view, document)?;
        let (registration, state) = found.ok_or(Refusal::UnknownDocument(*document))?;
        match registration.kind {
            RegistrationKind::Publish => {
                self.needs(record, Role::ISSUE.with(Role::PUBLIC), "issue or public")?;
            }
            RegistrationKind::Register | RegistrationKind::Derive => {
                self.needs(record, Role::ISSUE, "issue")?;
            }
        }
        if state.responsible != self.authority {
            return Err(Refusal::NotResponsible {
                document: *document,
                responsible: state.responsible,
            }
            .into());
        }
        if state.is_ended() {
            return Err(Refusal::Ended(*document).into());
        }
        Ok(state)
    }

    fn check_successor<V: StateView + ?Sized>(
        &self,
        view: &V,
        document: &DocumentId,
        successor: &DocumentId,
    ) -> Result<(), RuleError> {
        if document == successor {
            return Err(Refusal::OwnSuccessor(*document).into());
        }
        let found = known(view, successor)?;
        let (_, next) = found.ok_or(Refusal::UnknownSuccessor(*successor))?;
        if next.responsible != self.authority {
            return Err(Refusal::ForeignSuccessor {
                document: *successor,
                responsible: next.responsible,
            }
            .into());
        }
        if !next.is_in_force() {
            return Err(Refusal::SuccessorNotInForce(*successor).into());
        }
        Ok(())
    }

    /// Checks the lane and moves its head to this record.
    fn advance(&self, mut state: DocState, prev: LeafIndex) -> Result<Change, RuleError> {
        let head = state.lane_head(self.authority);
        if head >= self.block_start {
            return Err(Refusal::LaneTaken(state.id).into());
        }
        if prev != head {
            return Err(Refusal::Lane { found: prev, head }.into());
        }
        let lane = Lane {
            authority: self.authority,
            head: self.index,
        };
        if state.lanes.set(lane).is_err() {
            return Err(Refusal::Full {
                document: state.id,
                what: "lanes",
                limit: MAX_ENTRIES,
            }
            .into());
        }
        Ok(Change::Document(state))
    }

    fn enrol<V: StateView + ?Sized>(
        &self,
        founding: &Founding,
        view: &V,
        key: &Key,
        (role, not_after_ms): (Role, TimeMs),
    ) -> Result<Change, RuleError> {
        if founding.names_key(key) || view.key_state(key)?.is_some() {
            return Err(Refusal::KeyKnown(*key).into());
        }
        let state = KeyState {
            authority: self.authority,
            role,
            enrolled: self.index,
            not_after_ms,
            retired: None,
            compromised_since: None,
        };
        Ok(Change::Key(*key, state))
    }

    fn retire_key<V: StateView + ?Sized>(
        &self,
        view: &V,
        key: &Key,
        compromised_since: Option<LeafIndex>,
    ) -> Result<Change, RuleError> {
        let mut state = view.key_state(key)?.ok_or(Refusal::UnknownKey(*key))?;
        check_owner(*key, &state, self.authority)?;
        if let Some(at) = state.retired {
            return Err(Refusal::KeyRetired { key: *key, at }.into());
        }
        if let Some(given) = compromised_since.filter(|given| *given > self.index) {
            let index = self.index;
            return Err(Refusal::CompromisedSince { given, index }.into());
        }
        state.retired = Some(self.index);
        state.compromised_since = compromised_since;
        Ok(Change::Key(*key, state))
    }
}

//! The trie against a naive second implementation, and its proofs against every small change.

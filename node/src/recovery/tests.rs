//! Recovery on real files.

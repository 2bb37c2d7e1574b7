//! Blocks built, checked and broken in every field.

//! Bytes as events, into the consensus engine.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzzing::engine(bytes));

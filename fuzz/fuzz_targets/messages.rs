//! Bytes from the network, into every decoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzzing::messages(bytes));

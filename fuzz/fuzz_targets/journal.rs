//! Bytes from a disk, into the journal's reader.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tests::fuzzing::journal(bytes));

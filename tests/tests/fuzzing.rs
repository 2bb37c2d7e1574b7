//! The functions behind the fuzz targets, given drawn bytes: none panics, and memory stays in bounds.

use proptest::prelude::*;
use std::fs;
use tests::fuzzing;

/// Most address space of this process in KiB: a length that is believed before its bytes are there asks for more.
const MAX_VIRTUAL_KIB: u64 = 3 << 20;
/// The first byte of every kind of message there is, of consensus and beside it.
const KINDS: [u8; 27] = [
    1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
    28,
];

/// The most address space that this process ever had.
fn peak_virtual_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    let number = peak.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("VmPeak")
}

/// Bytes with lengths in them that promise much.
fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop_oneof![Just(u32::MAX), Just(1 << 31), 0_u32..300]
            .prop_map(|length| length.to_le_bytes().to_vec()),
        1 => (0_usize..300).prop_map(|count| vec![0; count]),
    ];
    prop::collection::vec(piece, 0..most).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn decoders_of_the_network_take_any_bytes(kind in 0..KINDS.len(), rest in bytes(12)) {
        fuzzing::messages(&rest);
        fuzzing::messages(&[&[KINDS[kind]][..], &rest].concat());
        prop_assert!(peak_virtual_kib() < MAX_VIRTUAL_KIB);
    }

    #[test]
    fn the_journals_reader_takes_any_bytes(bytes in bytes(12)) {
        fuzzing::journal(&bytes);
        prop_assert!(peak_virtual_kib() < MAX_VIRTUAL_KIB);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_engine_takes_any_events(bytes in prop::collection::vec(any::<u8>(), 0..4_000)) {
        fuzzing::engine(&bytes);
        prop_assert!(peak_virtual_kib() < MAX_VIRTUAL_KIB);
    }
}

//! One flipped bit anywhere in a stopped node's files: harmless, repaired, named or refused; never served.

use tests::bitrot;
use tests::network::Network;

/// Two for each kind of file, and some under load; `scripts/bitrot` flips more.
const FLIPS: u64 = 25;

#[test]
fn a_flipped_bit_is_harmless_or_told_and_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let mut network = Network::found_with_params(dir.path(), 4, &bitrot::params()).unwrap();
    let table = bitrot::run(&mut network, FLIPS, 1, |_| ());
    for at in 0..4 {
        network.kill(at).unwrap();
    }
    let table = table.unwrap();
    println!("{table:?}");
    // Every flip of the archive is noticed, and none of them needs a person.
    let fates = table.keys().filter(|(kind, _)| *kind == "data/archive");
    assert!(
        fates
            .clone()
            .all(|(_, fate)| *fate == bitrot::Fate::Repaired)
    );
    assert_eq!(table.values().sum::<u32>(), u32::try_from(FLIPS).unwrap());
}

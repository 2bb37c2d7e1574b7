//! Every help text, whole: `help.txt` beside this file.

use crate::support::Desk;

#[test]
fn help_says_what_it_said_when_it_was_last_read() {
    let desk = Desk::at(&[]);
    let commands: [&[&str]; 17] = [
        &[],
        &["register"],
        &["verify"],
        &["show"],
        &["history"],
        &["supersede"],
        &["revoke"],
        &["receipt"],
        &["audit"],
        &["trust"],
        &["trust", "add"],
        &["trust", "show"],
        &["key"],
        &["key", "new"],
        &["key", "show"],
        &["key", "enrol"],
        &["key", "retire"],
    ];
    let mut shown = String::new();
    for command in commands {
        let arguments = [command, &["--help"]].concat();
        shown.push_str(&format!("$ nachweis {}\n", arguments.join(" ")));
        shown.push_str(&desk.run(&arguments));
        shown.push('\n');
    }
    let expected = include_str!("help.txt");
    let first = shown.lines().zip(expected.lines()).find(|(a, b)| a != b);
    assert!(
        shown == expected,
        "first difference: {first:?}; all:\n{shown}"
    );
}

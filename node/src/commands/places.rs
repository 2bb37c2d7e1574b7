//! Where a restored node has its data and its genesis: in its own directory, whatever the configuration in the backup
//! says. Of the machine that was lost it may name another disk; on a machine that was not lost, somebody else's data.

use crate::config::Storage;
use std::fmt;
use std::path::{Path, PathBuf};

/// A place that the configuration named elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    key: &'static str,
    from: PathBuf,
    to: &'static str,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to } = self;
        let from = from.display();
        write!(
            f,
            "storage.{key} was {from}, and is {to} in the restored node.toml"
        )
    }
}

/// What a configuration names elsewhere.
pub(super) fn elsewhere(
    storage: &Storage,
    data: &'static str,
    genesis: &'static str,
) -> Vec<Moved> {
    let places = [
        ("data", &storage.data, data),
        ("genesis", &storage.genesis, genesis),
    ];
    let moved = places
        .into_iter()
        .filter(|(_, from, to)| *from != Path::new(to));
    let moved = moved.map(|(key, from, to)| Moved {
        key,
        from: from.clone(),
        to,
    });
    moved.collect()
}

/// The text of a configuration with these places changed. `None` if it is none.
pub(super) fn bring_home(text: &str, moved: &[Moved]) -> Option<String> {
    let mut wanted: toml::Table = toml::from_str(text).ok()?;
    let storage = wanted.get_mut("storage")?.as_table_mut()?;
    for Moved { key, to, .. } in moved {
        storage.insert((*key).to_owned(), (*to).into());
    }
    let edited = edit(text, moved);
    if toml::from_str(&edited).ok().as_ref() == Some(&wanted) {
        return Some(edited);
    }
    // Written in a way that lines do not show: then without its comments.
    toml::to_string(&wanted).ok()
}

/// Line by line, so that comments stay.
fn edit(text: &str, moved: &[Moved]) -> String {
    let (mut in_storage, mut edited) = (false, String::new());
    for line in text.lines() {
        let bare = line.trim();
        if bare.starts_with('[') {
            in_storage = bare.starts_with("[storage]");
        }
        let key = bare.split_once('=').map(|(key, _)| key.trim());
        let found = moved.iter().find(|moved| Some(moved.key) == key);
        match found.filter(|_| in_storage) {
            Some(Moved { key, to, .. }) => {
                edited.push_str(&format!(
                    "# Before it was restored: {bare}\n{key} = \"{to}\"\n"
                ));
            }
            None => {
                edited.push_str(line);
                edited.push('\n');
            }
        }
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::template;

    const DATA: Moved = Moved {
        key: "data",
        from: PathBuf::new(),
        to: "data",
    };

    #[test]
    fn a_place_is_changed_and_the_rest_stays_as_written() {
        let text = template("/ip4/0.0.0.0/tcp/1", ([127, 0, 0, 1], 80).into());
        let other = text.replace("data = \"data\"", "data = \"/srv/nachweis\" # big disk");
        assert_ne!(other, text);
        let home = bring_home(&other, &[DATA]).unwrap();
        let added = "# Before it was restored: data = \"/srv/nachweis\" # big disk\n";
        assert_eq!(home.replace(added, ""), text);
    }

    #[test]
    fn also_where_lines_do_not_show_it() {
        let text = "storage = { data = \"/srv/x\", keys = \"k\" }\n[api]\ndata = \"z\"\n";
        let home: toml::Table = toml::from_str(&bring_home(text, &[DATA]).unwrap()).unwrap();
        assert_eq!(home["storage"]["data"].as_str(), Some("data"));
        assert_eq!(home["storage"]["keys"].as_str(), Some("k"));
        assert_eq!(home["api"]["data"].as_str(), Some("z"));
        assert_eq!(bring_home("[storage", &[DATA]), None);
    }
}

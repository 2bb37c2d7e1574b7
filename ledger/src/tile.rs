//! C2SP tlog-tiles: paths and contents of tiles and entry bundles (formats.md, section 7.5).

use crate::id::TreeSize;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Hashes of a full tile, entries of a full bundle.
pub const WIDTH: u16 = 256;

/// Highest tile level.
pub const MAX_LEVEL: u8 = 63;

/// What a path under the log's prefix asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `tile/<L>/<N>[.p/<W>]`: hashes.
    Hashes {
        /// Level, 0 for leaf hashes.
        level: u8,
        /// Which tile of the level.
        tile: Tile,
    },
    /// `tile/entries/<N>[.p/<W>]`: the leaves themselves.
    Entries(Tile),
}

/// Number and width of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Position among the tiles of its level.
    pub number: u64,
    /// Hashes or entries in it: 256 for a full one, else 1 to 255.
    pub width: u16,
}

impl Tile {
    /// First hash or entry of the tile.
    pub const fn start(&self) -> u64 {
        self.number.saturating_mul(WIDTH as u64)
    }

    /// Whether a tree of `size` leaves has this tile at `level`, as full or as partial one.
    pub const fn is_within(&self, level: u8, size: TreeSize) -> bool {
        let hashes = match size.0.checked_shr((level as u32).saturating_mul(8)) {
            Some(hashes) => hashes,
            None => 0,
        };
        self.start().saturating_add(self.width as u64) <= hashes
    }

    fn path(&self) -> String {
        let mut groups = Vec::new();
        let mut rest = self.number;
        loop {
            groups.push(rest % 1000);
            rest /= 1000;
            if rest == 0 {
                break;
            }
        }
        let last = groups.len().saturating_sub(1);
        let mut path = String::new();
        for (at, group) in groups.iter().rev().enumerate() {
            let text = if at == last {
                format!("{group:03}")
            } else {
                format!("x{group:03}/")
            };
            path.push_str(&text);
        }
        if self.width < WIDTH {
            path.push_str(&format!(".p/{}", self.width));
        }
        path
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, width) = match text.split_once(".p/") {
            Some((number, width)) => (
                number,
                parse_canonical(width).filter(|w| (1..256).contains(w))?,
            ),
            None => (text, u64::from(WIDTH)),
        };
        let mut value = 0_u64;
        let mut groups = number.split('/').peekable();
        while let Some(group) = groups.next() {
            let digits = if groups.peek().is_some() {
                group.strip_prefix('x')?
            } else {
                group
            };
            if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            value = value.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        let tile = Self {
            number: value,
            width: u16::try_from(width).ok()?,
        };
        (tile.path() == text).then_some(tile)
    }
}

/// A decimal number without sign or leading zeros.
pub(crate) fn parse_canonical(text: &str) -> Option<u64> {
    let value: u64 = text.parse().ok()?;
    (format!("{value}") == text).then_some(value)
}

impl Resource {
    /// The path below the log's prefix, `tile/…`.
    pub fn path(&self) -> String {
        match self {
            Self::Hashes { level, tile } => format!("tile/{level}/{}", tile.path()),
            Self::Entries(tile) => format!("tile/entries/{}", tile.path()),
        }
    }

    /// Parses a path below the log's prefix; `None` for any but the canonical form.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, tile) = path.strip_prefix("tile/")?.split_once('/')?;
        let tile = Tile::parse(tile)?;
        if kind == "entries" {
            return Some(Self::Entries(tile));
        }
        let level = u8::try_from(parse_canonical(kind)?).ok()?;
        (level <= MAX_LEVEL).then_some(Self::Hashes { level, tile })
    }
}

/// Appends an entry to a bundle: u16 big-endian length ‖ entry. `None` if it is over 65,535 bytes.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Option<()> {
    let length = u16::try_from(entry.len()).ok()?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Some(())
}

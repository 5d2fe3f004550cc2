//! What a power cut leaves: all that is durable, and of the rest whatever chance lets through.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::disk::{Change, Disk, Entry, Kind, Node, TOP, Thing, Turn, names_in, set};
use crate::support::kills::Dice;

/// How what was not synced fares. Chances are quarters: 0 never, 4 always.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fate {
    /// Everything that was asked for before survives, as if it had been written in order until then.
    pub(crate) until: Turn,
    /// Of what came later: a change of names survives.
    pub(crate) names: u64,
    /// And a piece of a write does.
    pub(crate) contents: u64,
    /// A write is torn into pieces of so many bytes.
    pub(crate) piece: usize,
    /// A write that is lost has made its file longer all the same, with zeros or with what lay there before in its place.
    pub(crate) filler: Option<Filler>,
}

/// What stands where contents were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filler {
    Zeros,
    Junk,
}

impl Fate {
    /// Only what was synced.
    pub(crate) const NOTHING: Self = Self { until: 0, names: 0, contents: 0, piece: 4096, filler: None };
    /// As programs see it.
    pub(crate) const EVERYTHING: Self = Self { until: Turn::MAX, ..Self::NOTHING };

    /// Nothing but what was synced, names without contents, and contents without names.
    pub(crate) const WORST: [Self; 3] =
        [Self::NOTHING, Self { names: 4, ..Self::NOTHING }, Self { contents: 4, ..Self::NOTHING }];

    /// Each way in which file systems are known to lose things comes often: nothing but what was synced, in order up to some moment, names
    /// without contents, contents without names, and anything.
    pub(crate) fn drawn(disk: &Disk, dice: &mut Dice) -> Self {
        let waiting = disk.waiting.iter().map(|naming| naming.turn);
        let waiting = waiting.chain(disk.things.iter().flat_map(|thing| thing.waiting.iter().map(|(turn, _)| *turn)));
        let turns: Vec<Turn> = waiting.collect();
        let some = turns.get(usize::try_from(dice.below(turns.len().max(1) as u64)).unwrap_or_default());
        let filler =
            [None, Some(Filler::Zeros), Some(Filler::Junk)][usize::try_from(dice.below(3)).unwrap_or_default()];
        let piece = if dice.below(2) == 0 { 512 } else { 4096 };
        let fate = Self { piece, filler, ..Self::NOTHING };
        match dice.below(10) {
            0..=2 => Self::NOTHING,
            3 => Self::EVERYTHING,
            4..=5 => Self { until: some.copied().unwrap_or_default() + dice.below(2), ..fate },
            6 => Self { names: 4, ..fate },
            7 => Self { contents: 4, ..fate },
            _ => Self { names: 1 + dice.below(3), contents: 1 + dice.below(3), ..fate },
        }
    }
}

/// What is found when the power is back, by path; directories come before what is in them.
pub(crate) type Image = BTreeMap<PathBuf, Found>;

/// One thing that is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Found {
    Directory,
    File(Vec<u8>),
    Link(PathBuf),
    Other,
}

/// What a disk leaves.
pub(crate) fn image(disk: &Disk, fate: &Fate, dice: &mut Dice) -> Image {
    let mut names = disk.kept.clone();
    // A change of a name that did not survive takes every later change of that name with it.
    let mut lost: BTreeSet<&Entry> = BTreeSet::new();
    for naming in &disk.waiting {
        let keys = || naming.entries.iter().map(|(entry, _)| entry);
        let lives = naming.turn < fate.until || dice.below(4) < fate.names;
        match lives && !keys().any(|entry| lost.contains(entry)) {
            true => set(&mut names, &naming.entries),
            false => lost.extend(keys()),
        }
    }
    let mut image = Image::new();
    walk(disk, &names, TOP, Path::new(""), fate, dice, &mut image);
    image
}

fn walk(
    disk: &Disk,
    names: &BTreeMap<Entry, Node>,
    top: Node,
    path: &Path,
    fate: &Fate,
    dice: &mut Dice,
    image: &mut Image,
) {
    for (name, node) in names_in(names, top) {
        let (path, thing) = (path.join(name), &disk.things[node]);
        let found = match &thing.kind {
            Kind::Directory => Found::Directory,
            Kind::File => Found::File(contents(thing, fate, dice)),
            Kind::Link(target) => Found::Link(target.clone()),
            Kind::Other => Found::Other,
        };
        image.insert(path.clone(), found);
        if thing.kind == Kind::Directory {
            walk(disk, names, node, &path, fate, dice, image);
        }
    }
}

fn contents(thing: &Thing, fate: &Fate, dice: &mut Dice) -> Vec<u8> {
    let mut left = thing.kept.clone();
    for (turn, change) in &thing.waiting {
        let mut survives = || *turn < fate.until || dice.below(4) < fate.contents;
        match change {
            Change::Write { at, bytes } => {
                // Pieces begin where those of the disk do.
                let first = fate.piece - at % fate.piece;
                let cuts = (first..bytes.len()).step_by(fate.piece).chain([bytes.len()]);
                let pieces = cuts.scan(0, |from, to| Some(std::mem::replace(from, to)..to));
                for piece in pieces.collect::<Vec<_>>() {
                    let (at, bytes) = (at + piece.start, &bytes[piece]);
                    match (survives(), fate.filler) {
                        (true, _) => Change::Write { at, bytes: bytes.into() }.apply(&mut left),
                        (false, None) => {}
                        (false, Some(filler)) => fill(&mut left, at + bytes.len(), filler),
                    }
                }
            }
            other if survives() => other.apply(&mut left),
            _ => {}
        }
    }
    left
}

fn fill(contents: &mut Vec<u8>, length: usize, filler: Filler) {
    let junk = |at: usize| (at.wrapping_mul(131) ^ at >> 7) as u8;
    for at in contents.len()..length {
        contents.push(if filler == Filler::Junk { junk(at) } else { 0 });
    }
}

/// Puts what was found below a directory.
pub(crate) fn lay_out<'i>(top: &Path, image: impl IntoIterator<Item = (&'i PathBuf, &'i Found)>) {
    for (path, found) in image {
        let path = top.join(path);
        let done = match found {
            Found::Directory => fs::DirBuilder::new().recursive(true).mode(0o700).create(&path),
            Found::Link(target) => std::os::unix::fs::symlink(target, &path),
            // The name stays when the socket is gone.
            Found::Other => {
                // A path that is too long for a socket has none; nothing depends on it.
                drop(UnixListener::bind(&path));
                Ok(())
            }
            Found::File(bytes) => {
                let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
                file.and_then(|mut file| std::io::Write::write_all(&mut file, bytes))
            }
        };
        done.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> &Path {
        Path::new(text)
    }

    fn disk() -> Disk {
        Disk::read(tempfile::tempdir().unwrap().path())
    }

    fn write(disk: &mut Disk, node: Node, at: usize, bytes: &[u8]) {
        disk.change(node, Change::Write { at, bytes: bytes.into() });
    }

    fn left(disk: &Disk, fate: Fate) -> Vec<(String, Vec<u8>)> {
        let bytes = |found| match found {
            Found::File(bytes) => bytes,
            _ => Vec::new(),
        };
        let image = image(disk, &fate, &mut Dice(1));
        image.into_iter().map(|(path, found)| (path.display().to_string(), bytes(found))).collect()
    }

    fn file(name: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        vec![(name.to_owned(), bytes.to_owned())]
    }

    #[test]
    fn a_file_needs_a_sync_of_its_contents_and_one_of_its_name() {
        for (contents, name, wanted) in [
            (false, false, vec![]),
            (true, false, vec![]),
            (false, true, file("a", b"")),
            (true, true, file("a", b"text")),
        ] {
            let mut disk = disk();
            let node = disk.create(path("a"), Kind::File);
            write(&mut disk, node, 0, b"text");
            if contents {
                disk.sync(node, disk.turn());
            }
            if name {
                disk.sync(TOP, disk.turn());
            }
            assert_eq!(left(&disk, Fate::NOTHING), wanted, "contents {contents}, name {name}");
            assert_eq!(left(&disk, Fate::EVERYTHING), file("a", b"text"));
        }
    }

    #[test]
    fn a_sync_makes_nothing_durable_that_was_asked_for_after_it_began() {
        let mut disk = disk();
        let node = disk.create(path("a"), Kind::File);
        write(&mut disk, node, 0, b"old");
        let began = disk.turn();
        write(&mut disk, node, 0, b"new");
        disk.create(path("b"), Kind::File);
        disk.sync_all(began);
        assert_eq!(left(&disk, Fate::NOTHING), file("a", b"old"));
        let later = disk.turn();
        disk.sync_all(later);
        assert_eq!(left(&disk, Fate::NOTHING).len(), 2);
    }

    #[test]
    fn a_file_that_is_renamed_is_in_one_place_whatever_survives() {
        let mut disk = disk();
        disk.create(path("from"), Kind::Directory);
        disk.create(path("to"), Kind::Directory);
        disk.create(path("from/a"), Kind::File);
        disk.sync_all(disk.turn());
        disk.rename(path("from/a"), path("to/b"));
        for seed in 0..50 {
            let fate = Fate { names: 2, ..Fate::NOTHING };
            let image = image(&disk, &fate, &mut Dice(seed));
            let places = ["from/a", "to/b"].map(|name| image.contains_key(path(name)));
            assert!(places[0] != places[1], "{places:?}");
        }
        // A sync of either directory is enough for both.
        let from = disk.look(path("from")).unwrap();
        disk.sync(from, disk.turn());
        assert!(image(&disk, &Fate::NOTHING, &mut Dice(0)).contains_key(path("to/b")));
    }

    #[test]
    fn what_lies_in_a_directory_without_a_durable_name_is_lost_with_it() {
        let mut disk = disk();
        let directory = disk.create(path("d"), Kind::Directory);
        let node = disk.create(path("d/a"), Kind::File);
        disk.sync(node, disk.turn());
        disk.sync(directory, disk.turn());
        assert_eq!(left(&disk, Fate::NOTHING), vec![]);
    }

    #[test]
    fn a_write_is_torn_where_pieces_of_the_disk_begin() {
        let mut disk = disk();
        let node = disk.create(path("a"), Kind::File);
        write(&mut disk, node, 0, &[0; 2048]);
        disk.sync_all(disk.turn());
        write(&mut disk, node, 500, &[1; 1500]);
        let fate = Fate { contents: 2, piece: 512, ..Fate::NOTHING };
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let image = image(&disk, &fate, &mut Dice(seed));
            let Found::File(bytes) = &image[path("a")] else { panic!("no file") };
            let pieces = [500..512, 512..1024, 1024..1536, 1536..2000];
            let whole =
                |piece: &std::ops::Range<usize>| bytes[piece.clone()].iter().all(|byte| *byte == bytes[piece.start]);
            assert!(pieces.iter().all(whole) && bytes[..500].iter().chain(&bytes[2000..]).all(|byte| *byte == 0));
            seen.insert(pieces.map(|piece| bytes[piece.start]));
        }
        assert_eq!(seen.len(), 16, "every combination comes");
    }

    #[test]
    fn a_write_that_is_lost_may_still_have_made_its_file_longer() {
        let mut disk = disk();
        let node = disk.create(path("a"), Kind::File);
        disk.sync_all(disk.turn());
        write(&mut disk, node, 0, b"text");
        let fate = |filler| Fate { filler, ..Fate::NOTHING };
        assert_eq!(left(&disk, fate(None)), file("a", b""));
        assert_eq!(left(&disk, fate(Some(Filler::Zeros))), file("a", b"\0\0\0\0"));
        assert_ne!(left(&disk, fate(Some(Filler::Junk))), file("a", b"text"));
    }
}

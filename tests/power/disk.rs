//! A model of a file system that knows what is durable. It promises what POSIX promises and no more: a sync of a file makes its contents
//! durable and not its name, a sync of a directory makes the names in it durable and not what they lead to, and whatever was not synced
//! may be there after a power cut, or not, in any order. One thing more is taken for granted, as every journalling file system gives it: a
//! rename happens as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// A file or directory, by its place in the list of all that ever were.
pub(crate) type Node = usize;

/// The directory that everything lies in.
pub(crate) const TOP: Node = 0;

/// A name in a directory.
pub(crate) type Entry = (Node, OsString);

/// When something was asked for: a number that only grows.
pub(crate) type Turn = u64;

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Link(PathBuf),
    /// A socket or a pipe; nothing of it is durable but its name.
    Other,
}

/// A change of what a file holds.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Write {
        at: usize,
        bytes: Rc<[u8]>,
    },
    Length(usize),
    /// Room is made; a file that is larger already stays so.
    AtLeast(usize),
}

impl Change {
    pub(crate) fn apply(&self, contents: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                contents.resize(contents.len().max(at + bytes.len()), 0);
                contents[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Length(length) => contents.resize(*length, 0),
            Self::AtLeast(length) => contents.resize(contents.len().max(*length), 0),
        }
    }
}

/// A file or a directory. Names are kept apart, since nothing but directories has them.
#[derive(Debug, Clone)]
pub(crate) struct Thing {
    pub(crate) kind: Kind,
    /// What programs see in it.
    pub(crate) now: Vec<u8>,
    /// What a power cut leaves at least.
    pub(crate) kept: Vec<u8>,
    /// What was asked for since.
    pub(crate) waiting: Vec<(Turn, Change)>,
}

/// Names that change together.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    pub(crate) turn: Turn,
    pub(crate) entries: Vec<(Entry, Option<Node>)>,
}

/// See the file.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    pub(crate) things: Vec<Thing>,
    pub(crate) names: BTreeMap<Entry, Node>,
    pub(crate) kept: BTreeMap<Entry, Node>,
    pub(crate) waiting: Vec<Naming>,
    turn: Turn,
}

impl Disk {
    /// What lies below a directory now, all of it durable.
    pub(crate) fn read(top: &Path) -> Self {
        let things = vec![Thing { kind: Kind::Directory, now: Vec::new(), kept: Vec::new(), waiting: Vec::new() }];
        let mut disk = Self { things, names: BTreeMap::new(), kept: BTreeMap::new(), waiting: Vec::new(), turn: 0 };
        disk.read_below(top, Path::new(""));
        disk.sync_all(disk.turn);
        disk
    }

    fn read_below(&mut self, top: &Path, below: &Path) {
        for entry in fs::read_dir(top.join(below)).expect("a directory") {
            let (path, entry) = (below.join(entry.as_ref().expect("an entry").file_name()), entry.expect("an entry"));
            let kind = entry.file_type().expect("a type");
            if kind.is_dir() {
                self.create(&path, Kind::Directory);
                self.read_below(top, &path);
            } else if kind.is_symlink() {
                self.create(&path, Kind::Link(fs::read_link(entry.path()).expect("a link")));
            } else if kind.is_socket() || kind.is_fifo() {
                self.create(&path, Kind::Other);
            } else {
                let node = self.create(&path, Kind::File);
                self.change(node, Change::Write { at: 0, bytes: fs::read(entry.path()).expect("a file").into() });
            }
        }
    }

    /// The turn of what is asked for next.
    pub(crate) const fn turn(&self) -> Turn {
        self.turn
    }

    fn next(&mut self) -> Turn {
        self.turn += 1;
        self.turn - 1
    }

    /// What a path leads to now. Links are not followed.
    pub(crate) fn look(&self, path: &Path) -> Option<Node> {
        path.components().try_fold(TOP, |node, part| match part {
            Component::Normal(name) => self.names.get(&(node, name.to_owned())).copied(),
            _ => None,
        })
    }

    /// The entry that a path names, whether or not there is something; `None` when its directory is not there.
    pub(crate) fn entry(&self, path: &Path) -> Option<Entry> {
        let parent = self.look(path.parent()?)?;
        Some((parent, path.file_name()?.to_owned()))
    }

    fn entry_of(&self, path: &Path) -> Entry {
        self.entry(path).unwrap_or_else(|| panic!("{} is in no directory that is known", path.display()))
    }

    pub(crate) fn create(&mut self, path: &Path, kind: Kind) -> Node {
        let entry = self.entry_of(path);
        self.things.push(Thing { kind, now: Vec::new(), kept: Vec::new(), waiting: Vec::new() });
        let node = self.things.len() - 1;
        self.rename_all(vec![(entry, Some(node))]);
        node
    }

    pub(crate) fn link(&mut self, node: Node, path: &Path) {
        self.rename_all(vec![(self.entry_of(path), Some(node))]);
    }

    /// Takes a name away; of one that was never known, such as that of a socket, there is nothing to take.
    pub(crate) fn remove(&mut self, path: &Path) {
        if self.look(path).is_some() {
            self.rename_all(vec![(self.entry_of(path), None)]);
        }
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) {
        let node = self.look(from).unwrap_or_else(|| panic!("{} is not known", from.display()));
        self.rename_all(vec![(self.entry_of(from), None), (self.entry_of(to), Some(node))]);
    }

    pub(crate) fn exchange(&mut self, one: &Path, other: &Path) {
        let (first, second) = (self.look(one), self.look(other));
        self.rename_all(vec![(self.entry_of(one), second), (self.entry_of(other), first)]);
    }

    fn rename_all(&mut self, entries: Vec<(Entry, Option<Node>)>) {
        set(&mut self.names, &entries);
        let turn = self.next();
        self.waiting.push(Naming { turn, entries });
    }

    pub(crate) fn change(&mut self, node: Node, change: Change) {
        let turn = self.next();
        change.apply(&mut self.things[node].now);
        self.things[node].waiting.push((turn, change));
    }

    /// Makes durable what was asked for before a turn: of a file its contents, of a directory its names.
    pub(crate) fn sync(&mut self, node: Node, until: Turn) {
        match self.things[node].kind {
            Kind::Directory => self.keep_names(until, |entries| entries.iter().any(|((parent, _), _)| *parent == node)),
            _ => self.keep_contents(node, until),
        }
    }

    /// Makes everything durable that was asked for before a turn.
    pub(crate) fn sync_all(&mut self, until: Turn) {
        self.keep_names(until, |_| true);
        (0..self.things.len()).for_each(|node| self.keep_contents(node, until));
    }

    fn keep_contents(&mut self, node: Node, until: Turn) {
        let thing = &mut self.things[node];
        let ready = thing.waiting.partition_point(|(turn, _)| *turn < until);
        for (_, change) in thing.waiting.drain(..ready) {
            change.apply(&mut thing.kept);
        }
    }

    /// What was done to the same name before goes first, in whatever directory the other end of it lies.
    fn keep_names(&mut self, until: Turn, wanted: impl Fn(&[(Entry, Option<Node>)]) -> bool) {
        let mut needed: BTreeSet<Entry> = BTreeSet::new();
        let mut chosen = BTreeSet::new();
        for naming in self.waiting.iter().rev().filter(|naming| naming.turn < until) {
            if wanted(&naming.entries) || naming.entries.iter().any(|(entry, _)| needed.contains(entry)) {
                needed.extend(naming.entries.iter().map(|(entry, _)| entry.clone()));
                chosen.insert(naming.turn);
            }
        }
        let waiting = std::mem::take(&mut self.waiting);
        for naming in waiting {
            match chosen.contains(&naming.turn) {
                true => set(&mut self.kept, &naming.entries),
                false => self.waiting.push(naming),
            }
        }
    }
}

/// Gives names to what they lead to from now on.
pub(crate) fn set(names: &mut BTreeMap<Entry, Node>, entries: &[(Entry, Option<Node>)]) {
    for (entry, node) in entries {
        match node {
            Some(node) => drop(names.insert(entry.clone(), *node)),
            None => drop(names.remove(entry)),
        }
    }
}

/// The names in a directory, in order.
pub(crate) fn names_in(names: &BTreeMap<Entry, Node>, node: Node) -> impl Iterator<Item = (&OsStr, Node)> {
    let from = (node, OsString::new());
    names.range(from..(node + 1, OsString::new())).map(|((_, name), node)| (name.as_os_str(), *node))
}

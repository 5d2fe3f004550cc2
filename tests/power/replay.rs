//! Plays recorded calls on the model of a disk. A call that could change a file below the directory that is watched, and that is not
//! modelled, ends the test: what is not understood proves nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use crate::disk::{Change, Disk, Kind, Node, Turn};
use crate::trace::{Answer, Argument, Call, Moment};

/// The environment variable by which a program is known to belong to an attempt.
const TOKEN: &[u8] = b"MANIFESTD_ATTEMPT=";

/// What a sync makes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    /// Rows, and the log of the database.
    Database,
    /// What is in any other file.
    Contents,
    /// Names in a directory.
    Names,
    /// Names in the directory that is watched itself.
    TopNames,
    /// Everything on the disk.
    Whole,
}

impl Sort {
    fn of(call: &Call, path: &Path, kind: &Kind) -> Self {
        match kind {
            _ if is_of_all(call) => Self::Whole,
            Kind::File if path.to_string_lossy().contains("manifestd.db") => Self::Database,
            Kind::File => Self::Contents,
            _ if path == Path::new("") => Self::TopNames,
            _ => Self::Names,
        }
    }
}

fn is_of_all(call: &Call) -> bool {
    matches!(call.name.as_str(), "syncfs" | "sync")
}

/// What a call was about when it began.
#[derive(Clone, Copy)]
struct Begun {
    node: Option<Node>,
    turn: Turn,
}

/// See the file.
pub(crate) struct Replay<'r> {
    pub(crate) disk: Disk,
    /// Lines that somebody outside has seen, and attempts whose program was started.
    pub(crate) told: Vec<String>,
    top: &'r Path,
    out: &'r Path,
    /// What is printed and has no end of its line yet.
    line: Vec<u8>,
    begun: HashMap<u32, Begun>,
    family: &'r Family,
    directories: HashMap<u32, PathBuf>,
    /// Where the next write without a place goes, for each open file.
    places: HashMap<(u32, i64), usize>,
    /// The paths of open files, by which `/proc/self/fd/` names what lies in them.
    open: HashMap<(u32, i64), PathBuf>,
    forgets: Option<Sort>,
    /// How many syncs of each sort were asked for.
    pub(crate) asked: BTreeMap<Sort, usize>,
}

/// Who belongs to whom, by numbers of threads; a process has that of its first one.
#[derive(Default)]
pub(crate) struct Family {
    /// The thread that made a thread of its own process.
    threads: HashMap<u32, u32>,
    /// The thread that made another process, which begins with the same open files.
    processes: HashMap<u32, u32>,
}

impl Family {
    pub(crate) fn of(moments: &[Moment]) -> Self {
        let mut family = Self::default();
        let (mut firsts, mut begun, mut untold) = (HashMap::new(), HashMap::new(), Vec::new());
        for (at, moment) in moments.iter().enumerate() {
            match moment {
                Moment::Begins(call) => {
                    firsts.entry(call.thread).or_insert(at);
                    begun.insert(call.thread, at);
                }
                Moment::Ends(call, answer) if call.name.starts_with("clone") || call.name.ends_with("fork") => {
                    match answer.as_ref().map(|answer| u32::try_from(answer.number)) {
                        Some(Ok(child)) => family.made(call, child),
                        Some(Err(_)) => {}
                        None => untold.push((begun[&call.thread], call)),
                    }
                }
                Moment::Ends(..) => {}
            }
        }
        // Who was killed before it was told whom it had made; what it made lives on.
        for (thread, first) in firsts {
            let maker = untold.iter().filter(|(begun, _)| *begun < first).max_by_key(|(begun, _)| *begun);
            if let Some((_, call)) = maker.filter(|_| !family.knows(thread)) {
                family.made(call, thread);
            }
        }
        family
    }

    fn made(&mut self, call: &Call, child: u32) {
        let is_thread = call.arguments.iter().any(|argument| argument.raw.contains("CLONE_THREAD"));
        let of = if is_thread { &mut self.threads } else { &mut self.processes };
        of.insert(child, call.thread);
    }

    fn knows(&self, thread: u32) -> bool {
        self.threads.contains_key(&thread) || self.processes.contains_key(&thread)
    }

    /// Whose thread it is. A thread may have made others before its own maker was told its number, so only the whole recording says.
    fn process(&self, thread: u32) -> u32 {
        std::iter::successors(Some(thread), |thread| self.threads.get(thread).copied()).last().unwrap_or(thread)
    }

    /// A process, the one that made it, and so on.
    fn line(&self, process: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(process), |process| Some(self.process(*self.processes.get(process)?)))
    }
}

impl<'r> Replay<'r> {
    /// `top` is watched, and what is written to `out` is told. `disk` is what lay below `top` when the recording began. A sync of the sort that
    /// it `forgets` is played as if the program had left it out.
    pub(crate) fn new(disk: Disk, (top, out): (&'r Path, &'r Path), family: &'r Family, forgets: Option<Sort>) -> Self {
        Self {
            disk,
            told: Vec::new(),
            top,
            out,
            line: Vec::new(),
            begun: HashMap::new(),
            family,
            directories: HashMap::new(),
            places: HashMap::new(),
            open: HashMap::new(),
            forgets,
            asked: BTreeMap::new(),
        }
    }

    /// Goes on by one moment.
    pub(crate) fn step(&mut self, moment: &Moment) {
        match moment {
            Moment::Begins(call) => {
                // Named by its path now; when the call has ended it may be called otherwise.
                let file = call.arguments.first().filter(|file| !file.is_nameless());
                let node = file.and_then(|file| self.below(file.path.as_ref()?)).and_then(|path| self.disk.look(&path));
                self.begun.insert(call.thread, Begun { node, turn: self.disk.turn() });
            }
            Moment::Ends(call, Some(answer)) if answer.number >= 0 => {
                let begun = self.begun[&call.thread];
                self.ended(call, answer, begun);
            }
            Moment::Ends(..) => {}
        }
    }

    fn ended(&mut self, call: &Call, answer: &Answer, begun: Begun) {
        let arguments = call.arguments.as_slice();
        match call.name.as_str() {
            "open" | "openat" | "openat2" | "creat" => self.opened(call, answer),
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => self.written(call, answer, begun),
            "lseek" => self.move_to(call, position(answer.number)),
            "dup" | "dup2" | "dup3" => self.doubled(call, answer),
            "fcntl" if arguments[1].raw.starts_with("F_DUPFD") => self.doubled(call, answer),
            "fcntl" => {}
            "ftruncate" | "truncate" | "fallocate" => self.sized(call, begun),
            "fsync" | "fdatasync" | "syncfs" | "sync" => self.synced(call, begun),
            "execve" => self.started(arguments),
            "clone" | "clone3" | "fork" | "vfork" => self.cloned(call, answer),
            "chdir" => self.go_to(call.thread, self.absolute(call.thread, &arguments[0].name())),
            "fchdir" => arguments[0].path.iter().for_each(|path| self.go_to(call.thread, path.clone())),
            // Writes nothing by itself.
            "sync_file_range" => {}
            "mmap" => {
                let raw = |at: usize| arguments[at].raw.as_str();
                let writes = raw(2).contains("PROT_WRITE") && raw(3).contains("MAP_SHARED");
                let path = arguments[4].path.as_ref().filter(|path| writes && self.below(path).is_some());
                // The index of the log is made anew after a power cut; nothing else may be written behind our back.
                assert!(
                    path.is_none_or(|path| path.to_string_lossy().ends_with("-shm")),
                    "mapped for writing: {call:?}"
                );
            }
            "bind" => self.bound(call),
            "mknod" | "mknodat" | "mkdir" | "mkdirat" | "symlink" | "symlinkat" | "link" | "linkat" | "unlink"
            | "unlinkat" | "rmdir" | "rename" | "renameat" | "renameat2" => self.named(call),
            _ => assert!(!self.concerns(call), "not modelled: {call:?}"),
        }
    }

    fn synced(&mut self, call: &Call, begun: Begun) {
        let path = call.arguments.first().and_then(|file| self.below(file.path.as_ref()?));
        if let (Some(path), Some(node)) = (path, begun.node) {
            let sort = Sort::of(call, &path, &self.disk.things[node].kind);
            *self.asked.entry(sort).or_default() += 1;
            if self.forgets == Some(sort) {
                return;
            }
        }
        match (is_of_all(call), begun.node) {
            (true, _) => self.disk.sync_all(begun.turn),
            (false, Some(node)) => self.disk.sync(node, begun.turn),
            (false, None) => {}
        }
    }

    /// The path below the watched directory.
    fn below(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(self.top).ok().map(Path::to_owned)
    }

    fn concerns(&self, call: &Call) -> bool {
        call.arguments.iter().filter_map(|argument| argument.path.as_ref()).any(|path| self.below(path).is_some())
    }

    /// A path as the program gave it, without dots.
    fn absolute(&self, thread: u32, path: &Path) -> PathBuf {
        let process = self.process(thread);
        if let Ok(held) = path.strip_prefix("/proc/self/fd") {
            let mut parts = held.components();
            let number = parts.next().and_then(|part| part.as_os_str().to_str()?.parse().ok()).unwrap_or_default();
            let held = self.family.line(process).find_map(|process| self.open.get(&(process, number)));
            let held = held.unwrap_or_else(|| panic!("{} is not open", path.display()));
            return held.join(parts.as_path());
        }
        let mut whole = self.directories.get(&process).map_or(self.top, PathBuf::as_path).to_owned();
        for part in path.components() {
            match part {
                Component::ParentDir => drop(whole.pop()),
                Component::CurDir => {}
                other => whole.push(other),
            }
        }
        whole
    }

    fn go_to(&mut self, thread: u32, directory: PathBuf) {
        self.directories.insert(self.process(thread), directory);
    }

    fn process(&self, thread: u32) -> u32 {
        self.family.process(thread)
    }

    fn cloned(&mut self, call: &Call, answer: &Answer) {
        let (parent, child) = (self.process(call.thread), u32::try_from(answer.number).unwrap_or_default());
        // It may have moved before its parent was told its number.
        if let Some(directory) = self.directories.get(&parent).cloned() {
            self.directories.entry(self.process(child)).or_insert(directory);
        }
    }

    fn move_to(&mut self, call: &Call, place: usize) {
        self.places.insert((self.process(call.thread), call.arguments[0].number()), place);
    }

    fn doubled(&mut self, call: &Call, answer: &Answer) {
        let (process, from) = (self.process(call.thread), call.arguments[0].number());
        if let Some(path) = self.open.get(&(process, from)).cloned() {
            self.open.insert((process, answer.number), path);
        }
    }

    fn opened(&mut self, call: &Call, answer: &Answer) {
        if let Some(path) = &answer.path {
            self.open.insert((self.process(call.thread), answer.number), path.clone());
        }
        let Some(path) = answer.path.as_ref().and_then(|path| self.below(path)) else { return };
        let raw: String = call.arguments.iter().map(|argument| argument.raw.as_str()).collect();
        let node = match self.disk.look(&path) {
            Some(node) => node,
            None if raw.contains("O_CREAT") || call.name == "creat" => self.disk.create(&path, Kind::File),
            None => return,
        };
        if (raw.contains("O_TRUNC") || call.name == "creat") && !self.disk.things[node].now.is_empty() {
            self.disk.change(node, Change::Length(0));
        }
        let end = self.disk.things[node].now.len();
        let place = if raw.contains("O_APPEND") { end } else { 0 };
        self.places.insert((self.process(call.thread), answer.number), place);
    }

    fn written(&mut self, call: &Call, answer: &Answer, begun: Begun) {
        let (file, mut bytes) = (&call.arguments[0], call.arguments[1].bytes());
        bytes.truncate(position(answer.number));
        if file.path.as_deref() == Some(self.out) {
            return self.tell(&bytes);
        }
        let Some(node) = begun.node else { return };
        let at = match call.name.starts_with('p') {
            true => position(call.arguments[3].number()),
            false => {
                let place = self.places.entry((self.process(call.thread), file.number())).or_default();
                std::mem::replace(place, *place + bytes.len())
            }
        };
        self.disk.change(node, Change::Write { at, bytes: Rc::from(bytes) });
    }

    fn sized(&mut self, call: &Call, begun: Begun) {
        let node = match call.name.as_str() {
            "truncate" => self.named_node(call, 0),
            _ => begun.node,
        };
        let Some(node) = node else { return };
        let number = |at: usize| position(call.arguments[at].number());
        let change = match call.name.as_str() {
            "fallocate" => {
                assert_eq!(call.arguments[1].raw, "0", "not modelled: {call:?}");
                Change::AtLeast(number(2) + number(3))
            }
            _ => Change::Length(number(1)),
        };
        self.disk.change(node, change);
    }

    fn named_node(&self, call: &Call, at: usize) -> Option<Node> {
        self.disk.look(&self.path(call, at)?)
    }

    /// The path that is given by the argument there; behind an open directory, if there is one, for the calls whose name ends with `at`.
    fn path(&self, call: &Call, at: usize) -> Option<PathBuf> {
        let name = call.arguments[at].name();
        let directory = at.checked_sub(1).and_then(|at| call.arguments[at].path.as_ref());
        let path = match directory.filter(|_| name.is_relative()) {
            Some(directory) => directory.join(name),
            None => name,
        };
        self.below(&self.absolute(call.thread, &path))
    }

    /// Changes of names.
    fn named(&mut self, call: &Call) {
        // `unlinkat(directory, name, 0)` is `unlink(name)` with one argument in front of each name.
        let names: Vec<usize> = (0..call.arguments.len()).filter(|&at| !call.arguments[at].texts.is_empty()).collect();
        let paths: Vec<Option<PathBuf>> = match call.name.starts_with("symlink") {
            true => vec![self.path(call, names[1])],
            false => names.iter().map(|&at| self.path(call, at)).collect(),
        };
        let paths: Vec<PathBuf> = match paths.iter().flatten().count() {
            0 => return,
            count => {
                assert_eq!(count, paths.len(), "into the directory that is watched, or out of it: {call:?}");
                paths.into_iter().flatten().collect()
            }
        };
        let flags = call.arguments.last().map(|flags| flags.raw.as_str()).unwrap_or_default();
        match call.name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches("at") {
            "mkdir" => drop(self.disk.create(&paths[0], Kind::Directory)),
            "mknod" => drop(self.disk.create(&paths[0], Kind::Other)),
            "symlink" => {
                let target = call.arguments[names[0]].name();
                self.disk.create(&paths[0], Kind::Link(target));
            }
            "link" => {
                let node = self.disk.look(&paths[0]).unwrap_or_else(|| panic!("not known: {call:?}"));
                self.disk.link(node, &paths[1]);
            }
            "unlink" | "rmdir" => self.disk.remove(&paths[0]),
            "rename" if flags.contains("RENAME_EXCHANGE") => self.disk.exchange(&paths[0], &paths[1]),
            "rename" => self.disk.rename(&paths[0], &paths[1]),
            other => panic!("{other} is not modelled"),
        }
    }

    fn bound(&mut self, call: &Call) {
        let address = &call.arguments[1];
        if address.raw.contains("AF_UNIX")
            && let Some(path) = self.below(&self.absolute(call.thread, &address.name()))
        {
            self.disk.create(&path, Kind::Other);
        }
    }

    /// A program that is started for an attempt tells the world that there is one.
    fn started(&mut self, arguments: &[Argument]) {
        let environment = arguments.iter().flat_map(|argument| &argument.texts);
        let tokens = environment.filter_map(|text| text.strip_prefix(TOKEN));
        self.told.extend(tokens.map(|token| format!("began {}", String::from_utf8_lossy(token))));
    }

    fn tell(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => self.told.push(String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned()),
                other => self.line.push(other),
            }
        }
    }
}

fn position(number: i64) -> usize {
    usize::try_from(number).expect("a place in a file")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::of_lines;

    #[test]
    fn a_thread_that_makes_another_before_its_maker_is_told_of_it_belongs_to_the_same_process() {
        let family = Family::of(&of_lines(concat!(
            "1 clone3({flags=CLONE_VM|CLONE_THREAD}, 88 <unfinished ...>\n",
            "2 clone3({flags=CLONE_VM|CLONE_THREAD}, 88) = 3\n",
            "3 clone3({flags=CLONE_VM|CLONE_VFORK}, 88 <unfinished ...>\n",
            "4 chdir(\"\\x2f\") = 0\n",
            "1 <... clone3 resumed>) = 2\n",
            "3 <... clone3 resumed>) = 4\n",
        )));
        assert_eq!([1, 2, 3, 4].map(|thread| family.process(thread)), [1, 1, 1, 4]);
        assert_eq!(family.line(4).collect::<Vec<_>>(), [4, 1]);
    }

    #[test]
    fn what_a_process_made_that_was_killed_before_it_was_told_of_it_belongs_to_it() {
        let family = Family::of(&of_lines(concat!(
            "1 clone3({flags=CLONE_VM|CLONE_THREAD}, 88) = 2\n",
            "2 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>\n",
            "3 chdir(\"\\x2f\") = 0\n",
            "2 <... clone resumed> <unfinished ...>) = ?\n",
            "3 chdir(\"\\x2f\") = 0\n",
        )));
        assert_eq!([1, 2, 3].map(|thread| family.process(thread)), [1, 1, 3]);
        assert_eq!(family.line(3).collect::<Vec<_>>(), [3, 1]);
    }
}

//! What programs ask the kernel for, as strace tells it: the calls that change files or make changes durable, the starts of programs, and
//! what was printed. It works on the real program, whatever way that takes to its files.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use crate::support::kills::Dice;

/// Every call that can change a file, its name or what is durable of it; then those that explain the others. A call that can change a
/// file and is not modelled makes the replay fail.
const CALLS: &str = "open,openat,openat2,creat,write,writev,pwrite64,pwritev,pwritev2,lseek,ftruncate,truncate,fallocate,\
    fsync,fdatasync,sync,syncfs,sync_file_range,msync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,\
    mkdir,mkdirat,mknod,mknodat,bind,copy_file_range,sendfile,splice,mmap,io_uring_setup,dup,dup2,dup3,fcntl,chdir,fchdir,execve,clone,clone3,fork,vfork";

/// The longest text that strace prints; no single write is larger.
const TEXT_MAX: &str = "16777216";

/// How long a slow sync takes, in microseconds.
const SLOW_US: u32 = 30_000;

/// A script that takes longer hangs; it is ended with everything that it started. In seconds.
const PATIENCE: &str = "240";

/// One call of one thread.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) thread: u32,
    pub(crate) name: String,
    pub(crate) arguments: Vec<Argument>,
}

/// One argument of a call, as it is printed and as far as it can be read.
#[derive(Debug, Default)]
pub(crate) struct Argument {
    pub(crate) raw: String,
    /// The path that an open file had when the call began.
    pub(crate) path: Option<PathBuf>,
    /// Every text in it, in order.
    pub(crate) texts: Vec<Vec<u8>>,
}

impl Argument {
    pub(crate) fn number(&self) -> i64 {
        let end = self.raw.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(self.raw.len());
        self.raw[..end].parse().unwrap_or_else(|_| panic!("no number: {}", self.raw))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.texts.concat()
    }

    /// The text as a path, as the program gave it.
    pub(crate) fn name(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(self.bytes()))
    }

    /// Whether it is an open file whose name is gone.
    pub(crate) fn is_nameless(&self) -> bool {
        self.raw.ends_with("(deleted)")
    }
}

/// What the kernel said: its number, and the path of a file that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) number: i64,
    pub(crate) path: Option<PathBuf>,
}

/// A call begins, or it ends: with an answer, unless its process was killed in it.
#[derive(Debug)]
pub(crate) enum Moment {
    Begins(Rc<Call>),
    Ends(Rc<Call>, Option<Answer>),
}

/// Why nothing can be recorded here; `None` when it can.
pub(crate) fn obstacle() -> Option<String> {
    let tried = Command::new("strace").args(["-f", "--seccomp-bpf", "-o", "/dev/null", "true"]).output();
    match tried {
        Err(error) => Some(format!("strace cannot be started: {error}")),
        Ok(said) if !said.status.success() => Some(format!("strace: {}", String::from_utf8_lossy(&said.stderr).trim())),
        Ok(_) => None,
    }
}

/// Runs a script under strace. What it and its programs print goes to `out`, what they ask the kernel for to `log`. Some syncs of each
/// thread, drawn from a seed, are slow as on a busy disk, so that others act meanwhile.
pub(crate) fn record(command: &mut Command, script: &str, out: &Path, log: &Path) {
    let mut dice = Dice::new();
    let (first, then) = (1 + dice.below(8), 3 + dice.below(5));
    let slow = format!("inject=fsync,fdatasync,syncfs:delay_exit={SLOW_US}:when={first}+{then}");
    let printed = fs::File::create(out).expect("a file for what is printed");
    let said = command
        .args(["-f", "-y", "-v", "-xx", "-qq", "--seccomp-bpf", "-s", TEXT_MAX, "-o"])
        .arg(log)
        .args(["-e", &format!("trace={CALLS}"), "-e", &slow, "timeout", PATIENCE, "sh", "-euc", script])
        .stdin(Stdio::null())
        .stdout(printed.try_clone().expect("the same file"))
        .stderr(printed)
        .status();
    let text = || fs::read_to_string(out).unwrap_or_default();
    assert!(said.as_ref().is_ok_and(std::process::ExitStatus::success), "{said:?}\n{}", text());
}

/// Reads what strace has written.
pub(crate) fn read(log: &Path) -> Vec<Moment> {
    of_lines(&fs::read_to_string(log).expect("a log that is ASCII"))
}

/// Moments from the lines that strace writes.
pub(crate) fn of_lines(text: &str) -> Vec<Moment> {
    let (mut moments, mut open) = (Vec::new(), HashMap::<u32, Rc<Call>>::new());
    for line in text.lines() {
        let (thread, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no thread: {line}"));
        let (thread, rest) = (thread.parse().expect("a thread's number"), rest.trim_start());
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if rest.starts_with("<... ") {
            let call = open.remove(&thread).unwrap_or_else(|| panic!("it ends and never began: {line}"));
            moments.push(Moment::Ends(call, answer(rest)));
            continue;
        }
        let (name, rest) = rest.split_once('(').unwrap_or_else(|| panic!("no call: {line}"));
        let unfinished = rest.strip_suffix(" <unfinished ...>");
        let inside = unfinished.unwrap_or_else(|| &rest[..end_of_arguments(rest)]);
        let call = Rc::new(Call { thread, name: name.to_owned(), arguments: split(inside).map(argument).collect() });
        moments.push(Moment::Begins(Rc::clone(&call)));
        match unfinished {
            Some(_) => drop(open.insert(thread, call)),
            None => moments.push(Moment::Ends(call, answer(rest))),
        }
    }
    moments
}

/// Where the arguments end in `...) = 0`; the closing bracket and the sign may be far apart.
fn end_of_arguments(rest: &str) -> usize {
    let sign = rest.rfind(" = ").unwrap_or_else(|| panic!("no answer: {rest}"));
    rest[..sign].trim_end().len() - 1
}

/// The answer in `...) = 3</path>`; `None` for `= ?`.
fn answer(line: &str) -> Option<Answer> {
    let said = argument(&line[line.rfind(" = ")? + 3..]);
    (!said.raw.starts_with('?')).then(|| Answer { number: leading(&said.raw), path: said.path })
}

fn leading(text: &str) -> i64 {
    if let Some(address) = text.strip_prefix("0x") {
        return i64::from_str_radix(address, 16).unwrap_or(i64::MAX);
    }
    Argument { raw: text.to_owned(), ..Argument::default() }.number()
}

/// Splits at the commas that stand in no bracket. Texts are printed in hexadecimal, so they hold none of these signs.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let is_outside = move |c: char| {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' | '>' => depth -= 1,
            _ => {}
        }
        depth == 0 && c == ','
    };
    text.split(is_outside).map(str::trim).filter(|part| !part.is_empty())
}

fn argument(text: &str) -> Argument {
    let mut texts = Vec::new();
    let mut parts = text.split('"');
    parts.next();
    while let (Some(inside), Some(after)) = (parts.next(), parts.next()) {
        assert!(!after.starts_with("..."), "strace has cut a text short");
        texts.push(decoded(inside));
    }
    // Of a file it is a path in hexadecimal, of a pipe or a socket a plain word.
    let path = text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).filter(|_| texts.is_empty());
    let path = path.map(|(path, _)| PathBuf::from(OsString::from_vec(decoded(path))));
    Argument { raw: text.to_owned(), path: path.filter(|path| path.is_absolute()), texts }
}

/// `\x2f\x74` as bytes; anything else is no such text, and empty.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |four: &[u8]| match four {
        [b'\\', b'x', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(4).map(byte).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_another_thread_interrupts_begin_and_end_apart() {
        let moments = of_lines(concat!(
            "7 fsync(3<\\x2f\\x61> <unfinished ...>\n",
            "8 pwrite64(3<\\x2f\\x61>, \"\\x68\\x69\", 2, 4096) = 2\n",
            "7 --- SIGCHLD {si_signo=SIGCHLD} ---\n",
            "7 <... fsync resumed>)              = 0\n",
            "9 openat(AT_FDCWD<\\x2f>, \"\\x61\", O_RDONLY) = -1 ENOENT (No such file or directory)\n",
            "9 exit_group(0)                     = ?\n",
        ));
        let short = moments.iter().map(|moment| match moment {
            Moment::Begins(call) => format!("{}+", call.name),
            Moment::Ends(call, answer) => format!("{} {:?}", call.name, answer.as_ref().map(|said| said.number)),
        });
        let short: Vec<String> = short.collect();
        assert_eq!(
            short.join(", "),
            "fsync+, pwrite64+, pwrite64 Some(2), fsync Some(0), openat+, openat Some(-1), exit_group+, exit_group None"
        );
        let Moment::Begins(write) = &moments[1] else { panic!("{moments:?}") };
        assert_eq!((write.arguments[0].path.as_deref(), write.arguments[0].number()), (Some(Path::new("/a")), 3));
        assert_eq!((write.arguments[1].bytes(), write.arguments[3].number()), (b"hi".to_vec(), 4096));
    }

    #[test]
    fn lists_of_texts_are_read_and_what_has_no_path_has_none() {
        let moments = of_lines(concat!(
            "7 writev(1<pipe:[55]>, [{iov_base=\"\\x61\", iov_len=1}, {iov_base=\"\\x62\", iov_len=1}], 2) = 2\n",
            "7 write(4<\\x2f\\x61>(deleted), \"\\x61\", 1) = 1\n",
            "7 openat(AT_FDCWD<\\x2f>, \"\\x61\", O_RDWR|O_CREAT, 0600) = 5<\\x2f\\x61>\n",
        ));
        let Moment::Begins(write) = &moments[0] else { panic!("{moments:?}") };
        assert_eq!((write.arguments.len(), write.arguments[0].path.as_ref()), (3, None));
        assert_eq!(write.arguments[1].bytes(), b"ab");
        let Moment::Begins(write) = &moments[2] else { panic!("{moments:?}") };
        assert!(write.arguments[0].is_nameless());
        let Moment::Ends(_, answer) = &moments[5] else { panic!("{moments:?}") };
        assert_eq!(answer.as_ref(), Some(&Answer { number: 5, path: Some("/a".into()) }));
    }
}

//! Secrets: small files that belong to the user of this process and that nobody else can read. They are read when they are needed, kept
//! nowhere, and their contents are never printed.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use tokio_rustls::rustls::crypto::ring;

/// The largest secret, in bytes: a bundle of some hundred certificates.
const BYTES_MAX: u64 = 1 << 20;

/// The longest token, in bytes. Servers refuse a header that is longer.
const TOKEN_BYTES_MAX: usize = 4096;

/// Access that anybody but the owner has.
const OTHERS: u32 = 0o077;

/// Writing by anybody but the owner.
const OTHERS_WRITE: u32 = 0o022;

/// What a secret file holds. Printed, it is only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// A word that proves who one is. Printed, it is nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Why there is no secret: for a person, with what to do, and without a word of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoSecret(pub String);

impl Secret {
    /// Its contents.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The token that it holds: its text without the line break at its end.
    ///
    /// # Errors
    /// When it is no word of printable ASCII. `from` is what messages call it.
    pub fn token(self, from: &str) -> Result<Token, NoSecret> {
        let text = self.0.trim_ascii();
        // Source: RFC 9110, section 5.5, as far as a header may have it without quotes; and no blank, so that a second line is found.
        if text.is_empty() || text.len() > TOKEN_BYTES_MAX || !text.iter().all(u8::is_ascii_graphic) {
            return Err(NoSecret(format!(
                "{from} holds no token: one word of printable ASCII is expected, of at most {TOKEN_BYTES_MAX} bytes, and nothing else"
            )));
        }
        Ok(Token(String::from_utf8_lossy(text).into_owned()))
    }
}

impl Token {
    /// A token that nobody can guess.
    ///
    /// # Errors
    /// When the system has no chance to give.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 32];
        ring::default_provider().secure_random.fill(&mut bytes).map_err(|_| io::Error::other("there is no chance"))?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The word itself.
    #[must_use]
    pub fn word(&self) -> &str {
        &self.0
    }
}

/// Reads the secret of a name from the directory of secrets.
///
/// # Errors
/// When it is not there, or when it, or the directory, is open to others.
pub fn named(directory: &Path, name: &str) -> Result<Secret, NoSecret> {
    let is_name =
        matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(part)] if part == name);
    if !is_name {
        return Err(NoSecret(format!("{name:?} cannot be the name of a secret")));
    }
    let place = directory.join(name);
    let what = format!("the secret {name:?}");
    let refuse = |why: String| NoSecret(format!("{what}: {why}"));
    let shown = directory.display();
    let opened = openat(CWD, directory, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let opened = opened.map_err(|error| match error {
        Errno::NOENT => refuse(format!(
            "{shown} is not there; make it with mode 700 and put the secret into {}, with mode 600",
            place.display()
        )),
        error => refuse(format!("{shown}: {}", io::Error::from(error))),
    })?;
    let opened = File::from(opened);
    let found = opened.metadata().map_err(|error| refuse(format!("{shown}: {error}")))?;
    // Whoever may put files into it decides what the secrets are.
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(refuse(format!("others can write into {shown}; chmod 700 {shown}")));
    }
    if ![own_id(), 0].contains(&found.uid()) {
        return Err(refuse(format!("{shown} belongs to the user with the number {}, {}", found.uid(), must_be_ours())));
    }
    let file = openat(&opened, name, FILE, Mode::empty());
    read(file.map_err(io::Error::from), &what, &place)
}

/// Reads a secret file that the command line names.
///
/// # Errors
/// When it is not there, or is open to others.
pub fn at(path: &Path) -> Result<Secret, NoSecret> {
    let file = openat(CWD, path, FILE, Mode::empty());
    read(file.map_err(io::Error::from), "the secret", path)
}

/// Never through a link, and without waiting for a pipe.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

fn read(opened: io::Result<impl Into<std::os::fd::OwnedFd>>, what: &str, place: &Path) -> Result<Secret, NoSecret> {
    let (refuse, shown) = (|why: String| NoSecret(format!("{what}: {why}")), place.display());
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == Errno::NOENT.raw_os_error() => {
            refuse(format!("{shown} is not there; put it there with mode 600"))
        }
        Some(code) if code == Errno::LOOP.raw_os_error() => {
            refuse(format!("{shown} is a link; put the file itself there"))
        }
        _ => refuse(format!("{shown}: {error}")),
    })?;
    let file = File::from(file.into());
    // Of the open file, which nobody can exchange any more.
    let found = file.metadata().map_err(|error| refuse(format!("{shown}: {error}")))?;
    if let Some(why) = open_to_others(&found) {
        return Err(refuse(format!("{shown} {why}")));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| refuse(format!("{shown}: {error}")))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(refuse(format!("{shown} has more than {BYTES_MAX} bytes, so it is none")));
    }
    Ok(Secret(bytes))
}

fn open_to_others(found: &Metadata) -> Option<String> {
    let mode = found.permissions().mode() & 0o7777;
    if !found.is_file() {
        return Some("is no ordinary file; put the secret into one".into());
    }
    if found.uid() != own_id() {
        return Some(format!("belongs to the user with the number {}, {}", found.uid(), must_be_ours()));
    }
    (mode & OTHERS != 0).then(|| format!("can be reached by others (its mode is {mode:03o}); chmod 600 it"))
}

fn must_be_ours() -> String {
    format!("and must belong to the one that manifestd runs as, which has the number {}", own_id())
}

fn own_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn place(contents: &[u8]) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        mode(place.path(), 0o700);
        fs::write(place.path().join("token"), contents).unwrap();
        mode(&place.path().join("token"), 0o600);
        place
    }

    #[test]
    fn a_secret_is_read_only_from_a_file_that_nobody_else_can_reach() {
        let place = place(b"word\n");
        let (directory, file) = (place.path(), place.path().join("token"));
        let refused = |words: &str| {
            let why = named(directory, "token").unwrap_err().0;
            assert!(why.contains(words) && why.contains("\"token\""), "{why}");
            assert!(!why.contains("word"), "{why}");
        };
        assert_eq!(named(directory, "token").unwrap().bytes(), b"word\n");
        for open in [0o640, 0o604, 0o644, 0o610, 0o620] {
            mode(&file, open);
            refused("chmod 600");
        }
        mode(&file, 0o400);
        assert!(named(directory, "token").is_ok() && at(&file).is_ok());
        mode(directory, 0o770);
        refused("chmod 700");
        mode(directory, 0o755);
        assert!(named(directory, "token").is_ok(), "others may see that there are secrets");
        fs::remove_file(&file).unwrap();
        refused("is not there");
        symlink("/etc/passwd", &file).unwrap();
        refused("is a link");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        refused("no ordinary file");
        fs::remove_dir(&file).unwrap();
        rustix::fs::mkfifoat(CWD, &file, Mode::RUSR).unwrap();
        refused("no ordinary file");
        fs::remove_file(&file).unwrap();
        fs::write(&file, vec![b'x'; 2 << 20]).unwrap();
        mode(&file, 0o600);
        refused("bytes");
        let nowhere = named(&directory.join("none"), "token").unwrap_err().0;
        assert!(nowhere.contains("is not there; make it with mode 700"), "{nowhere}");
    }

    #[test]
    fn no_name_of_a_secret_leads_out_of_its_directory() {
        let place = place(b"word");
        fs::create_dir(place.path().join("sub")).unwrap();
        for bad in ["", ".", "..", "../token", "/etc/passwd", "sub/../token", "./token", "token/", "a\0b"] {
            assert!(named(place.path(), bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_token_is_one_word_and_shows_nothing_of_itself() {
        let token = |bytes: &[u8]| Secret(bytes.to_vec()).token("it");
        assert_eq!(token(b" s3cr3t.~+/=\r\n").unwrap().word(), "s3cr3t.~+/=");
        let long = vec![b'x'; TOKEN_BYTES_MAX + 1];
        for bad in [b"".as_slice(), b"\n", b"two words", b"a\nb", b"a\x1bb", b"\xc3\xa4", b"a\r\nX-Evil: 1", &long] {
            let why = token(bad).unwrap_err().0;
            assert!(why.starts_with("it holds no token") && !why.contains("Evil"), "{why}");
        }
        let shown = format!("{:?} {:?}", token(b"hidden").unwrap(), Secret(b"hidden".to_vec()));
        assert_eq!(shown, "Token Secret(6 bytes)");
        let two = [Token::random().unwrap(), Token::random().unwrap()];
        assert!(two[0] != two[1] && two[0].word().len() == 64);
    }
}

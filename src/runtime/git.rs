//! The commit of the checkout that a directory lies in, read from git's own files.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// So much is read of one file of git, in bytes: a hundred thousand packed branches.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// The commit that HEAD points at, in hex; `None` outside a checkout or before the first commit.
#[must_use]
pub fn head_commit(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let git = directory.ancestors().find_map(|ancestor| git_directory(&ancestor.join(".git")))?;
    let head = read(&git.join("HEAD"))?;
    let head = head.trim();
    let Some(reference) = head.strip_prefix("ref: ") else { return is_hash(head).then(|| head.to_owned()) };
    // A linked worktree keeps its branches in the main repository.
    let common = read(&git.join("commondir")).map_or_else(|| git.clone(), |text| git.join(text.trim()));
    let is_name = reference.starts_with("refs/") && !reference.split('/').any(|part| part == "..");
    let loose = [&git, &common].into_iter().filter(|_| is_name).find_map(|base| read(&base.join(reference)));
    let hash = loose.map(|text| text.trim().to_owned()).or_else(|| packed(&common, reference))?;
    is_hash(&hash).then_some(hash)
}

/// `.git` itself, or the directory that a `.git` file names.
fn git_directory(path: &Path) -> Option<PathBuf> {
    if fs::metadata(path).ok()?.is_dir() {
        return Some(path.to_owned());
    }
    let text = read(path)?;
    let target = text.strip_prefix("gitdir: ")?.trim();
    Some(path.parent()?.join(target))
}

fn packed(git: &Path, reference: &str) -> Option<String> {
    let text = read(&git.join("packed-refs"))?;
    text.lines()
        .find_map(|line| line.split_once(' ').filter(|(_, name)| *name == reference).map(|(hash, _)| hash.to_owned()))
}

/// A text of git, as far as it is one. What is no ordinary file may have no end, or keep whoever opens it waiting.
fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file).and_then(|_| File::open(path).ok())?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

fn is_hash(text: &str) -> bool {
    (text.len() == 40 || text.len() == 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn the_commit_is_found_from_below_in_every_form_that_git_writes() {
        let top = tempfile::tempdir().unwrap();
        let git = top.path().join(".git");
        let below = top.path().join("manifests/deep");
        fs::create_dir_all(git.join("refs/heads")).unwrap();
        fs::create_dir_all(&below).unwrap();
        assert_eq!(head_commit(&below), None);
        fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        assert_eq!(head_commit(&below), None);
        fs::write(git.join("packed-refs"), format!("# pack-refs\n{HASH} refs/heads/main\n")).unwrap();
        assert_eq!(head_commit(&below).as_deref(), Some(HASH));
        let other = HASH.replace('0', "f");
        fs::write(git.join("refs/heads/main"), format!("{other}\n")).unwrap();
        assert_eq!(head_commit(&below), Some(other));
        fs::write(git.join("HEAD"), format!("{HASH}\n")).unwrap();
        assert_eq!(head_commit(&below).as_deref(), Some(HASH));
    }

    #[test]
    fn what_is_no_file_of_git_is_never_read() {
        let top = tempfile::tempdir().unwrap();
        let git = top.path().join(".git");
        fs::create_dir_all(git.join("refs/heads")).unwrap();
        fs::write(top.path().join("secret"), HASH).unwrap();
        for head in ["ref: /dev/zero", "ref: refs/../../secret", "ref: ../secret", "ref: refs/heads"] {
            fs::write(git.join("HEAD"), head).unwrap();
            assert_eq!(head_commit(top.path()), None, "{head}");
        }
        std::os::unix::fs::symlink("/dev/zero", git.join("refs/heads/main")).unwrap();
        fs::write(git.join("HEAD"), "ref: refs/heads/main").unwrap();
        assert_eq!(head_commit(top.path()), None);
    }

    #[test]
    fn a_linked_worktree_finds_its_branch_in_the_main_repository() {
        let top = tempfile::tempdir().unwrap();
        let linked = top.path().join("main/.git/worktrees/w");
        fs::create_dir_all(&linked).unwrap();
        fs::create_dir_all(top.path().join("main/.git/refs/heads")).unwrap();
        fs::create_dir_all(top.path().join("w")).unwrap();
        fs::write(linked.join("HEAD"), "ref: refs/heads/w\n").unwrap();
        fs::write(linked.join("commondir"), "../..\n").unwrap();
        fs::write(top.path().join("main/.git/refs/heads/w"), HASH).unwrap();
        fs::write(top.path().join("w/.git"), format!("gitdir: {}\n", linked.display())).unwrap();
        assert_eq!(head_commit(&top.path().join("w")).as_deref(), Some(HASH));
    }
}

//! Any files of git: the commit of a checkout is a hash or not known, whatever stands in them.

use std::fs;

use manifestd::runtime::git::head_commit;

use super::corpus::texts;

pub(crate) const WORDS: &[&str] = &[
    "ref: ",
    "refs/heads/main",
    "../",
    "/dev/zero",
    "/dev/tty",
    "/",
    "\n",
    "\0",
    "gitdir: ",
    "0123456789abcdef0123456789abcdef01234567",
    " refs/heads/main\n",
    "# pack-refs\n",
    "^",
    "worktrees/w",
    "commondir",
    ".",
    "..",
];

/// The files of `.git`, one behind the other.
const FILES: [&str; 4] = ["HEAD", "packed-refs", "commondir", "refs/heads/main"];

/// Parts, each behind a zero byte: [`FILES`], and what `.git` itself says if it is a file.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "ref: refs/heads/main\n\0# pack-refs\n0123456789abcdef0123456789abcdef01234567 refs/heads/main\n",
        "0123456789abcdef0123456789abcdef01234567\n",
        "ref: refs/heads/main\n\0\0../..\n\u{0}0123456789abcdef0123456789abcdef01234567\n",
        "ref: ../../../../dev/zero\n",
        "ref: /dev/zero\n\0\0/dev/zero\n",
        "\0\0\0\0gitdir: /dev/zero\n",
    ])
}

/// What must hold of any bytes.
pub(crate) fn check(data: &[u8]) {
    let place = tempfile::tempdir().expect("a directory");
    let git = place.path().join(".git");
    let parts: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let below = place.path().join("manifests");
    fs::create_dir(&below).expect("a directory");
    match parts.get(FILES.len()) {
        Some(file) if !file.is_empty() => fs::write(&git, file).expect("a file"),
        _ => {
            fs::create_dir_all(git.join("refs/heads")).expect("a directory");
            for (name, part) in FILES.iter().zip(&parts) {
                fs::write(git.join(name), part).expect("a file");
            }
        }
    }
    if let Some(commit) = head_commit(&below) {
        let is_hash = matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hash, "{commit:?}");
    }
}

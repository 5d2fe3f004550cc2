//! ruff and bandit, the real ones: a Python environment in the target directory, made once and used again by every run and every test.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

const REQUIREMENTS: &str = include_str!("../tools/requirements.txt");

/// The directory of the tools' programs. The first call makes it, which needs Python and the package index; whoever comes meanwhile waits.
pub(crate) fn tools_bin() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    let venv = target.join("tools-venv");
    let lock = std::fs::File::create(target.join("tools-venv.lock")).expect("a lock file");
    flock(&lock, FlockOperation::LockExclusive).expect("the lock");
    // Written last, so that an environment that was made only half is made again.
    let made_of = venv.join("made-of.txt");
    if std::fs::read_to_string(&made_of).ok().as_deref() != Some(REQUIREMENTS) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/requirements.txt");
        let mut pip = Command::new(venv.join("bin/pip"));
        run(pip.args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements));
        std::fs::write(&made_of, REQUIREMENTS).expect("the mark");
    }
    venv.join("bin")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "the linters that this test runs could not be installed: {command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

//! The one directory that the programs of commands may come from, when the settings name one. A program is where its name leads, links
//! resolved, and nowhere else.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::directory::{Directory, located};
use crate::manifest::Programs;

/// Writing by anybody but the owner.
const OTHERS_WRITE: u32 = 0o022;

/// Programs that lie in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedPrograms {
    directory: PathBuf,
}

impl TrustedPrograms {
    /// What the setting `commandDirectory` says; `None` when it is empty, so that any program may be run.
    #[must_use]
    pub fn of(workspace: &Path, setting: &str) -> Option<Self> {
        (!setting.is_empty()).then(|| Self { directory: workspace.join(setting) })
    }

    /// Where a program really is. A name without a slash is looked for in the directory alone, and not in `PATH`.
    ///
    /// What is run is this place and not the name that led there: between the two somebody may have made the name lead elsewhere, while nobody
    /// but those who may write into the directory can put something else into this place.
    ///
    /// # Errors
    /// Why it may not be run.
    pub fn find(&self, program: &str) -> Result<PathBuf, String> {
        let shown = self.directory.display();
        let refuse = |why: &str| Err(format!("the program {program:?} {why}, and programs must lie in {shown}"));
        if program.contains("${") {
            return refuse("depends on the app");
        }
        let directory = Directory::open(&self.directory)
            .map_err(|error| format!("programs must lie in {shown}, which cannot be opened: {error}"))?;
        if let Some(why) = directory.metadata().ok().and_then(|found| open_to_others(&found)) {
            return Err(format!("programs must lie in {shown}, but {why}"));
        }
        let named = match Path::new(program).components().next() {
            Some(Component::RootDir) => PathBuf::from(program),
            Some(Component::Normal(_)) if !program.contains('/') => self.directory.join(program),
            _ => return refuse("is named by a relative path"),
        };
        let (place, found) = match located(&named) {
            Ok(located) => located,
            Err(error) => return refuse(&format!("cannot be found ({}: {error})", named.display())),
        };
        if !place.starts_with(directory.path()) {
            return refuse(&format!("is {}", place.display()));
        }
        if !found.is_file() {
            return refuse("is no ordinary file");
        }
        match open_to_others(&found) {
            Some(why) => Err(format!("the program {program:?} may not be run: {why}")),
            None => Ok(place),
        }
    }
}

impl Programs for TrustedPrograms {
    fn refuses(&self, program: &str) -> Option<String> {
        self.find(program).err()
    }
}

/// Who may write a program, or into the directory of programs, says what is run.
fn open_to_others(found: &Metadata) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    if found.mode() & OTHERS_WRITE != 0 {
        return Some(format!("others can write it (its mode is {:o}); chmod go-w it", found.mode() & 0o7777));
    }
    (![own, 0].contains(&found.uid()))
        .then(|| format!("it belongs to the user with the number {}, who may change it at any time", found.uid()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        for path in ["tools/ok", "tools/deep/er/ok", "elsewhere/evil"] {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        place
    }

    #[test]
    fn a_program_is_where_its_name_leads_and_must_lie_in_the_directory() {
        let place = place();
        let at = |path: &str| place.path().join(path).display().to_string();
        symlink(at("elsewhere/evil"), at("tools/link-out")).unwrap();
        symlink(at("tools/ok"), at("elsewhere/link-in")).unwrap();
        symlink("deep/er/ok", at("tools/link-down")).unwrap();
        symlink(at("elsewhere"), at("tools/dir")).unwrap();
        let programs = TrustedPrograms::of(place.path(), "tools").unwrap();
        let real = fs::canonicalize(at("tools")).unwrap();
        for (program, found) in [
            ("ok".to_owned(), "ok"),
            (at("tools/ok"), "ok"),
            (at("tools/deep/er/ok"), "deep/er/ok"),
            (at("tools/../tools/ok"), "ok"),
            (at("elsewhere/link-in"), "ok"),
            ("link-down".to_owned(), "deep/er/ok"),
        ] {
            assert_eq!(programs.find(&program), Ok(real.join(found)), "{program}");
        }
        for (program, why) in [
            (at("elsewhere/evil"), "elsewhere/evil"),
            ("link-out".to_owned(), "elsewhere/evil"),
            (at("tools/dir/evil"), "elsewhere/evil"),
            (at("tools/../elsewhere/evil"), "elsewhere/evil"),
            ("/bin/sh".to_owned(), "must lie in"),
            ("sh".to_owned(), "cannot be found"),
            ("./tools/ok".to_owned(), "relative path"),
            ("tools/ok".to_owned(), "relative path"),
            ("../elsewhere/evil".to_owned(), "relative path"),
            ("${app.path}/run".to_owned(), "depends on the app"),
            (at("tools/deep"), "no ordinary file"),
            (String::new(), "relative path"),
        ] {
            let refused = programs.find(&program).unwrap_err();
            assert!(refused.contains(why) && refused.contains("/tools"), "{program}: {refused}");
        }
        assert_eq!(TrustedPrograms::of(place.path(), ""), None);
    }

    #[test]
    fn what_others_can_write_is_trusted_nowhere() {
        let place = place();
        let programs = TrustedPrograms::of(place.path(), "tools").unwrap();
        let mode =
            |path: &str, mode| fs::set_permissions(place.path().join(path), Permissions::from_mode(mode)).unwrap();
        for (path, open, closed) in [("tools", 0o775, 0o755), ("tools", 0o757, 0o755), ("tools/ok", 0o777, 0o755)] {
            mode(path, open);
            assert!(programs.find("ok").unwrap_err().contains("chmod go-w"), "{path} {open:o}");
            mode(path, closed);
        }
        assert!(programs.find("ok").is_ok());
        fs::remove_dir_all(place.path().join("tools")).unwrap();
        assert!(programs.find("ok").unwrap_err().contains("cannot be opened"));
    }
}

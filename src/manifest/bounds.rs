//! What the settings allow manifests to name.

/// What manifests may name.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    /// Directories, relative to the workspace, in which apps may lie; `.` stands for the workspace itself.
    pub roots: &'a [String],
    /// Programs that commands may run; `None` for any.
    pub programs: Option<&'a dyn Programs>,
}

/// Says which programs may be run. That can only be seen on the disk, which this floor does not know, so whoever reads manifests brings the
/// answer along.
pub trait Programs: Sync {
    /// Why a command may not run the program of this name, for a person; `None` when it may.
    fn refuses(&self, program: &str) -> Option<String>;
}

impl std::fmt::Debug for Bounds<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bounds").field("roots", &self.roots).field("programs", &self.programs.is_some()).finish()
    }
}

impl<'a, T: AsRef<[String]> + ?Sized> From<&'a T> for Bounds<'a> {
    fn from(roots: &'a T) -> Self {
        Self { roots: roots.as_ref(), programs: None }
    }
}

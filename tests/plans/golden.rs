//! Golden files: many cases in one text, each with its title and the plans that follow from it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use manifestd::plan::Plan;
use manifestd::resource::time::Timestamp;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/plans");

/// 2026-01-05T12:00:00Z, the present of every case.
pub(crate) const NOW: Timestamp = Timestamp(1_767_614_400_000);

/// Passes after which everything must have been done.
const PASSES_MAX: usize = 4;

/// The cases of one golden file.
#[derive(Default)]
pub(crate) struct Golden(String);

impl Golden {
    /// Adds a case whose text is known.
    pub(crate) fn text(&mut self, title: &str, text: &str) {
        let _ = writeln!(self.0, "{}# {title}\n{text}", if self.0.is_empty() { "" } else { "\n" });
    }

    /// Adds a case: plans, carries out and plans again until a plan is empty, which must be soon (law 7).
    pub(crate) fn case<O>(
        &mut self,
        title: &str,
        mut observed: O,
        plan: impl Fn(&O, Timestamp) -> Plan,
        carry_out: impl Fn(&mut O, &Plan, Timestamp),
    ) -> O {
        let mut text = String::new();
        for pass in 0.. {
            let found = plan(&observed, NOW);
            assert_eq!(found, plan(&observed, NOW), "{title}: a plan is repeatable");
            if pass == 0 || !found.is_empty() {
                let _ = write!(text, "{}{found}", if pass == 0 { "" } else { "\nthen\n" });
            }
            if found.is_empty() {
                break;
            }
            assert!(pass < PASSES_MAX, "{title}: does not settle\n{text}");
            carry_out(&mut observed, &found, NOW);
        }
        self.text(title, &text);
        observed
    }

    /// Compares with the file of this name.
    pub(crate) fn check(&self, name: &str) {
        let path = Path::new(FOLDER).join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::create_dir_all(path.parent().expect("a folder")).expect("the folder of golden plans");
            fs::write(&path, &self.0).expect("a golden file");
        }
        let wanted = fs::read_to_string(&path).unwrap_or_default();
        let differs = wanted.lines().zip(self.0.lines()).position(|(wanted, found)| wanted != found);
        let line = differs.unwrap_or_else(|| wanted.lines().count().min(self.0.lines().count())) + 1;
        assert!(wanted == self.0, "{name} differs from line {line} on; found:\n{}", self.0);
    }
}

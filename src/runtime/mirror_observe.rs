//! What files of the manifests directory say, as a plan looks at it, and what is wrong with them.

use std::collections::HashMap;

use super::scan::ReadFile;
use crate::manifest::{Broken, Place, Problem, Severity};
use crate::plan::mirror::{Duplicate, Identity, ObservedMirror, is_found_on_disk};
use crate::resource::kind::Kind;
use crate::resource::provenance::Provenance;
use crate::store::OwnedProblem;

/// What was read, as a plan looks at it.
pub(super) fn observe(files: &[ReadFile]) -> ObservedMirror {
    let mut observed = ObservedMirror::default();
    for ReadFile { file, parsed, declared } in files {
        observed.read.insert(file.path.clone());
        let nameless = parsed.broken.iter().any(|broken| broken.kind.is_none() || broken.name.is_none());
        if parsed.unreadable || nameless {
            observed.unreadable.insert(file.path.clone());
        }
        let known = |broken: &Broken| Some((broken.kind.zip(broken.name.clone())?, file.path.clone()));
        observed.broken.extend(parsed.broken.iter().filter_map(known));
        observed.declared.extend(declared.iter().cloned());
    }
    observed
}

/// The problems of the files, and one on each side of a name that is declared twice.
pub(super) fn problems(files: &[ReadFile], duplicates: &[Duplicate]) -> Vec<OwnedProblem> {
    let own = files.iter().flat_map(|file| {
        let owner = &file.file.path;
        file.parsed.problems.iter().map(|problem| OwnedProblem { owner: owner.clone(), problem: problem.clone() })
    });
    let mut problems: Vec<OwnedProblem> = own.collect();
    if duplicates.is_empty() {
        return problems;
    }
    let places: HashMap<(&str, u32), &Place> = files
        .iter()
        .flat_map(|file| {
            file.parsed
                .documents
                .iter()
                .map(|document| ((file.file.path.as_str(), document.line), &document.name_place))
        })
        .collect();
    for Duplicate { identity, accepted, refused } in duplicates {
        for (here, there, counts) in [(refused, accepted, false), (accepted, refused, true)] {
            if is_found_on_disk(here) {
                continue;
            }
            let place = places.get(&(here.file.as_str(), here.line)).map(|place| (*place).clone());
            let problem = duplicate(identity, here, there, counts, place);
            problems.push(OwnedProblem { owner: refused.file.clone(), problem });
        }
    }
    problems
}

fn duplicate(
    identity: &Identity,
    here: &Provenance,
    there: &Provenance,
    counts: bool,
    place: Option<Place>,
) -> Problem {
    let (kind, name): (Kind, &String) = (identity.0, &identity.1);
    let which = if counts { "this one counts" } else { "that one counts, this one is ignored" };
    Problem {
        file: here.file.clone(),
        place: place.unwrap_or_else(|| Place { line: here.line, column: 1, source_column: 1, ..Place::default() }),
        severity: Severity::Error,
        code: "duplicate-name".into(),
        message: format!("{kind} {name:?} is also declared at {}:{}; {which}", there.file, there.line),
        help: Some("rename or remove one of the two".into()),
    }
}

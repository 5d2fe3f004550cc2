//! What becomes of manifests when what starts together with them is at fault, and when their files are in motion.

use std::any::Any;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use super::Mirror;
use crate::plan::{Key, Plan};
use crate::runtime::core::alone;
use crate::runtime::twist::Twist;

const MANIFESTS: &str = "apiVersion: manifestd.dev/v1alpha1
kind: Analyzer
metadata: {name: lint}
spec: {command: {argv: [/bin/true], output: exitCode}}
---
apiVersion: manifestd.dev/v1alpha1
kind: Task
metadata: {name: first}
spec: {analyzer: lint}
";

/// Every plan for a queue fails.
struct NoQueue;

impl Twist for NoQueue {
    fn observed(&self, key: &Key, _: &mut dyn Any) {
        assert!(!matches!(key, Key::Lane(_)), "on purpose");
    }

    fn planned(&self, _: &Key, _: &mut Plan) {}
}

#[tokio::test]
async fn a_fault_of_a_queue_keeps_no_manifest_from_being_mirrored_and_what_is_gone_is_still_looked_for() {
    let place = tempfile::tempdir().unwrap();
    let mut core = alone(place.path());
    core.twist = Some(Arc::new(NoQueue));
    let mirror = Mirror::new(&core);
    fs::create_dir_all(mirror.directory()).unwrap();
    let path = mirror.directory().join("first.yaml");
    fs::write(&path, MANIFESTS).unwrap();
    let gone = mirror.directory().join("gone.yaml");
    let scan_follows = mirror.read_now(BTreeSet::from([path.clone(), gone])).await.unwrap();
    assert!(scan_follows, "one of two was not there");
    assert_eq!(core.store.mirrored_count().await.unwrap(), 2);
    assert_eq!(core.attempts.count(), 0);
    // Its queue is looked at by itself, later.
    assert!(!core.wakes.is_idle(crate::runtime::wakes::Loop::Tasks, core.now()));
    assert!(!mirror.read_now(BTreeSet::from([path])).await.unwrap(), "all of it was read");
}

#[tokio::test]
async fn what_moves_between_two_directories_while_they_are_listed_is_not_gone() {
    let place = tempfile::tempdir().unwrap();
    let core = alone(place.path());
    let mirror = Mirror::new(&core);
    let (one, other) = (mirror.directory().join("a"), mirror.directory().join("b"));
    [&one, &other].into_iter().for_each(|directory| fs::create_dir_all(directory).unwrap());
    fs::write(other.join("x.yaml"), MANIFESTS).unwrap();
    mirror.scan().await.unwrap();
    let listing = super::list(mirror.directory());
    fs::rename(other.join("x.yaml"), one.join("x.yaml")).unwrap();
    assert!(!mirror.is_still(listing.files).await.unwrap(), "so nothing is taken away before the next look");
    let report = mirror.scan().await.unwrap();
    assert_eq!((report.removed, report.settling, core.store.mirrored_count().await.unwrap()), (0, 0, 2));
    fs::remove_file(one.join("x.yaml")).unwrap();
    assert_eq!(mirror.scan().await.unwrap().removed, 2);
}

//! What is read of runs for people, from rows as commits leave them.

use rusqlite::Connection;

use super::open;
use super::run_view::{RunFilter, Tally, children, latest, object, run, runs, suspension, tally};
use super::view::{self, Filter};
use crate::resource::kind::Kind;
use crate::resource::phase::Phase;
use crate::resource::run::{CancelWish, Cause};
use crate::resource::time::Timestamp;

/// A pipeline with three runs; the second has a step with eight children in every state, one of which is the third run.
const ROWS: &str = "
INSERT INTO object (labels, annotations, uid, kind, name, spec, generation, created_at, updated_at, file, line, digest)
    VALUES ('{}', '{}', 'p', 'Pipeline', 'study', '{}', 1, 1, 1, 'study.yaml', 3, 'd'), ('{}', '{}', 'q', 'Pipeline', 'other', '{}', 1, 1, 1, 'o.yaml', 1, 'd');
INSERT INTO pinned (digest, spec) VALUES ('s', '{}');
INSERT INTO run (uid, name, pipeline, pipeline_uid, generation, revision, manifest_digest, digest, cause, created_at, phase, reason, finished_at, cancel)
    VALUES ('r1', 'study-g1', 'study', 'p', 1, 1, 'm', 's', 'Apply', 10, 'Completed', 'AllStepsCompleted', 90, 0),
           ('r2', 'study-1', 'study', 'p', 1, 1, 'm', 's', 'Manual', 20, 'Running', 'StepsRunning', NULL, 1);
INSERT INTO run (uid, name, pipeline, pipeline_uid, generation, revision, manifest_digest, digest, cause, created_at, phase, reason, parent)
    VALUES ('r3', 'inner', 'other', 'q', 1, 1, 'm', 's', 'Step', 30, 'Running', 'StepsRunning', 'r2');
INSERT INTO child (run, step, item, uid, kind, round, conclusion, ended_at)
    VALUES ('r2', 'a', 0, 'c0', 'Task', 1, 'Succeeded', 5), ('r2', 'a', 1, 'c1', 'Task', 1, 'Succeeded', 5),
           ('r2', 'a', 2, 'c2', 'Task', 1, 'AppNotProduced', 5), ('r2', 'a', 3, 'c3', 'Task', 1, 'Failed', 5),
           ('r2', 'a', 4, 'c4', 'Task', 1, 'Partial', 5), ('r2', 'a', 5, 'c5', 'Task', 1, 'Cancelled', 5),
           ('r2', 'a', 6, 'c6', 'Task', 1, 'Skipped', 5), ('r2', 'a', 7, 'r3', 'Run', 1, NULL, NULL),
           ('r2', 'b', 0, 'c8', 'Task', 1, NULL, NULL);
INSERT INTO suspension (uid, reason, by, at, until) VALUES ('r2', 'lunch', 'ann', 40, 50);
";

fn database() -> (tempfile::TempDir, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let (connection, _) = open::open(&open::database_path(directory.path())).unwrap();
    connection.execute_batch(ROWS).unwrap();
    (directory, connection)
}

#[test]
fn runs_come_newest_first_and_can_be_narrowed_and_gone_on_with() {
    let (_directory, connection) = database();
    let names = |filter: RunFilter| -> Vec<String> {
        runs(&connection, &filter).unwrap().into_iter().map(|run| run.name).collect()
    };
    assert_eq!(names(RunFilter::default()), ["inner", "study-1", "study-g1"]);
    let of_study = || RunFilter { pipeline: Some("study".into()), ..RunFilter::default() };
    assert_eq!(names(of_study()), ["study-1", "study-g1"]);
    assert_eq!(names(RunFilter { limit: Some(1), ..of_study() }), ["study-1"]);
    let after = Some((Timestamp(20), "r2".to_owned()));
    assert_eq!(names(RunFilter { after, ..RunFilter::default() }), ["study-g1"]);
    assert_eq!(names(RunFilter { phase: Some(Phase::Completed), ..RunFilter::default() }), ["study-g1"]);
}

#[test]
fn a_run_is_read_with_where_it_comes_from_and_who_suspended_it() {
    let (_directory, connection) = database();
    let found = run(&connection, "study-1").unwrap().unwrap();
    assert_eq!((found.cause, found.cancel, found.provenance.line), (Cause::Manual, CancelWish::Steps, 3));
    let suspended = found.suspension.clone().unwrap();
    assert_eq!(
        (suspended.by.as_str(), suspended.holds(Timestamp(45)), suspended.holds(Timestamp(50))),
        ("ann", true, false)
    );
    assert_eq!(suspension(&connection, "r2").unwrap(), Some(suspended));
    assert_eq!(suspension(&connection, "r1").unwrap(), None);
    assert_eq!(run(&connection, "inner").unwrap().unwrap().parent.as_deref(), Some("study-1"));
    assert_eq!(run(&connection, "nothing").unwrap(), None);
    let filter = Filter { name: Some("study-1".into()), removed: false };
    assert_eq!(view::objects(&connection, Kind::Run, &filter).unwrap(), [object(found)]);
}

#[test]
fn the_latest_run_of_a_pipeline_is_none_within_another_run() {
    let (_directory, connection) = database();
    assert_eq!(latest(&connection, "p").unwrap().unwrap().name, "study-1");
    assert_eq!(latest(&connection, "q").unwrap(), None);
}

#[test]
fn children_are_counted_once_each_by_what_became_of_them() {
    let (_directory, connection) = database();
    let counts = tally(&connection, "r2").unwrap();
    let a = Tally { succeeded: 2, partial: 1, failed: 2, cancelled: 1, skipped: 1, running: 1, pending: 0 };
    assert_eq!(counts["a"], a);
    assert_eq!((a.ended(), a.all(), counts["b"].all()), (7, 8, 1));
    assert!(tally(&connection, "r1").unwrap().is_empty());
}

#[test]
fn those_children_come_first_that_went_wrong() {
    let (_directory, connection) = database();
    let all = children(&connection, "r2", "a", 100).unwrap();
    let items: Vec<u64> = all.iter().map(|child| child.item).collect();
    assert_eq!(items, [2, 3, 4, 7, 5, 6, 0, 1]);
    assert_eq!((all[3].name.as_str(), all[3].phase), ("inner", Some(Phase::Running)));
    assert_eq!(children(&connection, "r2", "a", 3).unwrap().len(), 3);
}

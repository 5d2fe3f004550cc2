//! Imported records in the store: a batch is written whole, no resync finds anything to do for them, and maintenance treats them as it
//! treats everything that ended long ago.

use std::collections::BTreeMap;

use manifestd::import::app::{self, AppRecord, ROOT};
use manifestd::import::cell::{Cell, Row};
use manifestd::import::note::Notes;
use manifestd::import::task::{TaskRecord, task};
use manifestd::plan::maintenance::{MaintenanceReconciler, Rules};
use manifestd::plan::{Key, Reconciler};
use manifestd::resource::time::{Span, Timestamp};
use manifestd::store::Held;
use manifestd::store::aside::Care;
use manifestd::store::import::{Record, Written};

use crate::fixture::{Fixture, NOW};

fn row(table: &'static str, id: i64, cells: &[(&'static str, &str)]) -> Row {
    let text = cells.iter().map(|(column, text)| (*column, Cell::Text((*text).into())));
    let mut cells: BTreeMap<_, _> = text.collect();
    cells.extend([("app_number", Cell::Int(id)), ("target_app_number", Cell::Int(1))]);
    Row { table, id, cells }
}

fn old_task(id: &str, status: &str) -> TaskRecord {
    let cells = [
        ("task_id", id),
        ("status", status),
        ("service_name", "lint"),
        ("target_model", "demo"),
        ("created_at", "2025-11-01 10:00:00"),
        ("started_at", "2025-11-01 10:00:00"),
        ("completed_at", "2025-11-01 10:01:00"),
    ];
    task(&row("analysis_tasks", 1, &cells), &[], NOW, &mut Notes::default()).unwrap()
}

fn old_app(number: i64, missing_since: &str) -> AppRecord {
    let cells = [("model_slug", "m"), ("created_at", "2025-11-01 10:00:00"), ("missing_since", missing_since)];
    app::app(&row("generated_applications", number, &cells), ROOT, |_| false, NOW, &mut Notes::default()).unwrap()
}

fn record(task: TaskRecord) -> Record {
    Record::Task(Box::new(task))
}

#[tokio::test]
async fn no_resync_finds_anything_to_do_for_what_was_imported() {
    // An analyzer of the same name is there, and its queue is free.
    let fixture = Fixture::with_tasks(4, &[]).await;
    let before = fixture.store.unsettled(NOW).await.unwrap();
    let words = ["completed", "partial_success", "failed", "cancelled", "running", "pending"];
    let records = words.iter().map(|word| record(old_task(word, word))).collect();
    let written = fixture.store.write_imported(records, NOW).await.unwrap();
    assert_eq!(written, vec![Written::New; 6]);
    assert_eq!(fixture.store.unsettled(NOW).await.unwrap(), before);
    assert!(fixture.lane_plan().await.is_empty());
    for word in words {
        let seen = fixture.seen(&word.replace('_', "-")).await;
        assert!(manifestd::plan::task::TaskReconciler::plan(&seen, NOW).is_empty(), "{word}");
    }
}

#[tokio::test]
async fn maintenance_keeps_old_tasks_until_a_person_lets_go_of_them_and_deletes_records_of_apps_that_were_missing_for_long()
 {
    let fixture = Fixture::empty();
    let apps = [old_app(1, "2025-11-01 10:00:00"), old_app(2, "2026-01-05 10:00:00")];
    let records = apps.into_iter().map(|app| Record::App(Box::new(app))).chain([record(old_task("a", "failed"))]);
    fixture.store.write_imported(records.collect(), NOW).await.unwrap();
    let days = |days: u64| Some(Span::minutes(days * 24 * 60));
    let rules = Rules { missing_app: days(7), finished: days(30), grace: Span::minutes(5), ..Rules::default() };
    let maintain = async || {
        let mut observed = fixture.store.observe_maintenance(rules, None, Held::new(), NOW).await.unwrap();
        observed.apps.iter_mut().for_each(|app| app.present = Some(false));
        let plan = MaintenanceReconciler::plan(&observed, NOW);
        fixture.store.commit(plan.writes, NOW).await.unwrap();
    };
    maintain().await;
    let left: String = fixture.one("SELECT group_concat(name) FROM object WHERE kind = 'App' AND removed_at IS NULL");
    assert_eq!(left, "m-app2");
    let aside = "SELECT count(*) FROM task WHERE aside_at IS NOT NULL AND reason = 'Imported' AND phase = 'Failed'";
    assert_eq!(fixture.one::<i64>(aside), 0);
    assert!(fixture.store.care("task/a".into(), Care::Release, NOW).await.unwrap().effective);
    maintain().await;
    assert_eq!(fixture.one::<i64>(aside), 1);
    // And an import does not bring them back.
    let again = vec![Record::App(Box::new(old_app(1, "2025-11-01 10:00:00"))), record(old_task("a", "failed"))];
    let before = fixture.dump();
    assert_eq!(fixture.store.write_imported(again, NOW).await.unwrap(), vec![Written::Known; 2]);
    assert_eq!(fixture.dump(), before);
}

#[tokio::test]
async fn a_task_that_a_person_runs_again_here_runs_once_and_is_no_history_any_more() {
    let fixture = Fixture::with_tasks(4, &[]).await;
    let old = old_task("a", "failed");
    fixture
        .store
        .write_imported(
            vec![record(TaskRecord {
                spec: manifestd::import::task::spec("demo".into(), "lint".into(), vec![], 100),
                ..old
            })],
            NOW,
        )
        .await
        .unwrap();
    let uid = fixture.uid(manifestd::resource::kind::Kind::Task, "a");
    fixture.sql().execute("UPDATE task SET retry_round = round WHERE uid = ?1", [&uid.0]).unwrap();
    assert!(fixture.store.unsettled(NOW).await.unwrap().contains(&(Key::Task(uid), None)));
    fixture.settle("a").await;
    let dispatched = fixture.dispatch().await;
    assert_eq!(dispatched.effects.len(), 1);
    let attempts: String = fixture.one("SELECT group_concat(number || ' of round ' || round) FROM attempt");
    assert_eq!(attempts, "1 of round 1,2 of round 2");
    assert_eq!(
        Timestamp(fixture.one::<i64>("SELECT created_at FROM task WHERE name = 'a'")).rfc3339(),
        "2025-11-01T10:00:00.000Z"
    );
}

#[tokio::test]
async fn a_batch_is_written_whole_or_not_at_all() {
    let fixture = Fixture::empty();
    let good = old_task("good", "completed");
    // The schema refuses an ending without its moment being one; a phase that has not ended is none that an import makes.
    let bad = TaskRecord { phase: manifestd::resource::phase::Phase::Pending, ..old_task("bad", "completed") };
    let before = fixture.dump();
    assert!(fixture.store.write_imported(vec![record(good), record(bad)], NOW).await.is_err());
    assert_eq!(fixture.dump(), before);
}

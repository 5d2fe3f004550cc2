//! What a scan of the manifests directory writes: objects, files, problems, and who is woken.

use std::collections::HashSet;

use manifestd::manifest::{Place, Problem, Severity};
use manifestd::plan::Key;
use manifestd::plan::mirror::Change;
use manifestd::resource::kind::Kind;
use manifestd::resource::outcome::Outcome;
use manifestd::resource::provenance::Provenance;
use manifestd::resource::reason::Reason;
use manifestd::store::{FileStat, MirrorCommit, OwnedProblem, ScannedFile, view};
use serde_json::json;

use crate::fixture::{Fixture, NOW, declare, place, task, task_with};

fn file(path: &str, size: u64) -> ScannedFile {
    let stat = FileStat { size, mtime_ns: i64::MAX, inode: u64::MAX };
    ScannedFile { path: path.into(), stat, digest: "d".into() }
}

fn problem(owner: &str, file: &str, code: &'static str) -> OwnedProblem {
    OwnedProblem {
        owner: owner.into(),
        problem: Problem {
            file: file.into(),
            place: Place { line: 3, column: 1, source_column: 1, ..Place::default() },
            severity: Severity::Error,
            code: code.into(),
            message: format!("{code} in {file}"),
            help: None,
        },
    }
}

#[tokio::test]
async fn objects_are_created_changed_removed_and_brought_back() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    let created = fixture.create(vec![task("a")]).await;
    assert_eq!((created.created, created.woken), (1, vec![Key::Lane("lint".into())]));
    let key = Key::Task(fixture.uid(Kind::Task, "a"));
    let changed = fixture.respecify(task_with("a", json!({"priority": 7, "analyzer": "other"})), 2).await;
    assert_eq!((changed.updated, changed.woken), (1, vec![key.clone(), Key::Lane("other".into())]));
    let seen = fixture.seen("a").await;
    assert_eq!((seen.generation, seen.spec.priority, seen.status.observed_generation), (2, 7, 0));
    let row: String = fixture.one("SELECT analyzer || priority || generation FROM task");
    assert_eq!(row, "other72", "the columns that dispatch reads follow the spec");
    let removed = fixture.remove(Kind::Task, "a").await;
    assert_eq!((removed.removed, removed.woken), (1, vec![key.clone()]));
    assert!(fixture.seen("a").await.removed);
    let restored = fixture.restore(task("a")).await;
    assert_eq!((restored.updated, restored.woken[0].clone()), (1, key));
    assert!(!fixture.seen("a").await.removed);
    let events = manifestd::store::events::latest(&fixture.sql(), Some((Kind::Task, "a")), 10).unwrap();
    let reasons: Vec<&str> = events.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(reasons, ["Created", "SpecChanged", "Removed", "Restored"]);
}

#[tokio::test]
async fn a_removal_that_was_decided_on_another_file_removes_nothing() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let (uid, identity) = (fixture.uid(Kind::Task, "a"), (Kind::Task, "a".to_owned()));
    let before = fixture.dump();
    let elsewhere = Provenance { file: "b.yaml".into(), ..place() };
    let outcome = fixture.mirror(vec![Change::Remove { uid, identity, provenance: elsewhere }]).await;
    assert_eq!((outcome.removed, outcome.woken), (0, vec![]));
    assert_eq!(fixture.dump(), before);
    fixture.remove(Kind::Task, "a").await;
    let removed = fixture.dump();
    assert_eq!(fixture.remove(Kind::Task, "a").await.removed, 0, "and twice is once");
    assert_eq!(fixture.dump(), removed);
}

#[tokio::test]
async fn what_tasks_wait_for_wakes_them() {
    let fixture = Fixture::empty();
    fixture.create(vec![task("a")]).await;
    fixture.dispatch().await;
    assert_eq!(fixture.seen("a").await.status.reason, Reason::AnalyzerNotFound);
    let held = Key::Task(fixture.uid(Kind::Task, "a"));
    let analyzer = declare(Kind::Analyzer, "lint", json!({"websocket": {"urls": ["ws://one"], "request": "r"}}));
    let woken = fixture.create(vec![analyzer]).await.woken;
    assert_eq!(woken, [Key::Analyzer("lint".into()), Key::Lane("lint".into()), held.clone()]);
    fixture.settle("a").await;
    assert_eq!(fixture.seen("a").await.status.reason, Reason::AppNotFound);
    let app = declare(Kind::App, "demo", json!({"path": "apps/demo"}));
    assert_eq!(fixture.create(vec![app]).await.woken, [Key::Apps, held.clone()]);
    fixture.settle("a").await;
    assert_eq!(fixture.seen("a").await.status.reason, Reason::AppNotAddressable);
    let whole = declare(Kind::App, "demo", json!({"path": "apps/demo", "model": "m", "number": 1}));
    assert!(fixture.respecify(whole, 2).await.woken.contains(&held));
    fixture.settle("a").await;
    assert!(fixture.dispatch().await.wakes.contains(&Key::Analyzer("lint".into())), "nobody has asked its replica yet");
    fixture.probe("ws://one", Ok(Default::default()), NOW).await;
    assert_eq!(fixture.dispatch().await.effects.len(), 1);
    let gone = [Key::Analyzer("lint".into()), Key::Lane("lint".into())];
    assert_eq!(fixture.remove(Kind::Analyzer, "lint").await.woken, gone);
    assert_eq!(fixture.remove(Kind::App, "demo").await.woken, [Key::Apps]);
}

#[tokio::test]
async fn a_batch_is_written_whole_or_not_at_all() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let before = fixture.dump();
    // The second object's name is taken: the plan was made on something older.
    let changes = vec![Change::Create(task("b").into()), Change::Create(task("a").into())];
    let batch = MirrorCommit { changes, files: vec![file("a.yaml", 1)], ..MirrorCommit::default() };
    fixture.store.commit_mirror(batch, NOW).await.unwrap_err();
    assert_eq!(fixture.dump(), before);
}

#[tokio::test]
async fn files_are_remembered_with_their_stat_until_they_are_gone() {
    let fixture = Fixture::empty();
    let commit = async |files, gone: &[&str]| {
        let gone = gone.iter().map(|path| (*path).to_owned()).collect();
        fixture.store.commit_mirror(MirrorCommit { files, gone, ..MirrorCommit::default() }, NOW).await.unwrap();
        fixture.store.mirrored_files().await.unwrap()
    };
    fixture.store.read_by("ours".into()).await.unwrap();
    let files = commit(vec![file("a.yaml", 1), file("b.yaml", 2)], &[]).await;
    let stats = [("a.yaml".to_owned(), file("a.yaml", 1).stat), ("b.yaml".to_owned(), file("b.yaml", 2).stat)];
    assert_eq!(files, stats, "in the order of their paths, and whatever the numbers");
    assert_eq!(commit(vec![file("a.yaml", 9)], &[]).await[0].1.size, 9);
    assert_eq!(commit(vec![], &["a.yaml"]).await.len(), 1);
    // Read by other rules, it counts as changed until it was read by these.
    fixture.store.read_by("ours".into()).await.unwrap();
    assert_eq!(fixture.store.mirrored_files().await.unwrap()[0].1, file("b.yaml", 2).stat);
    fixture.store.read_by("others".into()).await.unwrap();
    assert_eq!(fixture.store.mirrored_files().await.unwrap(), [("b.yaml".to_owned(), FileStat::default())]);
    let again = commit(vec![file("b.yaml", 2)], &[]).await;
    fixture.store.read_by("others".into()).await.unwrap();
    assert_eq!(fixture.store.mirrored_files().await.unwrap(), again);
}

#[tokio::test]
async fn problems_are_replaced_together_with_the_file_that_has_them() {
    let fixture = Fixture::empty();
    let commit = async |judged: &[&str], gone: &[&str], problems: Vec<OwnedProblem>| {
        let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let batch = MirrorCommit { judged: owned(judged), gone: owned(gone), problems, ..MirrorCommit::default() };
        fixture.store.commit_mirror(batch, NOW).await.unwrap();
        let found = view::problems(&fixture.sql()).unwrap();
        found.into_iter().map(|problem| problem.message).collect::<Vec<_>>()
    };
    let two = vec![problem("b.yaml", "b.yaml", "duplicate-name"), problem("b.yaml", "a.yaml", "duplicate-name")];
    assert_eq!(commit(&["b.yaml"], &[], two).await, ["duplicate-name in a.yaml", "duplicate-name in b.yaml"]);
    assert_eq!(fixture.store.contested_files().await.unwrap(), HashSet::from(["b.yaml".to_owned()]));
    let one = vec![problem("a.yaml", "a.yaml", "unknown-field")];
    assert_eq!(commit(&["a.yaml"], &[], one).await.len(), 3, "the file's own problems are others");
    assert_eq!(fixture.store.problem_count().await.unwrap(), 3);
    assert_eq!(commit(&["b.yaml"], &[], vec![]).await, ["unknown-field in a.yaml"]);
    assert_eq!(commit(&[], &["a.yaml"], vec![]).await, Vec::<String>::new());
    assert!(fixture.store.contested_files().await.unwrap().is_empty());
}

#[tokio::test]
async fn stored_objects_are_found_by_name_and_by_file() {
    let fixture = Fixture::with_tasks(1, &["a", "b"]).await;
    let by_name = fixture.existing(&[task("a")], &[]).await;
    assert_eq!(by_name.keys().collect::<Vec<_>>(), [&(Kind::Task, "a".to_owned())]);
    assert_eq!(by_name[&(Kind::Task, "a".to_owned())].provenance, place());
    assert_eq!(fixture.existing(&[], &["a.yaml"]).await.len(), 4);
    assert_eq!(fixture.store.mirrored_count().await.unwrap(), 4);
    fixture.remove(Kind::Task, "a").await;
    assert_eq!(fixture.existing(&[], &["a.yaml"]).await.len(), 3);
    let still = fixture.existing(&[task("a")], &[]).await;
    assert!(still[&(Kind::Task, "a".to_owned())].removed, "its past is kept");
    assert_eq!(fixture.store.mirrored_count().await.unwrap(), 3);
}

#[tokio::test]
async fn what_a_scan_found_on_disk_is_nothing_of_the_manifests() {
    let fixture = Fixture::empty();
    let found = manifestd::plan::write::FoundApp {
        name: "m-app1".into(),
        app_set: "x.yaml".into(),
        spec: json!({"path": "g/m/app1"}).to_string(),
        labels: "{}".into(),
    };
    fixture.store.commit(vec![manifestd::plan::Write::FoundApp(Box::new(found))], NOW).await.unwrap();
    // Its AppSet is called like a file in a directory that is called like the mark of what was found.
    assert!(fixture.existing(&[], &["appset/x.yaml"]).await.is_empty());
    assert_eq!(fixture.store.mirrored_count().await.unwrap(), 0);
    assert!(manifestd::store::object_files(&fixture.sql()).unwrap().is_empty());
}

#[tokio::test]
async fn history_survives_a_removal() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    fixture.finish("a", Outcome::Completed, Reason::AllToolsRan).await;
    fixture.remove(Kind::Task, "a").await;
    let uid = fixture.uid(Kind::Task, "a");
    assert_eq!(view::attempts(&fixture.sql(), &uid.0).unwrap().len(), 1);
    fixture.restore(task("a")).await;
    assert_eq!(fixture.uid(Kind::Task, "a"), uid);
    assert!(fixture.settle("a").await.is_empty(), "what is done is done");
}

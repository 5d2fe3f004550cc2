//! What scans of the disk write: apps found and missing, conditions, and who is woken.

use manifestd::plan::apps::{AppsReconciler, FoundDirectory, NAME_TAKEN, ObservedApps};
use manifestd::plan::write::{ConditionWrite, FoundApp};
use manifestd::plan::{Key, Reconciler, Write};
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::resource::time::Span;
use manifestd::store::{Committed, view};
use serde_json::json;

use crate::fixture::{Fixture, NOW, declare};

fn found(name: &str, path: &str) -> Write {
    Write::FoundApp(Box::new(FoundApp {
        name: name.into(),
        app_set: "generated".into(),
        spec: json!({"path": path, "model": "m", "number": 1}).to_string(),
        labels: json!({"appset": "generated"}).to_string(),
    }))
}

async fn with_a_held_task() -> Fixture {
    let fixture = Fixture::with_tasks(1, &[]).await;
    let held = declare(Kind::Task, "held", json!({"app": "m-app1", "analyzer": "lint"}));
    let set = declare(Kind::AppSet, "generated", json!({"root": "g"}));
    fixture.create(vec![held, set]).await;
    fixture.dispatch().await;
    assert_eq!(fixture.seen("held").await.status.reason.as_str(), "AppNotFound");
    fixture
}

#[tokio::test]
async fn a_found_app_wakes_the_tasks_that_wait_for_it() {
    let fixture = with_a_held_task().await;
    let committed = fixture.store.commit(vec![found("m-app1", "g/m/app1")], NOW).await.unwrap();
    assert_eq!(committed, Committed::Applied(vec![Key::Task(fixture.uid(Kind::Task, "held"))]));
    fixture.settle("held").await;
    assert_eq!(fixture.dispatch().await.effects.len(), 1);
}

#[tokio::test]
async fn a_name_that_is_taken_stays_taken_and_a_removed_one_gives_way() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    let before = fixture.dump();
    fixture.store.commit(vec![found("demo", "elsewhere/app1")], NOW).await.unwrap();
    assert_eq!(fixture.dump(), before, "written by hand");
    fixture.remove(Kind::App, "demo").await;
    let uid = fixture.uid(Kind::App, "demo");
    fixture.store.commit(vec![found("demo", "elsewhere/app1")], NOW).await.unwrap();
    assert_eq!(fixture.uid(Kind::App, "demo"), uid);
    let row: String =
        fixture.one("SELECT generation || file || line || ifnull(removed_at, '-') FROM object WHERE kind = 'App'");
    assert_eq!(row, "2appset/generated0-");
    // And a hand-written manifest takes it back.
    fixture.respecify(declare(Kind::App, "demo", json!({"path": "apps/demo"})), 3).await;
    let (_, apps) = fixture.store.observe_apps().await.unwrap();
    assert_eq!((apps[0].set.as_deref(), apps[0].path.as_str()), (None, "apps/demo"));
}

#[tokio::test]
async fn a_missing_app_holds_its_tasks_and_lets_them_go_when_it_is_back() {
    let fixture = Fixture::with_tasks(1, &["a"]).await;
    let uid = fixture.uid(Kind::App, "demo");
    let missing = |since| vec![Write::AppMissing { uid: uid.clone(), since }];
    fixture.store.commit(missing(Some(NOW)), NOW).await.unwrap();
    fixture.dispatch().await;
    assert_eq!(fixture.seen("a").await.status.reason.as_str(), "AppMissing");
    let woken = fixture.store.commit(missing(None), NOW).await.unwrap();
    let wanted = vec![Key::Tree(uid.clone()), Key::Task(fixture.uid(Kind::Task, "a"))];
    assert_eq!(woken, Committed::Applied(wanted), "and what its files look like now");
    fixture.settle("a").await;
    assert_eq!(fixture.seen("a").await.status.reason.as_str(), "Queued");
}

#[tokio::test]
async fn an_app_whose_set_is_gone_is_looked_at_by_itself() {
    let fixture = with_a_held_task().await;
    fixture.store.commit(vec![found("m-app1", "g/m/app1")], NOW).await.unwrap();
    let of = |apps: &[manifestd::plan::apps::KnownApp]| {
        apps.iter().find(|app| app.name == "m-app1").and_then(|app| app.set.clone())
    };
    assert_eq!(of(&fixture.store.observe_apps().await.unwrap().1).as_deref(), Some("generated"));
    assert_eq!(fixture.remove(Kind::AppSet, "generated").await.woken, [Key::Apps]);
    assert_eq!(of(&fixture.store.observe_apps().await.unwrap().1), None);
}

#[tokio::test]
async fn names_that_collide_are_told_once_and_the_telling_ends() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    fixture.create(vec![declare(Kind::AppSet, "generated", json!({"root": "g"}))]).await;
    let directory = |model: &str| FoundDirectory {
        path: format!("g/{model}/app1"),
        model: Some(model.into()),
        template: None,
        number: 1,
    };
    let pass = async |models: &[&str]| {
        let (sets, apps) = fixture.store.observe_apps().await.unwrap();
        let scanned = sets.into_iter().map(|(mut set, _)| {
            set.scan = Ok(models.iter().map(|model| directory(model)).collect());
            set
        });
        let mut observed = ObservedApps { sets: scanned.collect(), apps, ..ObservedApps::default() };
        observed.apps.iter_mut().filter(|app| app.set.is_none()).for_each(|app| app.present = Some(true));
        let plan = AppsReconciler::plan(&observed, NOW);
        fixture.commit(&plan).await;
        plan
    };
    assert!(!pass(&["a-b", "a_b"]).await.is_empty());
    assert!(pass(&["a-b", "a_b"]).await.is_empty(), "twice is once");
    let set = || {
        let filter = view::Filter::default();
        let sets = view::objects(&fixture.sql(), Kind::AppSet, &filter).unwrap();
        sets[0].conditions.iter().find(|condition| condition.condition == NAME_TAKEN).unwrap().clone()
    };
    assert_eq!(set().status, "True");
    assert!(set().message.contains("g/a_b/app1"), "{}", set().message);
    pass(&["a-b"]).await;
    assert_eq!(set().status, "False");
    assert!(pass(&["a-b"]).await.is_empty());
}

#[tokio::test]
async fn a_condition_keeps_the_time_of_its_last_change() {
    let fixture = Fixture::empty();
    let condition = |holds, reason| {
        let write =
            ConditionWrite { uid: Uid::default(), condition: "SourceSuspect", holds, reason, message: String::new() };
        vec![Write::Condition(Box::new(write))]
    };
    for (seconds, holds, reason) in [(0, true, "One"), (1, true, "Two"), (2, false, "Three"), (3, false, "Three")] {
        fixture.store.commit(condition(holds, reason), NOW.plus(Span::seconds(seconds))).await.unwrap();
    }
    let row: String = fixture.one("SELECT holds || reason || (changed_at - 1767614400000) FROM condition");
    assert_eq!(row, "0Three2000");
}

#[tokio::test]
async fn what_a_person_accepts_is_every_source_that_is_suspect() {
    let fixture = Fixture::empty();
    let suspect = |uid: &str, holds| {
        let write = ConditionWrite {
            uid: Uid(uid.into()),
            condition: "SourceSuspect",
            holds,
            reason: "TooManyGone",
            message: "m".into(),
        };
        Write::Condition(Box::new(write))
    };
    let writes = vec![suspect("", true), suspect("one", true), suspect("two", false)];
    fixture.store.commit(writes, NOW).await.unwrap();
    assert_eq!(fixture.store.accept_orphans(NOW).await.unwrap(), 2);
    assert!(fixture.store.directory_condition("GoneAccepted").await.unwrap());
    assert_eq!(
        fixture.one::<String>("SELECT group_concat(uid, '|') FROM condition WHERE type = 'GoneAccepted'"),
        "|one"
    );
}

#[tokio::test]
async fn the_tasks_of_a_deleted_app_are_cancelled_at_once_and_run_again_when_it_comes_back() {
    let fixture = with_a_held_task().await;
    fixture.store.commit(vec![found("m-app1", "g/m/app1")], NOW).await.unwrap();
    fixture.settle("held").await;
    let app = fixture.uid(Kind::App, "m-app1");
    let missing = Write::AppMissing { uid: app.clone(), since: Some(NOW) };
    fixture.store.commit(vec![missing], NOW).await.unwrap();
    fixture.dispatch().await;
    assert_eq!(fixture.seen("held").await.status.reason.as_str(), "AppMissing");

    let key = Key::Task(fixture.uid(Kind::Task, "held"));
    let delete = |since| vec![Write::DeleteApp { uid: app.clone(), missing_since: since }];
    let restored_meanwhile = fixture.store.commit(delete(NOW.plus(Span::seconds(1))), NOW).await.unwrap();
    assert_eq!(restored_meanwhile, Committed::Conflict);
    assert_eq!(fixture.store.commit(delete(NOW), NOW).await.unwrap(), Committed::Applied(vec![key.clone()]));
    fixture.settle("held").await;
    assert_eq!(fixture.seen("held").await.status.reason.as_str(), "AppDeleted");
    assert!(fixture.settle("held").await.is_empty());
    assert!(fixture.unsettled().await.is_empty());

    let committed = fixture.store.commit(vec![found("m-app1", "g/m/app1")], NOW).await.unwrap();
    assert_eq!(committed, Committed::Applied(vec![key.clone()]));
    assert_eq!(fixture.unsettled().await, [(key, None)], "a lost wake-up is made good");
    fixture.settle("held").await;
    assert_eq!(fixture.dispatch().await.effects.len(), 1);
}

#[tokio::test]
async fn a_task_that_is_set_aside_is_not_listed_until_it_runs_again() {
    let fixture = Fixture::with_tasks(1, &["old"]).await;
    fixture
        .finish(
            "old",
            manifestd::resource::outcome::Outcome::Completed,
            manifestd::resource::reason::Reason::AllToolsRan,
        )
        .await;
    let old = fixture.seen("old").await;
    let aside = |version| vec![Write::SetAside { uid: old.uid.clone(), version }];
    assert_eq!(fixture.store.commit(aside(old.version - 1), NOW).await.unwrap(), Committed::Conflict);
    fixture.store.commit(aside(old.version), NOW).await.unwrap();
    let listed = |removed| {
        let filter = view::Filter { name: None, removed };
        view::objects(&fixture.sql(), Kind::Task, &filter).unwrap().len()
    };
    assert_eq!((listed(false), listed(true)), (0, 1));
    fixture.store.request_retry("old".into(), false).await.unwrap();
    fixture.settle("old").await;
    assert_eq!(listed(false), 1);
}

#[tokio::test]
async fn an_app_set_under_another_name_takes_the_apps_of_the_old_one_over_and_its_fuse_with_them() {
    let fixture = Fixture::with_tasks(1, &[]).await;
    fixture.create(vec![declare(Kind::AppSet, "generated", json!({"root": "g"}))]).await;
    fixture.store.commit(vec![found("m-app1", "g/m/app1")], NOW).await.unwrap();
    let uid = fixture.uid(Kind::App, "m-app1");
    let write = |app_set: &str| {
        let Write::FoundApp(found) = found("m-app1", "g/m/app1") else { unreachable!("it makes nothing else") };
        Write::FoundApp(Box::new(FoundApp { app_set: app_set.into(), ..*found }))
    };
    let set_of = || fixture.one::<String>("SELECT app_set FROM app JOIN object USING (uid) WHERE name = 'm-app1'");
    fixture.create(vec![declare(Kind::AppSet, "renamed", json!({"root": "g"}))]).await;
    fixture.store.commit(vec![write("renamed")], NOW).await.unwrap();
    assert_eq!(set_of(), "generated", "which is still there");
    fixture.remove(Kind::AppSet, "generated").await;
    let observed = fixture.store.observe_apps().await.unwrap().1;
    let app = observed.iter().find(|app| app.name == "m-app1").unwrap();
    assert!(app.ownerless && app.set.is_none());
    fixture.store.commit(vec![write("renamed")], NOW).await.unwrap();
    assert_eq!((set_of().as_str(), fixture.uid(Kind::App, "m-app1")), ("renamed", uid));
    assert!(!fixture.store.observe_apps().await.unwrap().1.iter().any(|app| app.ownerless));
}

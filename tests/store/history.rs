//! Revisions: what makes one, how many are kept, and what an older version left without a text.

use manifestd::plan::Write;
use manifestd::plan::mirror::{Change, Declared, Difference};
use manifestd::plan::write::FoundApp;
use manifestd::resource::digest::sha256;
use manifestd::resource::kind::Kind;
use manifestd::resource::provenance::Provenance;
use manifestd::store::Committed;
use manifestd::store::history::{REVISIONS_KEPT, Revision, revisions};
use serde_json::json;

use crate::fixture::{Fixture, declare, place, task};

fn texted(declared: &Declared, text: &str) -> Declared {
    Declared { manifest: text.into(), ..declared.clone() }
}

/// Mirrors an object again, in a file whose digest is another one now.
async fn update(fixture: &Fixture, declared: Declared) {
    let uid = fixture.uid(declared.object.kind(), &declared.object.metadata.name);
    let difference = Difference { spec: false, metadata: false, place: true, restored: false };
    fixture.mirror(vec![Change::Update { uid, declared, difference, generation: 1 }]).await;
}

fn kept(fixture: &Fixture, kind: Kind, name: &str) -> Vec<Revision> {
    revisions(&fixture.sql(), &fixture.uid(kind, name).0).unwrap()
}

fn texts(fixture: &Fixture, kind: Kind, name: &str) -> Vec<(i64, String)> {
    kept(fixture, kind, name).into_iter().map(|revision| (revision.number, revision.manifest)).collect()
}

#[tokio::test]
async fn another_text_or_file_is_a_revision_and_another_line_or_neighbour_is_none() {
    let fixture = Fixture::empty();
    fixture.create(vec![texted(&task("a"), "one")]).await;
    update(&fixture, texted(&task("a"), "one")).await;
    let line = Provenance { line: 7, digest: "other".into(), ..place() };
    update(&fixture, Declared { provenance: line, ..texted(&task("a"), "one") }).await;
    assert_eq!(texts(&fixture, Kind::Task, "a"), [(1, "one".into())]);
    update(&fixture, texted(&task("a"), "two")).await;
    let moved = Provenance { file: "b.yaml".into(), ..place() };
    update(&fixture, Declared { provenance: moved, ..texted(&task("a"), "two") }).await;
    let all = kept(&fixture, Kind::Task, "a");
    let places: Vec<(i64, &str, u32, &str)> =
        all.iter().map(|one| (one.number, one.file.as_str(), one.line, one.manifest.as_str())).collect();
    assert_eq!(places, [(3, "b.yaml", 1, "two"), (2, "a.yaml", 1, "two"), (1, "a.yaml", 7, "one")]);
    assert!(all.iter().all(|one| one.digest == sha256(&one.manifest) && one.generation == 1));
}

#[tokio::test]
async fn only_the_latest_revisions_are_kept() {
    let fixture = Fixture::empty();
    fixture.create(vec![texted(&task("a"), "1"), texted(&task("b"), "1")]).await;
    update(&fixture, texted(&task("b"), "2")).await;
    let last = REVISIONS_KEPT + 5;
    for number in 2..=last {
        update(&fixture, texted(&task("a"), &number.to_string())).await;
    }
    let want: Vec<(i64, String)> =
        (last - REVISIONS_KEPT..=last).rev().map(|number| (number, number.to_string())).collect();
    assert_eq!(texts(&fixture, Kind::Task, "a"), want);
    assert_eq!(texts(&fixture, Kind::Task, "b").len(), 2, "each object for itself");
}

#[tokio::test]
async fn a_text_that_an_older_version_did_not_store_is_filled_in_without_a_history() {
    let fixture = Fixture::empty();
    fixture.create(vec![task("a")]).await;
    fixture.sql().execute("UPDATE object SET manifest = '', manifest_digest = '', revised_at = 5", []).unwrap();
    let existing = fixture.store.mirrored_objects(vec![(Kind::Task, "a".into())], [].into()).await.unwrap();
    assert!(!existing[&(Kind::Task, "a".to_owned())].has_text);
    update(&fixture, texted(&task("a"), "one")).await;
    let all = kept(&fixture, Kind::Task, "a");
    assert_eq!((all.len(), all[0].number, all[0].manifest.as_str(), all[0].at.0), (1, 1, "one", 5));
}

#[tokio::test]
async fn a_return_is_a_revision_even_with_the_same_text() {
    let fixture = Fixture::empty();
    let declared = texted(&task("a"), "one");
    fixture.create(vec![declared.clone()]).await;
    fixture.remove(Kind::Task, "a").await;
    assert_eq!(texts(&fixture, Kind::Task, "a").len(), 1);
    fixture.restore(declared).await;
    assert_eq!(texts(&fixture, Kind::Task, "a"), [(2, "one".into()), (1, "one".into())]);
}

#[tokio::test]
async fn an_app_that_is_found_after_its_manifest_went_keeps_what_was_declared() {
    let fixture = Fixture::empty();
    let declared = texted(&declare(Kind::App, "demo", json!({"path": "apps/demo"})), "by hand");
    fixture.create(vec![declared.clone()]).await;
    fixture.remove(Kind::App, "demo").await;
    let (spec, labels) = (json!({"path": "apps/demo"}).to_string(), "{}".to_owned());
    let found = FoundApp { app_set: "all".into(), name: "demo".into(), spec, labels };
    let plan = vec![Write::FoundApp(Box::new(found))];
    assert!(matches!(fixture.store.commit(plan, crate::fixture::NOW).await.unwrap(), Committed::Applied(_)));
    let all = kept(&fixture, Kind::App, "demo");
    let places: Vec<(i64, &str, u32, &str)> =
        all.iter().map(|one| (one.number, one.file.as_str(), one.line, one.manifest.as_str())).collect();
    assert_eq!(places, [(2, "appset/all", 0, ""), (1, "a.yaml", 1, "by hand")]);
    update(&fixture, declared).await;
    assert_eq!(texts(&fixture, Kind::App, "demo"), [(2, "by hand".into()), (1, "by hand".into())]);
}

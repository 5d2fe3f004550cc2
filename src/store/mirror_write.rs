//! Writing what one batch of a scan changes: objects, files and problems, each with the keys that it concerns.

use rusqlite::{Connection, params};

use super::commit::{record, record_first, wake_tasks, wake_waiting_for_app};
use super::turn::first_turn;
use super::uid::new_uid;
use super::{MirrorCommit, MirrorOutcome, OwnedProblem, StoreError, history, pool};
use crate::plan::Key;
use crate::plan::mirror::{Change, Declared, Identity};
use crate::plan::write::EventWrite;
use crate::resource::event::EventType;
use crate::resource::kind::Kind;
use crate::resource::name::Uid;
use crate::resource::object::Spec;
use crate::resource::provenance::Provenance;
use crate::resource::task::RunPolicy;
use crate::resource::time::Timestamp;

/// Tasks that are held for what an analyzer was.
pub(super) const WAITING_FOR_ANALYZER: &str =
    "SELECT uid FROM task INDEXED BY task_held WHERE phase = 'Pending' AND reason <> 'Queued'
     AND reason IN ('AnalyzerNotFound', 'AppNotAddressable', 'PoolNotFound') AND analyzer = ?1";

/// Tasks that sit out a wait for an analyzer: without it all of them wait for its manifest. What is held for anything else is told by a resync.
pub(super) const SITTING_OUT: &str = "SELECT uid FROM task INDEXED BY task_waiting
     WHERE analyzer = ?1 AND phase = 'Pending' AND (reason = 'AnalyzerUnavailable' OR reason = 'BackOff' OR reason = 'BreakerOpen')";

/// Writes one creation, update or removal.
pub(super) fn apply(
    connection: &Connection,
    change: &Change,
    now: Timestamp,
    outcome: &mut MirrorOutcome,
) -> Result<(), StoreError> {
    match change {
        Change::Create(declared) => {
            let uid = new_uid(now);
            write_object(connection, &uid, declared, (1, true), now)?;
            outcome.created += 1;
            let message = format!("{}:{}", declared.provenance.file, declared.provenance.line);
            record_first(connection, &event(&uid, declared, "Created", message), now)?;
            wake(connection, &uid, declared, false, &mut outcome.woken)
        }
        Change::Update { uid, declared, difference, generation } => {
            write_object(connection, uid, declared, (*generation, false), now)?;
            outcome.updated += 1;
            let at = format!("{}:{}", declared.provenance.file, declared.provenance.line);
            if difference.restored {
                tell(connection, uid, declared, "Restored", format!("its manifest came back at {at}"), now)?;
            } else if difference.spec {
                tell(connection, uid, declared, "SpecChanged", format!("generation {generation}, {at}"), now)?;
            }
            if difference.spec || difference.restored {
                wake(connection, uid, declared, true, &mut outcome.woken)?;
            }
            Ok(())
        }
        Change::Remove { uid, identity, provenance } => remove(connection, uid, identity, provenance, now, outcome),
    }
}

/// Marks an object as removed, unless it was declared elsewhere or removed since that was decided.
fn remove(
    connection: &Connection,
    uid: &Uid,
    (kind, name): &Identity,
    provenance: &Provenance,
    now: Timestamp,
    outcome: &mut MirrorOutcome,
) -> Result<(), StoreError> {
    let removed = connection
        .prepare_cached("UPDATE object SET removed_at = ?2 WHERE uid = ?1 AND file = ?3 AND removed_at IS NULL")?
        .execute(params![uid.0, now.0, provenance.file])?;
    if removed == 0 {
        return Ok(());
    }
    connection.prepare_cached("UPDATE task SET removed = 1 WHERE uid = ?1")?.execute([&uid.0])?;
    outcome.removed += 1;
    let event = EventWrite {
        uid: uid.clone(),
        kind: *kind,
        name: name.clone(),
        event_type: EventType::Normal,
        reason: "Removed",
        message: format!("no longer declared in {}", provenance.file),
    };
    record(connection, &event, now)?;
    match kind {
        Kind::Task => outcome.woken.push(Key::Task(uid.clone())),
        Kind::Analyzer => {
            outcome.woken.extend([Key::Analyzer(name.clone()), Key::Lane(name.clone())]);
            wake_tasks(connection, SITTING_OUT, name, &mut outcome.woken)?;
        }
        // An AppSet may find by itself what was declared by hand.
        Kind::App => {
            outcome.woken.push(Key::Apps);
            wake_waiting_for_app(connection, name, &mut outcome.woken)?;
        }
        Kind::AppSet => outcome.woken.push(Key::Apps),
        Kind::Pool => pool::waiting_for(connection, name, &mut outcome.woken)?,
        Kind::Pipeline => outcome.woken.push(Key::Pipeline(uid.clone())),
        Kind::Run => {}
    }
    Ok(())
}

fn tell(
    connection: &Connection,
    uid: &Uid,
    declared: &Declared,
    reason: &'static str,
    message: String,
    now: Timestamp,
) -> Result<(), StoreError> {
    record(connection, &event(uid, declared, reason, message), now)
}

fn event(uid: &Uid, declared: &Declared, reason: &'static str, message: String) -> EventWrite {
    EventWrite {
        uid: uid.clone(),
        kind: declared.object.kind(),
        name: declared.object.metadata.name.clone(),
        event_type: EventType::Normal,
        reason,
        message,
    }
}

fn write_object(
    connection: &Connection,
    uid: &Uid,
    declared: &Declared,
    (generation, is_new): (i64, bool),
    now: Timestamp,
) -> Result<(), StoreError> {
    let (object, place) = (&declared.object, &declared.provenance);
    if let Spec::Analyzer(spec) = &object.spec {
        pool::follow_analyzer(connection, &object.metadata.name, spec.pool.as_deref())?;
    }
    let is_revised = !is_new && history::keep_declared(connection, uid, &declared.manifest_digest, &place.file)?;
    connection
        .prepare_cached(
            "INSERT INTO object (uid, kind, name, labels, annotations, spec, generation, created_at, updated_at, file, line, digest, git_commit,
                 manifest, manifest_digest, revised_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?8)
             ON CONFLICT (uid) DO UPDATE SET labels = excluded.labels, annotations = excluded.annotations,
                 spec = excluded.spec, generation = excluded.generation, updated_at = excluded.updated_at, removed_at = NULL,
                 file = excluded.file, line = excluded.line, digest = excluded.digest, git_commit = excluded.git_commit,
                 manifest = excluded.manifest, manifest_digest = excluded.manifest_digest, revision = revision + ?15,
                 revised_at = iif(?15 OR line = 0 OR generation <> excluded.generation, excluded.revised_at, revised_at)",
        )?
        .execute(params![
            uid.0,
            object.kind().as_str(),
            object.metadata.name,
            declared.labels,
            declared.annotations,
            declared.spec,
            generation,
            now.0,
            place.file,
            place.line,
            place.digest,
            place.commit,
            declared.manifest,
            declared.manifest_digest,
            is_revised,
        ])?;
    match &object.spec {
        Spec::Task(spec) => {
            connection
                .prepare_cached(concat!(
                    "INSERT INTO task (uid, name, app, analyzer, priority, created_at, since, generation, owner, pool, on_app_change, turn)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8,
                         coalesce(?9, (SELECT spec ->> 'pool' FROM object WHERE kind = 'Analyzer' AND name = ?4)), ?10, ",
                    first_turn!("?4", "?5", "?8"),
                    ")
                     ON CONFLICT (uid) DO UPDATE SET app = excluded.app, analyzer = excluded.analyzer,
                         priority = excluded.priority, generation = excluded.generation, removed = 0,
                         owner = excluded.owner, pool = excluded.pool, on_app_change = excluded.on_app_change",
                ))?
                .execute(params![
                    uid.0,
                    object.metadata.name,
                    spec.app,
                    spec.analyzer,
                    spec.priority,
                    now.0,
                    generation,
                    declared.owner,
                    spec.pool,
                    spec.run_policy == RunPolicy::OnAppChange,
                ])?;
        }
        Spec::App(_) => {
            connection
                .prepare_cached("INSERT INTO app (uid) VALUES (?1) ON CONFLICT (uid) DO UPDATE SET app_set = NULL, deleted_at = NULL")?
                .execute([&uid.0])?;
        }
        Spec::Analyzer(_) | Spec::AppSet(_) | Spec::Pipeline(_) | Spec::Pool(_) => {}
    }
    Ok(())
}

/// The keys that a changed object concerns: itself, and the tasks that are held because of it.
fn wake(
    connection: &Connection,
    uid: &Uid,
    declared: &Declared,
    known: bool,
    woken: &mut Vec<Key>,
) -> Result<(), StoreError> {
    let name = &declared.object.metadata.name;
    match &declared.object.spec {
        Spec::Task(spec) => {
            // A suspended one is told so at once, however many are before it in the queue.
            if known || spec.suspend {
                woken.push(Key::Task(uid.clone()));
            }
            woken.push(Key::Lane(spec.analyzer.clone()));
            let failed_for_want_of_it =
                "SELECT 1 FROM task WHERE uid = ?1 AND phase = 'Failed' AND reason = 'AnalyzerUnavailable'";
            if known && connection.prepare_cached(failed_for_want_of_it)?.exists([&uid.0])? {
                // It starts over when its analyzer is there again, as long as it is declared; it may not have been until now.
                woken.push(Key::Analyzer(spec.analyzer.clone()));
            }
        }
        Spec::Analyzer(_) => {
            // Its replicas are asked before its queue is looked at.
            woken.push(Key::Analyzer(name.clone()));
            woken.push(Key::Lane(name.clone()));
            wake_tasks(connection, WAITING_FOR_ANALYZER, name, woken)?;
        }
        Spec::App(_) => {
            woken.push(Key::Apps);
            if known {
                // What was read was perhaps read in another place.
                connection
                    .prepare_cached("UPDATE app SET tree_digest = NULL, tree_seen_at = NULL WHERE uid = ?1")?
                    .execute([&uid.0])?;
                woken.push(Key::Tree(uid.clone()));
            }
            wake_waiting_for_app(connection, name, woken)?;
            super::maintenance::wake_cancelled_with(connection, name, woken)?;
        }
        Spec::AppSet(_) => woken.push(Key::Apps),
        Spec::Pool(_) => pool::waiting_for(connection, name, woken)?,
        Spec::Pipeline(_) => {
            woken.push(Key::Pipeline(uid.clone()));
            // A suspended one may wait for it as well, and says the other.
            let query = "SELECT uid FROM run WHERE finished_at IS NULL AND phase = 'Pending' AND reason IN ('PipelineNotFound', 'Suspended')";
            let mut waiting = connection.prepare_cached(query)?;
            for uid in waiting.query_map([], |row| row.get(0))? {
                woken.push(Key::Run(Uid(uid?)));
            }
        }
    }
    Ok(())
}

/// Remembers the files that were read, and forgets those that are gone.
pub(super) fn write_files(connection: &Connection, batch: &MirrorCommit) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO file (path, size, mtime_ns, inode, digest) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for file in &batch.files {
        let stat = &file.stat;
        insert.execute(params![file.path, stat.size, stat.mtime_ns, stat.inode.cast_signed(), file.digest])?;
    }
    let mut delete = connection.prepare_cached("DELETE FROM file WHERE path = ?1")?;
    for path in &batch.gone {
        delete.execute([path])?;
    }
    Ok(())
}

/// Replaces the problems of the files that were judged or are gone.
pub(super) fn write_problems(connection: &Connection, batch: &MirrorCommit) -> Result<(), StoreError> {
    let judged: Vec<&str> = batch.judged.iter().chain(&batch.gone).map(String::as_str).collect();
    connection
        .prepare_cached("DELETE FROM problem WHERE owner IN (SELECT value FROM json_each(?1))")?
        .execute([serde_json::Value::from(judged).to_string()])?;
    let mut insert =
        connection.prepare_cached("INSERT INTO problem (owner, file, line, code, body) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for OwnedProblem { owner, problem } in &batch.problems {
        let body = serde_json::to_string(problem).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        insert.execute(params![owner, problem.file, problem.place.line, problem.code, body])?;
    }
    Ok(())
}

//! What a trouble does: to files and directories, to replicas and clocks, and what people ask of the controller, if there is one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use manifestd::plan::write::CloseAttempt;
use manifestd::resource::attempt::AttemptId;
use manifestd::resource::kind::Kind;
use manifestd::resource::name::Uid;
use manifestd::resource::outcome::{Outcome, Verdict};
use manifestd::resource::reason::Reason;
use manifestd::resource::time::Timestamp;
use manifestd::runtime::control::{Request, RetryWhat};
use manifestd::store::aside::Care;
use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind, RenameMode};

use super::laws::{Breach, Law};
use super::play::Stage;
use super::script::Script;
use super::troubles::{Place, Told, Trouble};
use super::words::{APPS, Document, FOUND};
use super::world::World;

/// How long a person's care is remembered by laws that are about what goes.
fn cares(world: &World) {
    let mut state = world.state();
    state.cared_at = Some(state.age);
}

/// What is there before anything happens: the directories of apps.
pub(crate) fn furnish(world: &World, script: &Script) {
    // Few enough to be gone at once, or so many that a fuse has to look at it.
    let found = if script.seed.is_multiple_of(3) { FOUND.len() } else { 4 };
    let found = FOUND.iter().take(found).map(|(_, path)| (*path).to_owned());
    for path in APPS.iter().map(|name| format!("apps/{name}")).chain(found) {
        directory(world, &path, true);
    }
    world.state().declared.place("gen", true, 0);
    world.state().declared.place("gen/m", true, 0);
}

/// Something happens while a controller runs.
pub(crate) async fn act(stage: &mut Stage, trouble: &Trouble) {
    let world = Arc::clone(&stage.life.world);
    suffer(&world, trouble);
    match trouble {
        Trouble::Write { file, told, .. } | Trouble::Break { file, told } | Trouble::Remove { file, told } => {
            tell(stage, file, *told, matches!(trouble, Trouble::Remove { .. }));
        }
        Trouble::Replica { .. } | Trouble::Restart { .. } => stage.life.changed.notify_waiters(),
        Trouble::Kill { steps, place, down } => {
            let mut state = stage.life.state();
            state.weather.down = *down;
            if *steps == 0 && *place == Place::Silently {
                state.count("killed between two steps");
                state.say(format_args!("killed"));
                stage.life.end();
            } else {
                state.weather.kill = Some((*steps, *place));
            }
        }
        Trouble::Late { task } => late(stage, task),
        _ => {
            if let Some(request) = request(&world, trouble) {
                ask(stage, request);
            }
        }
    }
}

/// What happens whether or not a controller is there.
pub(crate) fn suffer(world: &World, trouble: &Trouble) {
    let mut state = world.state();
    let age = state.age;
    match trouble {
        Trouble::Write { file, documents, .. } => {
            state.declared.write(file, documents.clone(), age);
            drop(state);
            write(world, file, &documents.iter().map(Document::text).collect::<Vec<_>>().join("---\n"));
        }
        Trouble::Break { file, .. } => {
            let Some(documents) = state.declared.documents(file).cloned() else { return };
            drop(state);
            // Half of the time nobody can read it at all; else one document of it is wrong.
            let mut texts: Vec<String> = documents.iter().map(Document::text).collect();
            if documents.len() % 2 == 0 {
                texts.insert(0, "kind: [\n".to_owned());
            } else {
                texts[0] = texts[0].replacen("\"spec\":{", "\"spec\":{\"colour\":1,", 1);
            }
            write(world, file, &texts.join("---\n"));
        }
        Trouble::Remove { file, .. } => {
            state.declared.remove(file, age);
            drop(state);
            for place in ["manifests", "manifests-away"] {
                let _ = std::fs::remove_file(world.path(place).join(file));
            }
        }
        Trouble::Manifests { there, empty } => {
            state.declared.hide(!there, *empty, age);
            drop(state);
            show_manifests(world, *there, *empty);
        }
        Trouble::Link { is_link } => {
            drop(state);
            link(world, *is_link);
        }
        Trouble::Directory { path, there } => {
            drop(state);
            directory(world, path, *there);
        }
        Trouble::Touch { path } => {
            drop(state);
            if world.path(path).is_dir() {
                let text = format!("changed at {age}\n");
                std::fs::write(world.path(path).join("app.py"), text).expect("a file of an app");
            }
        }
        Trouble::Replica { url, mood } => state.ledger.turn(url, *mood),
        Trouble::Restart { url } => state.ledger.restart(url),
        Trouble::Thief { lasts, percent } => {
            (state.weather.thief_until, state.weather.thief_percent) = (age + lasts, *percent);
        }
        Trouble::Clock { by } => {
            state.jumps.push(age);
            state.turned_back += by.min(&0).unsigned_abs();
            state.turned_ahead += by.max(&0).unsigned_abs();
            world.skew.fetch_add(*by, Ordering::SeqCst);
        }
        Trouble::Full { lasts } => state.weather.full_until = age + lasts,
        Trouble::Slow { lasts } => state.weather.slow_until = age + lasts,
        _ => {}
    }
}

/// The directory of manifests goes, or comes back.
fn show_manifests(world: &World, there: bool, empty: bool) {
    let (shown, hidden) = (world.path("manifests"), world.path("manifests-away"));
    if !there && !hidden.exists() {
        std::fs::rename(&shown, &hidden).expect("the manifests go");
        // As a disk that is not mounted: the directory is there, and nothing in it.
        let _ = empty.then(|| std::fs::create_dir(&shown));
    } else if there && hidden.exists() {
        let _ = std::fs::remove_dir_all(&shown);
        std::fs::rename(&hidden, &shown).expect("the manifests are back");
    }
}

/// The root of the AppSet becomes a link to itself, or itself again. What lies behind a link is there for everybody but a scan, which follows none.
fn link(world: &World, is_link: bool) {
    let (root, real) = (world.path("gen"), world.path("gen-real"));
    if is_link && !real.exists() && root.is_dir() {
        std::fs::rename(&root, &real).and_then(|()| std::os::unix::fs::symlink(&real, &root)).expect("a link");
    } else if !is_link && real.exists() {
        let _ = std::fs::remove_file(&root);
        std::fs::rename(&real, &root).expect("the directory is back");
    }
}

/// Writes a manifest, under a time that no other has: a clock here is finer than that of any disk.
fn write(world: &World, file: &str, text: &str) {
    let number = {
        let mut state = world.state();
        state.written += 1;
        state.written
    };
    // While the directory is away, what is written lies with it.
    let away = world.path("manifests-away");
    let path = if away.exists() { away } else { world.path("manifests") }.join(file);
    let at = UNIX_EPOCH + Duration::from_secs(1_000_000 + number);
    let written =
        std::fs::write(&path, text).and_then(|()| std::fs::File::options().write(true).open(&path)?.set_modified(at));
    written.expect("a manifest");
}

/// An app's directory, or one above it, comes or goes.
fn directory(world: &World, path: &str, there: bool) {
    let whole = world.path(path);
    if path == "gen" && world.path("gen-real").exists() {
        // The link goes as well as all that is behind it.
        let _ = std::fs::remove_file(&whole);
        let _ = std::fs::remove_dir_all(world.path("gen-real"));
        let mut state = world.state();
        let age = state.age;
        state.declared.place(path, false, age);
    }
    if there {
        std::fs::create_dir_all(&whole).expect("a directory");
        if path.matches('/').count() != 1 || path.starts_with("apps/") {
            std::fs::write(whole.join("app.py"), "print()\n").expect("a file of an app");
        }
    } else {
        let _ = std::fs::remove_dir_all(&whole);
    }
    let mut state = world.state();
    let age = state.age;
    state.declared.place(path, there, age);
    if there {
        // What lies above it is there again as well.
        let above: Vec<String> = path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect();
        above.iter().for_each(|path| state.declared.place(path, true, age));
    }
}

/// The mirror hears of a file, or does not.
fn tell(stage: &mut Stage, file: &str, told: Told, is_gone: bool) {
    let directory = stage.life.world.path("manifests");
    let Some(mirror) = stage.controller.mirror() else { return };
    let kind = match told {
        Told::Nothing => return,
        Told::Sync => return ask(stage, Request::Sync),
        Told::Complete if !is_gone => EventKind::Access(AccessKind::Close(AccessMode::Write)),
        Told::Complete | Told::Something => EventKind::Modify(ModifyKind::Name(RenameMode::From)),
    };
    mirror.tell(&directory, Event::new(kind).add_path(directory.join(file)));
}

/// Somebody asks for something, and waits for the answer while all goes on.
fn ask(stage: &mut Stage, request: Request) {
    let (answerer, life) = (stage.answerer.clone(), Arc::clone(&stage.life));
    stage.asked.spawn(async move {
        life.breathe().await;
        let answer = answerer.answer(request).await;
        life.state().say(format_args!("answer {answer:?}"));
    });
}

/// Runs by their names, in the order in which they were made.
fn run(world: &World, which: u64) -> Option<String> {
    let state = world.state();
    let runs: Vec<&str> = state.model.runs.values().map(|run| run.row.text("name")).collect();
    (!runs.is_empty()).then(|| runs[(which % runs.len() as u64) as usize].to_owned())
}

/// What is set aside, missing or stray, as people name it.
fn aside(world: &World, which: u64) -> Option<String> {
    let state = world.state();
    let model = &state.model;
    let is_aside = |row: &super::audit::Row| row.maybe("aside_at").is_some();
    let tasks = model.tasks.values().filter(|task| is_aside(&task.row)).map(|task| format!("task/{}", task.name()));
    let runs = model.runs.values().filter(|run| is_aside(&run.row)).map(|run| format!("run/{}", run.row.text("name")));
    let missing = model.apps.iter().filter(|(_, row)| row.maybe("missing_since").is_some());
    let apps = missing.filter_map(|(uid, _)| Some(format!("app/{}", model.objects.get(uid)?.name)));
    let all: Vec<String> = tasks.chain(runs).chain(apps).collect();
    (!all.is_empty()).then(|| all[(which % all.len() as u64) as usize].clone())
}

/// What a person asks of the controller.
fn request(world: &World, trouble: &Trouble) -> Option<Request> {
    let now = Timestamp(world.wall(world.state().age));
    let nobody = BTreeMap::new;
    let target = |which: &Option<u64>| match which {
        Some(which) => run(world, *which).map(|run| format!("run/{run}")),
        None => Some("pipeline/study".to_owned()),
    };
    Some(match trouble {
        Trouble::Cancel { task } => Request::Cancel { tasks: vec![task.clone()] },
        Trouble::Retry { task, no_cache } => Request::Retry { tasks: vec![task.clone()], no_cache: *no_cache },
        Trouble::Sync => Request::Sync,
        Trouble::Reconcile => Request::Reconcile { only: Vec::new(), planned: None },
        Trouble::AcceptGone => {
            cares(world);
            Request::AcceptOrphans
        }
        Trouble::Run { pipeline } => Request::Run { pipeline: pipeline.clone(), params: nobody() },
        Trouble::Rerun { which, latest } => {
            Request::Rerun { run: run(world, *which)?, params: nobody(), latest: *latest, dry_run: false }
        }
        Trouble::CancelRun { which, finally } => {
            let runs = vec![run(world, *which)?];
            Request::CancelRuns { runs, message: "enough".into(), finally: *finally, dry_run: false }
        }
        Trouble::RetryRun { which, from } => {
            let what = from.clone().map_or(RetryWhat::Failed, RetryWhat::From);
            Request::RetryRun { run: run(world, *which)?, what, dry_run: false }
        }
        Trouble::Suspend { which, lasts } => {
            let until = lasts.map(|lasts| Timestamp(now.0 + lasts.cast_signed()));
            Request::Suspend { target: target(which)?, reason: "wait".into(), by: "p".into(), until, dry_run: false }
        }
        Trouble::Resume { which } => Request::Resume { target: target(which)?, dry_run: false },
        Trouble::Decide { which, approved } => Request::Decide {
            run: run(world, *which)?,
            step: "agree".into(),
            approved: *approved,
            by: "p".into(),
            comment: String::new(),
        },
        Trouble::Backfill { back } => Request::Backfill {
            pipeline: "study".into(),
            from: Timestamp(now.0 - back.cast_signed()),
            to: now,
            dry_run: false,
        },
        Trouble::Keep { which } => Request::Care { objects: vec![aside(world, *which)?], care: Care::Keep },
        Trouble::Restore { which } => {
            cares(world);
            Request::Care { objects: vec![aside(world, *which)?], care: Care::Restore }
        }
        Trouble::Purge => {
            cares(world);
            Request::Purge { objects: None }
        }
        _ => return None,
    })
}

/// A result comes for an attempt that has ended, as of a controller that was gone for long.
fn late(stage: &mut Stage, task: &str) {
    let life = Arc::clone(&stage.life);
    let id = {
        let state = life.state();
        let Some((uid, _)) = state.model.find(Kind::Task, task) else { return };
        let known = state.model.tasks.get(uid);
        let ended = known.and_then(|task| task.attempts.iter().find(|(_, attempt)| !attempt.is_open()));
        let Some((number, _)) = ended else { return };
        AttemptId { task: Uid(uid.clone()), number: *number }
    };
    let store = stage.controller.core().store.clone();
    stage.asked.spawn(async move {
        let verdict = Verdict::without_tools(Outcome::Completed, Reason::AllToolsRan, "a late result");
        let at = Timestamp(life.world.wall(life.age()));
        let close = CloseAttempt { id: id.clone(), verdict, result: None, at, slot_until: None, cache_key: None };
        let accepted = store.report_ending(close).await;
        let mut state = life.state();
        state.say(format_args!("a late result of {id}: {accepted:?}"));
        let is_refused = matches!(&accepted, Ok(None)) || accepted.as_ref().is_err_and(|error| error.is_full());
        if !is_refused {
            state.breached(Err(Breach::new(Law::OneOwner, format!("a late result of {id} is accepted: {accepted:?}"))));
            life.end();
        }
    });
}

//! The press: one thread that makes results durable, many at once. Each result is written, synced, put in its place by a rename, and that is synced, and
//! only then whoever stores it hears of it. Whatever waits meanwhile is done together: two syncs of the file system for all of them, which is
//! far less than a sync of each file. A result that comes alone is synced file by file, so that it never waits for what others wrote on the disk;
//! but for the first one, and one that comes after a failure.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::oneshot;

use super::sheet::Sheet;
use crate::resource::attempt::StoredResult;

/// Results in one group at most, so that an answer is never far away.
const GROUP_MAX: usize = 256;

/// Up to so many results are synced file by file.
const APART_MAX: usize = 2;

type Answer = oneshot::Sender<io::Result<StoredResult>>;

/// Makes results durable. Its thread starts with the first result and ends when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Press {
    sheets: OnceLock<Sender<(Sheet, Answer)>>,
}

impl Press {
    /// Brings a result to its place; it comes back when the result is safely on disk.
    ///
    /// # Errors
    /// What the disk says, with the path.
    pub(super) async fn print(&self, sheet: Sheet) -> io::Result<StoredResult> {
        let (answer, printed) = oneshot::channel();
        let gone = || io::Error::other("the thread that stores results has ended");
        self.sheets.get_or_init(start).send((sheet, answer)).map_err(|_| gone())?;
        printed.await.map_err(|_| gone())?
    }
}

fn start() -> Sender<(Sheet, Answer)> {
    let (sheets, queue) = channel();
    // Without a thread nobody takes what is sent, and whoever stores a result is told so.
    if let Err(error) = std::thread::Builder::new().name("results".into()).spawn(move || serve(&queue)) {
        tracing::error!(%error, "the thread that stores results could not be started");
    }
    sheets
}

fn serve(queue: &Receiver<(Sheet, Answer)>) {
    // A controller that was killed may have made directories that it did not come to sync; what is stored in them must not rely on it. So may a
    // result that failed half way.
    let mut in_doubt = true;
    while let Ok(first) = queue.recv() {
        let mut waiting = vec![Item::from(first)];
        waiting.extend(queue.try_iter().take(GROUP_MAX - 1).map(Item::from));
        let groups: Vec<Vec<Item>> = if waiting.len() > APART_MAX {
            vec![waiting]
        } else {
            waiting.into_iter().map(|item| vec![item]).collect()
        };
        for group in groups {
            let sync = Sync::of(&group, in_doubt);
            in_doubt &= sync.is_none();
            in_doubt |= !print(group, sync.as_ref().map(|sync| || sync.all()));
        }
    }
}

struct Item {
    sheet: Sheet,
    answer: Answer,
    failed: Option<io::Error>,
}

impl From<(Sheet, Answer)> for Item {
    fn from((sheet, answer): (Sheet, Answer)) -> Self {
        Self { sheet, answer, failed: None }
    }
}

/// Brings a group to its place and answers it. `sync` makes durable whatever was changed before; without it each file is synced by itself. Gives
/// whether all of them went well.
fn print(mut group: Vec<Item>, sync: Option<impl Fn() -> io::Result<()>>) -> bool {
    step(&mut group, sync.as_ref(), Sheet::write);
    step(&mut group, sync.as_ref(), Sheet::publish);
    let went_well = group.iter().all(|item| item.failed.is_none());
    for Item { sheet, answer, failed } in group {
        // Nobody waits any more when the attempt was dropped; its result is a stray then.
        let _ = answer.send(match failed {
            Some(error) => Err(error),
            None => sheet.done(),
        });
    }
    went_well
}

/// Takes every result that has not failed a step further, and syncs what that changed.
fn step(
    group: &mut [Item],
    sync: Option<impl Fn() -> io::Result<()>>,
    take: fn(&mut Sheet, &mut Vec<File>) -> io::Result<()>,
) {
    for item in group.iter_mut().filter(|item| item.failed.is_none()) {
        let mut changed = Vec::new();
        // A bug harms one result, and not all that come after it.
        let mut taken = catch_unwind(AssertUnwindSafe(|| take(&mut item.sheet, &mut changed)))
            .unwrap_or_else(|_| Err(io::Error::other("manifestd failed while it stored the result; this is a bug")));
        if sync.is_none() {
            taken = taken.and_then(|()| changed.iter().try_for_each(File::sync_all));
        }
        item.failed = taken.err();
    }
    if let Some(Err(error)) = sync.map(|sync| sync()) {
        for item in group {
            item.failed.get_or_insert_with(|| io::Error::new(error.kind(), format!("syncing the results: {error}")));
        }
    }
}

/// Syncs everything on a file system. Opened before anything is written: it tells of every error since.
struct Sync(File);

impl Sync {
    /// For a group that is worth it, and for one that must not rely on what was done before, where the system can do that.
    fn of(group: &[Item], in_doubt: bool) -> Option<Self> {
        let [first, ..] = group else { return None };
        (cfg!(target_os = "linux") && (in_doubt || group.len() > APART_MAX)).then(|| Self::open(first.sheet.state()))?
    }

    fn open(state: &Path) -> Option<Self> {
        // Without it every file is synced by itself, which says what is wrong.
        File::open(state).ok().map(Self)
    }

    #[cfg(target_os = "linux")]
    fn all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::path::PathBuf;

    use serde_json::json;

    use super::super::log::Logged;
    use super::super::sheet::Payload;
    use super::*;
    use crate::resource::digest::sha256;

    type Told = oneshot::Receiver<io::Result<StoredResult>>;

    /// The result of the first attempt of a task, and the item of a group that it is.
    fn item(state: &Path, task: &str) -> (Item, Told) {
        let log = Logged { file: None, rest: Vec::new() };
        let payload = Payload { result: Some(("result.json", "{}".into())), sarif: Vec::new(), log };
        let parts = ["app".into(), task.to_owned(), "1".into()];
        let sheet = Sheet::new(state, staging(state, task), parts, false, (json!({ "task": task }), payload));
        let (answer, told) = oneshot::channel();
        (Item::from((sheet, answer)), told)
    }

    fn staging(state: &Path, task: &str) -> PathBuf {
        state.join("staging").join(format!("{task}-1"))
    }

    fn place(state: &Path, task: &str) -> PathBuf {
        state.join("results/app").join(task).join("1")
    }

    fn group(state: &Path, tasks: &[&str]) -> (Vec<Item>, Vec<Told>) {
        tasks.iter().map(|task| item(state, task)).unzip()
    }

    const TASKS: [&str; 4] = ["a", "b", "c", "d"];
    const UNSYNCED: Option<fn() -> io::Result<()>> = None;

    #[test]
    fn a_group_is_synced_as_files_and_then_in_its_place_before_anybody_is_answered() {
        let state = tempfile::tempdir().unwrap();
        let (group, told) = group(state.path(), &TASKS);
        let (syncs, told) = (Cell::new(0), RefCell::new(told));
        let sync = || {
            syncs.set(syncs.get() + 1);
            for (task, told) in TASKS.iter().zip(told.borrow_mut().iter_mut()) {
                assert!(told.try_recv().is_err(), "{task} was told before sync {}", syncs.get());
                let in_place = place(state.path(), task).join("manifest.json").exists();
                let staged = staging(state.path(), task).join("manifest.json").exists();
                assert_eq!((staged, in_place), if syncs.get() == 1 { (true, false) } else { (false, true) }, "{task}");
            }
            Ok(())
        };
        assert!(print(group, Some(sync)));
        assert_eq!(syncs.get(), 2);
        for (task, told) in TASKS.iter().zip(told.into_inner()) {
            let stored = told.blocking_recv().unwrap().unwrap();
            assert_eq!(stored.directory, format!("app/{task}/1"));
            let manifest = std::fs::read(place(state.path(), task).join("manifest.json")).unwrap();
            assert_eq!((stored.sha256, stored.bytes), (sha256(&manifest), manifest.len() as u64 + 2));
        }
    }

    #[test]
    fn a_result_that_fails_harms_none_of_its_group() {
        let state = tempfile::tempdir().unwrap();
        let (state, synced) = (state.path(), || Ok(()));
        // One cannot be written, another one's place is taken, and nobody waits for a third.
        std::fs::create_dir_all(state.join("staging")).unwrap();
        std::fs::write(staging(state, "a"), "in the way").unwrap();
        std::fs::create_dir_all(place(state, "b")).unwrap();
        for sync in [Some(synced as fn() -> io::Result<()>), UNSYNCED] {
            let (group, mut told) = group(state, &TASKS);
            drop(told.remove(2));
            assert!(!print(group, sync), "and it is told that something failed");
            let mut answers = told.into_iter().map(|told| told.blocking_recv().unwrap());
            assert!(answers.next().unwrap().is_err_and(|error| error.to_string().contains("staging/a-1")));
            assert!(answers.next().unwrap().is_err_and(|error| error.to_string().contains("never overwritten")));
            assert_eq!(answers.next().unwrap().unwrap().directory, "app/d/1");
            assert!(place(state, "c").join("manifest.json").exists());
            for task in ["c", "d"] {
                std::fs::remove_dir_all(place(state, task)).unwrap();
            }
        }
    }

    #[test]
    fn when_a_sync_fails_nobody_of_the_group_is_told_that_its_result_is_stored() {
        for failing in [1, 2] {
            let state = tempfile::tempdir().unwrap();
            let (group, told) = group(state.path(), &TASKS);
            let syncs = Cell::new(0);
            let sync = || {
                syncs.set(syncs.get() + 1);
                if syncs.get() == failing { Err(io::Error::other("the disk is broken")) } else { Ok(()) }
            };
            assert!(!print(group, Some(sync)));
            for (task, told) in TASKS.iter().zip(told) {
                let answer = told.blocking_recv().unwrap();
                assert!(answer.is_err_and(|error| error.to_string().contains("the disk is broken")), "{task}");
                assert_eq!(
                    place(state.path(), task).exists(),
                    failing == 2,
                    "{task}: what is not synced is not put in its place"
                );
            }
        }
    }

    #[tokio::test]
    async fn more_results_than_one_group_has_are_all_stored() {
        let state = tempfile::tempdir().unwrap();
        let press = Press::default();
        let all = (0..2 * GROUP_MAX + 1).map(|n| press.print(item(state.path(), &format!("t{n}")).0.sheet));
        let stored = futures_util::future::join_all(all).await;
        assert!(stored.iter().all(Result::is_ok), "{stored:?}");
        assert_eq!(std::fs::read_dir(state.path().join("results/app")).unwrap().count(), stored.len());
    }
}

//! The press: one thread that makes results durable, many at once. Each result is written, synced, put in its place by a rename, and that is synced, and
//! only then whoever stores it hears of it. Whatever waits meanwhile is done together: two syncs of the file system for all of them, which is
//! far less than a sync of each file. A result that comes alone is synced file by file, so that it never waits for what others wrote on the disk;
//! but for the first one.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::sync::oneshot;

use super::results::Sheet;
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
    // A controller that was killed may have made directories that it did not come to sync; what is stored in them must not rely on it.
    let mut is_first = true;
    while let Ok(first) = queue.recv() {
        let mut group = vec![Item::from(first)];
        group.extend(queue.try_iter().take(GROUP_MAX - 1).map(Item::from));
        print(group, is_first);
        is_first = false;
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

fn print(mut group: Vec<Item>, is_first: bool) {
    let sync = Sync::of(&group, is_first);
    step(&mut group, sync.as_ref(), Sheet::write);
    step(&mut group, sync.as_ref(), Sheet::publish);
    for Item { sheet, answer, failed } in group {
        // Nobody waits any more when the attempt was dropped; its result is a stray then.
        let _ = answer.send(match failed {
            Some(error) => Err(error),
            None => sheet.done(),
        });
    }
}

/// Takes every result that has not failed a step further, and syncs what that changed.
fn step(group: &mut [Item], sync: Option<&Sync>, take: fn(&mut Sheet, &mut Vec<File>) -> io::Result<()>) {
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
    if let Some(Err(error)) = sync.map(Sync::all) {
        for item in group {
            item.failed.get_or_insert_with(|| io::Error::new(error.kind(), format!("syncing the results: {error}")));
        }
    }
}

/// Syncs everything on a file system. Opened before anything is written: it tells of every error since.
struct Sync(File);

impl Sync {
    /// For a group that is worth it, and for the first one, where the system can do that.
    fn of(group: &[Item], is_first: bool) -> Option<Self> {
        let [first, ..] = group else { return None };
        (cfg!(target_os = "linux") && (is_first || group.len() > APART_MAX)).then(|| Self::open(first.sheet.state()))?
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

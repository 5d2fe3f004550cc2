//! The listening side: accepts connections, at most so many at once, until told to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::attempts::{self, Attempts};
use super::connection;
use super::declaration::check_tools;
use super::detect::Catalog;
use super::door::OpenDoor;
use super::options::Options;

/// The most connections at once; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 1024;

/// How long to wait after the system refused a connection, for example since no more files may be open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long connections may take to close at a shutdown; enough to end programs politely.
const FAREWELL: Duration = Duration::from_secs(12);

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The settings.
    pub options: Options,
    /// Lets clients in.
    pub door: OpenDoor,
    /// Tool runs at once.
    pub permits: Semaphore,
    /// Analyses that outlive the connection they were asked on.
    pub attempts: Attempts,
    /// How many analyses run and ran.
    pub tally: Tally,
    /// When the service started.
    pub started: Instant,
    catalog: OnceCell<Catalog>,
}

impl Shared {
    /// The tools, as soon as they have been looked for.
    pub(super) async fn catalog(&self) -> &Catalog {
        self.catalog.get_or_init(|| Catalog::detect(&self.options)).await
    }
}

/// Counts analyses, for the people and tests that ask for the health of the service.
#[derive(Debug, Default)]
pub(super) struct Tally {
    started: AtomicU64,
    ended: AtomicU64,
}

impl Tally {
    /// Counts an analysis that begins; it ends when this is dropped.
    pub(super) fn enter(&self) -> Entered<'_> {
        self.started.fetch_add(1, Ordering::SeqCst);
        Entered(self)
    }

    /// Analyses that run now.
    pub(super) fn running(&self) -> u64 {
        // In this order, so that a start between the two reads never makes it negative.
        let ended = self.ended.load(Ordering::SeqCst);
        self.started() - ended
    }

    /// Analyses since the service started.
    pub(super) fn started(&self) -> u64 {
        self.started.load(Ordering::SeqCst)
    }
}

/// An analysis that has begun and not ended.
#[derive(Debug)]
pub(super) struct Entered<'a>(&'a Tally);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// Serves the analyzer protocol on `listener` until `shutdown`; then running analyses are stopped, their programs with them, and
/// every connection is closed. Unless the door is guarded, the listener should be on the loopback address.
///
/// # Errors
/// When the options are not usable. A connection that fails ends nothing but itself.
pub async fn serve(listener: TcpListener, options: Options, shutdown: CancellationToken) -> io::Result<()> {
    let bad = |problem: String| io::Error::new(io::ErrorKind::InvalidInput, problem);
    // It compiles every rule, and a daemon's loops run on the same threads as this.
    let (tools, door) = (options.tools.clone(), options.door.clone());
    let checked = move || check_tools(&tools).map_err(|problem| problem.to_string()).and_then(|()| door.open());
    let door = tokio::task::spawn_blocking(checked).await.map_err(io::Error::other)?.map_err(bad)?;
    if options.parallel == 0 || options.parallel > Semaphore::MAX_PERMITS {
        return Err(bad("parallel: at least 1 is needed".into()));
    }
    let permits = Semaphore::new(options.parallel);
    let (attempts, waiting) = Attempts::new(shutdown.clone());
    let (tally, started) = (Tally::default(), Instant::now());
    let shared = Arc::new(Shared { options, door, permits, attempts, tally, started, catalog: OnceCell::new() });
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    // Looked for at once, so that the first request does not wait for it.
    let early = Arc::clone(&shared);
    let stop = shutdown.clone();
    connections.spawn(async move {
        stop.run_until_cancelled(early.catalog()).await;
    });
    // Beside the connections, since it outlives each of them and ends with all of them.
    connections.spawn(attempts::carry_all(waiting, Arc::clone(&shared), shutdown.clone()));
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&room).acquire_owned() => permit.map_err(io::Error::other)?,
            () = shutdown.cancelled() => break,
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let (shared, shutdown) = (Arc::clone(&shared), shutdown.clone());
                    connections.spawn(async move {
                        connection::converse(stream, &shared, &shutdown).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the embedded analyzer could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            () = shutdown.cancelled() => break,
        }
        while connections.try_join_next().is_some() {}
    }
    // Whoever does not let go in time is cut off: dropping a connection kills what still runs for it.
    let _ = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
    Ok(())
}

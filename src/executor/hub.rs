//! The shared connections of this process, one for each endpoint: opened by the first request that needs one, shared by those that come
//! meanwhile, and gone when this is dropped.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::dialer::{Dialer, Endpoint};
use super::executors::Limits;
use super::link::{Link, Place};
use super::socket::Broken;

/// Connections that one request tries at once: the one that is there may just have ended, so may the next.
const TRIES: usize = 3;

/// The shared connections.
pub(super) struct Hub {
    dialer: Arc<Dialer>,
    links: Mutex<HashMap<Endpoint, watch::Receiver<State>>>,
    running: Mutex<JoinSet<()>>,
}

/// Where a connection stands.
#[derive(Clone)]
enum State {
    Connecting,
    Open(Arc<Link>),
    Gone(Broken),
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Connections that are made so; none yet.
    pub(super) fn new(dialer: Arc<Dialer>) -> Self {
        Self { dialer, links: Mutex::default(), running: Mutex::default() }
    }

    /// A place for a request on the connection to this endpoint; on one of its own when it is to be `alone`.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(super) async fn enter(
        &self,
        endpoint: &Endpoint,
        id: &str,
        alone: bool,
        connect_timeout: Duration,
        limits: &Limits,
    ) -> Result<Place, Broken> {
        let mut last = Broken::lost("it ended at once");
        for _ in 0..TRIES {
            let mut state = if alone {
                self.open(endpoint, connect_timeout, limits)
            } else {
                self.shared(endpoint, connect_timeout, limits)
            };
            let settled = state.wait_for(|state| !matches!(state, State::Connecting)).await.map(|state| state.clone());
            match settled {
                Ok(State::Open(link)) => match link.enter(id, alone) {
                    Ok(place) => return Ok(place),
                    Err(lost) => {
                        last = lost.broken;
                        self.forget(endpoint, &state);
                    }
                },
                Ok(State::Gone(broken)) => return Err(broken),
                Ok(State::Connecting) | Err(_) => self.forget(endpoint, &state),
            }
        }
        Err(last)
    }

    /// The connection to an endpoint that is there or being opened, else another one.
    fn shared(&self, endpoint: &Endpoint, connect_timeout: Duration, limits: &Limits) -> watch::Receiver<State> {
        let mut links = locked(&self.links);
        links.retain(|_, state| !matches!(*state.borrow(), State::Gone(_)) && state.has_changed().is_ok());
        if let Some(state) = links.get(endpoint) {
            return state.clone();
        }
        let state = self.open(endpoint, connect_timeout, limits);
        links.insert(endpoint.clone(), state.clone());
        state
    }

    fn open(&self, endpoint: &Endpoint, connect_timeout: Duration, limits: &Limits) -> watch::Receiver<State> {
        let (teller, state) = watch::channel(State::Connecting);
        let (dialer, endpoint, limits) = (Arc::clone(&self.dialer), endpoint.clone(), limits.clone());
        let mut running = locked(&self.running);
        while running.try_join_next().is_some() {}
        // A task of its own, since whoever asked first may leave while others wait for the same.
        running.spawn(async move {
            match dialer.connect(&endpoint, limits.message_bytes_max, connect_timeout).await {
                Ok(socket) => {
                    let (link, queue) = Link::new();
                    teller.send_replace(State::Open(Arc::clone(&link)));
                    link.run(socket, queue, &limits).await;
                    teller.send_replace(State::Gone(Broken::lost("it has ended")));
                }
                Err(broken) => {
                    teller.send_replace(State::Gone(broken));
                }
            }
        });
        state
    }

    /// Lets go of a connection that has ended, unless another has its place already.
    fn forget(&self, endpoint: &Endpoint, ended: &watch::Receiver<State>) {
        let mut links = locked(&self.links);
        if links.get(endpoint).is_some_and(|state| state.same_channel(ended)) {
            links.remove(endpoint);
        }
    }
}

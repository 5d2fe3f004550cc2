//! What systemd is told when it started the controller as `Type=notify`: that it is ready, that it is stopping, and, where a watchdog is
//! set, that it is alive. Elsewhere all of this does nothing. The messages are those of sd_notify(3).

use std::time::Duration;

use sd_notify::NotifyState;

use crate::runtime::core::Core;

/// What the last endings may take beyond the grace period.
const LAST_ENDINGS: Duration = Duration::from_secs(30);

/// The loops run and the control socket answers.
pub(super) fn ready() {
    let status = format!("manifestd {} is reconciling", env!("CARGO_PKG_VERSION"));
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Nothing new is started; what runs may take up to `grace`, and systemd is asked for so much time whatever its own limit is.
pub(super) fn stopping(grace: Duration) {
    let wanted = u32::try_from((grace + LAST_ENDINGS).as_micros()).unwrap_or(u32::MAX);
    let status = format!("waiting up to {} s for running attempts", grace.as_secs());
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(wanted), NotifyState::Status(&status)]);
}

/// Tells systemd at half of its interval that the controller is alive, as long as that is true: its runtime runs, its store answers, and no
/// loop stands still. Never comes back; without a watchdog it waits for ever.
pub(super) async fn watch(core: Core) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut tick = tokio::time::interval((interval / 2).max(Duration::from_millis(1)));
    loop {
        tick.tick().await;
        match core.alive().await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(why) => tracing::error!(%why, "not alive; systemd will start the controller again"),
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

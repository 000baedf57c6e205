//! Whether the tracker has read everything that was in its store when it started.

use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Ready(watch::Sender<bool>);

impl Default for Ready {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Ready {
    pub(crate) fn set(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn get(&self) -> bool {
        *self.0.borrow()
    }

    pub(crate) async fn wait(&self) {
        // The sender is a field of self: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|ready| *ready).await;
    }
}

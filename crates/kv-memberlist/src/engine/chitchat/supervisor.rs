//! Keeps chitchat's task running.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::gossip::Gossip;
use super::own_state::OwnState;

/// Pause before gossip is started again after a panic.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// Starts gossip again when it has panicked: a bug, which must not take the elections with it. Ends
/// only if that is not possible, and says why.
pub(super) async fn keep_running(
    gossip: Arc<Gossip>,
    own_state: Arc<OwnState>,
    restarts: Counter,
) -> String {
    loop {
        let how = gossip.ended().await;
        tracing::error!("gossip ended and is being restarted: {how}");
        restarts.inc();
        tokio::time::sleep(RESTART_PAUSE).await;
        if let Err(error) = gossip.restart(own_state.get()).await {
            return format!("memberlist: gossip ended ({how}) and cannot start again: {error:#}");
        }
        // It may have begun to say something else meanwhile.
        gossip.say(own_state.get()).await;
        gossip.publish_again();
    }
}

//! Bodies that hold more memory than they say.

use futures::future::{FutureExt as _, join_all};
use serde_json::json;

use super::{Attack, Outcome, RawClient, Size, Victim};
use crate::SHORT;

pub(super) const ATTACKS: &[Attack] = &[Attack {
    name: "unfinished-bodies",
    what: "20 chunked bodies of 90 MiB that never end, with a limit of 256 MB on what is in flight",
    run: |size| unfinished(size).boxed(),
}];

async fn unfinished(size: Size) -> Outcome {
    let (limit, each) = size.pick((64 << 20, 20 << 20), (256 << 20, 90 << 20));
    let victim = Victim::start(&json!({"distributor": {"instance_limits": {
        "max_inflight_push_requests_bytes": limit,
    }}}))
    .await;
    victim
        .under(size, async |victim, outcome| {
            outcome.allow_pushes(limit);
            let address = victim.distributor.http_address();
            let bodies = (0..20).map(|_| async move {
                let mut client = RawClient::connect(address).await.ok()?;
                let framing = "Transfer-Encoding: chunked";
                client.push_head("attacker", framing).await.ok()?;
                let chunk = vec![0; 256 << 10];
                for _ in 0..each / chunk.len() {
                    if client.chunk(&chunk).await.is_err() {
                        break;
                    }
                }
                Some(client)
            });
            // All of them are open at the same time.
            let mut clients = join_all(bodies).await;
            let mut refused = 0;
            for client in clients.iter_mut().flatten() {
                if client.status(SHORT / 100).await == Some(503) {
                    refused += 1;
                }
            }
            outcome.fact("bodies answered 503", format!("{refused}"));
            outcome.demand(refused > 0, || "nothing was refused".to_owned());
        })
        .await
}

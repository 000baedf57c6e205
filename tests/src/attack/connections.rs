//! Connections that take places and give nothing.

use futures::future::{FutureExt as _, join_all};
use serde_json::json;
use tokio::net::TcpStream;

use super::{Attack, Outcome, Size, Victim};

pub(super) const ATTACKS: &[Attack] = &[Attack {
    name: "silent-connections",
    what: "2,000 connections to each port that never send a byte, four times as many as may be",
    run: |size| silent(size).boxed(),
}];

async fn silent(size: Size) -> Outcome {
    let (limit, connections) = size.pick((50, 200), (500, 2_000));
    let victim = Victim::start(&json!({"server": {
        "http_listen_conn_limit": limit,
        "grpc_listen_conn_limit": limit,
    }}))
    .await;
    victim
        .under(size, async |victim, outcome| {
            outcome.allow_growth(64 << 20);
            let http = victim.distributor.http_address();
            let grpc = victim.distributor.grpc_address().parse().unwrap();
            let connecting = (0..connections).flat_map(|_| [http, grpc]);
            let silent = join_all(connecting.map(TcpStream::connect)).await;
            let descriptors = victim.usage().descriptors;
            outcome.fact("descriptors of the process", format!("{descriptors}"));
            outcome.demand(descriptors < 2 * limit + 100, || {
                format!("{descriptors} descriptors are open")
            });
            drop(silent);
        })
        .await
}

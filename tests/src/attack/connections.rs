//! Connections that take places and give nothing.

use futures::future::{FutureExt as _, join_all};
use serde_json::json;
use tokio::net::TcpStream;

use super::{Attack, Outcome, Size, Victim};
use crate::{LONG, Pipe, Series, Version, now_ms};
use crate::{SHORT, wait_for};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "silent-connections",
        what: "2,000 connections to each port that never send a byte, four times as many as may be",
        run: |size| silent(size).boxed(),
    },
    Attack {
        name: "unread-log",
        what: "the log is not read: its pipe is full, and 2,000 elections are to be logged",
        run: |size| unread_log(size).boxed(),
    },
];

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
            // Connections that were evicted in a burst are closed by their own tasks, some moments
            // later.
            wait_for("evicted connections to be closed", SHORT, || async {
                match victim.usage().descriptors {
                    few if few < 2 * limit + 100 => Ok(()),
                    many => Err(format!("{many} descriptors are open")),
                }
            })
            .await;
            drop(silent);
        })
        .await
}

async fn unread_log(size: Size) -> Outcome {
    let (pushes, each) = size.pick((2, 50), (20, 100));
    let mut victim = Victim::start(&json!({"limits": {"ha_max_clusters": 0}})).await;
    let folder = victim.distributor.process.folder();
    let mut pipe = Pipe::make(&folder.join("log.pipe"));
    pipe.fill();
    victim
        .distributor
        .restart_in_shell("exec", "2>log.pipe")
        .await;
    victim
        .under(size, async |victim, outcome| {
            let sender = victim.distributor.sender("others");
            let mut stored = 0;
            for push in 0..pushes {
                let series: Vec<_> = (0..each)
                    .map(|cluster| {
                        let cluster = format!("c-{push}-{cluster}");
                        let labels = [
                            ("__name__", "m"),
                            ("__replica__", "r"),
                            ("cluster", &cluster),
                        ];
                        Series::floats(&labels, &[(now_ms(), 1.5)])
                    })
                    .collect();
                let sending = sender.send(Version::V1, &series);
                let answer = tokio::time::timeout(LONG, sending).await;
                stored += usize::from(answer.is_ok_and(|answer| answer.status == 200));
            }
            outcome.fact("pushes with new clusters stored", format!("{stored}"));
            outcome.demand(stored == pushes, || {
                format!("{stored} of {pushes} pushes were stored")
            });
        })
        .await
}

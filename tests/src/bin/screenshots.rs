//! Takes the pictures of the pages for the documentation; `cargo xtask screenshots` runs it, and tells it
//! where the distributor and the browser are. Argument: the folder to write to.

#![allow(clippy::panic, reason = "a tool for developers")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use e2e::showcase::{FAILED_OVER, Showcase, replica};
use e2e::{Browser, Distributor, LONG, Look, Port, Tab, wait_for};
use serde_json::json;

/// WebP: small, and text stays sharp.
const QUALITY: u8 = 60;

const SIZES: [(&str, Look); 2] = [
    (
        "",
        Look {
            width: 1280,
            height: 800,
            is_dark: false,
        },
    ),
    (
        "-narrow",
        Look {
            width: 390,
            height: 844,
            is_dark: false,
        },
    ),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: cargo xtask screenshots");
        return ExitCode::from(2);
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(take_all(&PathBuf::from(folder)));
    ExitCode::SUCCESS
}

async fn take_all(folder: &Path) {
    let port = Port::reserve();
    let gossip = json!({
        "memberlist": {"bind_port": port.number(), "node_name": "distributor-0", "message_history_buffer_bytes": 65536},
    });
    let showcase = Showcase::start("screenshots", &gossip).await;
    let distributor = &showcase.distributor;
    let second = json!({
        "distributor": {"ha_tracker": {"enable_ha_tracker": true}},
        "limits": {"accept_ha_samples": true},
        "memberlist": {
            "bind_addr": ["127.0.0.1"], "bind_port": 0, "node_name": "distributor-1",
            "join_members": [port.address().to_string()],
        },
    });
    let _second = Distributor::start("second", &second.to_string()).await;
    wait_for("both members", LONG, || async {
        let page = distributor.get_json("/memberlist").await?;
        match page["members"].as_array().map(Vec::len) {
            Some(2) => Ok(()),
            _ => Err(page["members"].to_string()),
        }
    })
    .await;
    let (tenant, cluster) = FAILED_OVER;
    let named = format!("tenant={tenant}&cluster={cluster}");
    let standby = replica(cluster, 0);
    let pages = [
        ("index", "/".to_owned()),
        ("ha-tracker", "/distributor/ha_tracker".to_owned()),
        (
            "cluster",
            format!("/distributor/ha_tracker/cluster?{named}"),
        ),
        ("elections", "/distributor/ha_tracker/elections".to_owned()),
        (
            "why",
            format!("/distributor/ha_tracker/why?{named}&replica={standby}"),
        ),
        ("memberlist", "/memberlist".to_owned()),
        ("services", "/services".to_owned()),
    ];
    let browser = Browser::start().await;
    for (name, path) in &pages {
        let is_shown_in_all = ["ha-tracker", "cluster", "why"].contains(name);
        for (size, look) in SIZES {
            for (scheme, is_dark) in [("", false), ("-dark", true)] {
                if !is_shown_in_all && (is_dark || !size.is_empty()) {
                    continue;
                }
                let tab = browser.tab(Look { is_dark, ..look }).await;
                tab.open(&distributor.url(path)).await;
                take(&tab, &folder.join(format!("{name}{size}{scheme}.webp"))).await;
            }
        }
    }
}

async fn take(tab: &Tab, file: &Path) {
    let picture = tab.picture(QUALITY).await;
    match std::fs::write(file, &picture) {
        Ok(()) => println!("{} ({} kB)", file.display(), picture.len() / 1000),
        Err(error) => panic!("{}: {error}", file.display()),
    }
}

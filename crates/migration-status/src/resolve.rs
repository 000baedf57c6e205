//! The addresses that `--targets` stands for.

use std::net::SocketAddr;

use crate::fetch::Target;

/// The current addresses of all targets, because pods come and go. A name without addresses counts
/// as a target that does not answer.
pub(crate) async fn resolved(targets: &[String]) -> Vec<Target> {
    let mut all = Vec::new();
    for target in targets {
        let Some(name) = target.strip_prefix("dns+") else {
            all.push(Ok(target.clone()));
            continue;
        };
        let (scheme, name) = name.split_once("://").unwrap_or(("http", name));
        match tokio::net::lookup_host(name).await {
            Ok(found) => {
                let mut found: Vec<_> = found.collect();
                // One that has addresses of both kinds is one distributor all the same.
                if found.iter().any(SocketAddr::is_ipv4) {
                    found.retain(SocketAddr::is_ipv4);
                }
                found.sort();
                found.dedup();
                all.extend(
                    found
                        .iter()
                        .map(|address| Ok(format!("{scheme}://{address}"))),
                );
            }
            Err(error) => all.push(Err((target.clone(), error.to_string()))),
        }
    }
    all
}

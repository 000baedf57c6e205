//! The addresses that targets stand for.

use std::net::SocketAddr;

/// The URL of a distributor, or a name that could not be resolved, and why.
pub type Target = Result<String, (String, String)>;

/// A target without what nearly all have.
pub fn short(target: &str) -> &str {
    target.strip_prefix("http://").unwrap_or(target)
}

/// A target of the command line as a URL without a slash at its end, or `dns+` before one.
pub(crate) fn address(target: &str) -> Result<String, String> {
    if let Some(rest) = target.strip_prefix("dns+") {
        return Ok(format!("dns+{}", address(rest)?));
    }
    let url = match target.contains("://") {
        true => target.to_owned(),
        false => format!("http://{target}"),
    };
    let parsed = url::Url::parse(&url).map_err(|error| format!("--targets {target}: {error}"))?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(format!(
            "--targets {target}: must be host:port, or an http or https URL"
        ));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

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

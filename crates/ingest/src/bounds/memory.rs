//! The memory that this process may use, and the part of it for pushes.

use std::fs;
use std::path::{Path, PathBuf};

use procfs::Current;

/// Pushes may hold one part in so many of the memory that the process may use: the rest is for the
/// tracker, connections, pages, and what the allocator has not given back yet.
const PART: u64 = 2;
/// At most this, bytes: data that waits for the downstream is compressed, so even a large instance
/// needs less.
const MOST: u64 = 2 << 30;
/// Memory that is assumed if the amount is unknown, bytes.
const UNKNOWN: u64 = 1 << 30;
/// Where control groups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The limit of push requests, bytes; 0 = no limit. Derived from the memory of the process unless
/// configured.
pub(crate) fn push_limit(configured: Option<u64>) -> u64 {
    if let Some(limit) = configured {
        return limit;
    }
    let (memory, whose) = available();
    let limit = (memory / PART).min(MOST);
    tracing::info!(
        limit,
        memory,
        whose,
        "limit of the memory of push requests, derived from the memory that the process may use \
         (distributor.instance_limits.max_inflight_push_requests_bytes)"
    );
    limit
}

/// Bytes that the process may use, and the source of this number.
fn available() -> (u64, &'static str) {
    let machine = procfs::Meminfo::current().ok().map(|info| info.mem_total);
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = of_groups(&groups, Path::new(CGROUPS));
    match (machine, group) {
        (Some(machine), Some(group)) if group < machine => (group, "control group"),
        (Some(machine), _) => (machine, "machine"),
        (None, Some(group)) => (group, "control group"),
        (None, None) => (UNKNOWN, "assumed"),
    }
}

/// The smallest limit of the control groups (version 2 or 1) that a process is in, and of those
/// around them; `None` without any.
fn of_groups(groups: &str, mounted: &Path) -> Option<u64> {
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let (folder, file) = match controllers {
                "" => (mounted.to_owned(), "memory.max"),
                _ if controllers.split(',').any(|one| one == "memory") => {
                    (mounted.join("memory"), "memory.limit_in_bytes")
                }
                _ => return None,
            };
            of_path(&folder, path, file)
        })
        .min()
}

/// Inside a container, the path may be that of the host: a path that does not exist has no limit,
/// and the container's own limit is at the top.
fn of_path(folder: &Path, path: &str, file: &str) -> Option<u64> {
    let inner: PathBuf = folder.join(path.trim_start_matches('/'));
    inner
        .ancestors()
        .take_while(|group| group.starts_with(folder))
        .filter_map(|group| {
            let text = fs::read_to_string(group.join(file)).ok()?;
            text.trim().parse().ok()
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_files(files: &[(&str, &str)]) -> tempfile::TempDir {
        let mounted = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = mounted.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        mounted
    }

    #[test]
    fn the_smallest_of_nested_groups_counts() {
        let mounted = with_files(&[
            ("memory.max", "max\n"),
            ("pods/memory.max", "1000000\n"),
            ("pods/one/memory.max", "4000000\n"),
            ("pods/one/inner/memory.max", "max\n"),
            ("other/memory.max", "5\n"),
        ]);
        let of = |groups: &str| of_groups(groups, mounted.path());
        assert_eq!(of("0::/pods/one/inner\n"), Some(1_000_000));
        assert_eq!(of("0::/\n"), None);
        assert_eq!(of("0::/not/there\n"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn version_1_and_paths_of_the_outside_are_understood() {
        let mounted = with_files(&[("memory/memory.limit_in_bytes", "2000000\n")]);
        let groups = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n";
        assert_eq!(of_groups(groups, mounted.path()), Some(2_000_000));
        assert_eq!(of_groups("5:cpu:/\n", mounted.path()), None);
    }

    #[test]
    fn a_limit_is_derived_unless_one_is_set() {
        assert_eq!(push_limit(Some(7)), 7);
        assert_eq!(push_limit(Some(0)), 0);
        let derived = push_limit(None);
        assert!((1..=MOST).contains(&derived), "{derived}");
    }
}

//! Rings of processes, and what they cost.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bench::process::cpu_seconds;
use e2e::{MemberlistGo, MemberlistGoOptions, Port};
use futures::future::try_join_all;
use tokio::time::{sleep, timeout};

use crate::member::{Line, Task};
use crate::{Load, Measured};

/// For a ring to find its members.
const FOUND: Duration = Duration::from_secs(60);

type Arrivals = Vec<(String, i64, i64)>;

/// All rings, one after the other.
pub(crate) async fn measure(load: Load) -> Result<Vec<Measured>> {
    let mut rings = Vec::new();
    for (name, by_memberlist) in [("memberlist", true), ("chitchat", false)] {
        eprintln!("{name}");
        let measured = tokio::task::spawn_blocking(move || in_rust(name, load, by_memberlist));
        rings.push(measured.await??);
    }
    eprintln!("Mimir's code");
    rings.push(in_go("Mimir's code", load).await?);
    Ok(rings)
}

/// A member in Rust. It is killed in the end.
struct Member {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Member {
    fn start(task: &Task) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--member", &serde_json::to_string(task)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self { child, lines })
    }

    fn next(&mut self) -> Result<Line> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        ensure!(!line.is_empty(), "a member has ended");
        Ok(serde_json::from_str(&line)?)
    }
}

fn in_rust(ring: &'static str, load: Load, by_memberlist: bool) -> Result<Measured> {
    let ports: Vec<Port> = (0..load.members).map(|_| Port::reserve()).collect();
    let mut members = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let join = ports.iter().filter(|other| other.number() != port.number());
        members.push(Member::start(&Task {
            load,
            number,
            by_memberlist,
            port: port.number(),
            join: join.map(Port::address).collect(),
        })?);
    }
    for member in &mut members {
        ensure!(matches!(member.next()?, Line::Others(_)), "not ready");
    }
    let used = |members: &[Member]| -> Result<f64> {
        let each = members.iter().map(|member| cpu_seconds(member.child.id()));
        each.sum()
    };
    let before = used(&members)?;
    for member in &mut members {
        let input = member.child.stdin.as_mut().context("no input")?;
        input.write_all(b"begin\n")?;
        input.flush()?;
    }
    let mut bytes = 0.0;
    for member in &mut members {
        match member.next()? {
            Line::Written(sent) => bytes += sent,
            other => bail!("not written: {other:?}"),
        }
    }
    let cpu = used(&members)? - before;
    let mut arrived = Vec::new();
    for member in &mut members {
        match member.next()? {
            Line::Arrived(arrivals) => arrived.push(arrivals),
            other => bail!("nothing arrived: {other:?}"),
        }
    }
    Ok(measured(ring, load, cpu, bytes, &arrived))
}

async fn in_go(ring: &'static str, load: Load) -> Result<Measured> {
    let mut members: Vec<MemberlistGo> = Vec::new();
    for number in 0..load.members {
        let first = members.first().map(MemberlistGo::gossip);
        let options = MemberlistGoOptions {
            node: format!("go-{number}"),
            join: first.into_iter().collect(),
            flags: Vec::new(),
        };
        members.push(MemberlistGo::start(&options).await);
    }
    let all_see_all = async {
        loop {
            let seen = members.iter().map(MemberlistGo::member_names);
            let seen = try_join_all(seen).await.map_err(anyhow::Error::msg)?;
            if seen.iter().all(|names| names.len() == load.members) {
                return anyhow::Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(FOUND, all_see_all)
        .await
        .context("not one ring")??;
    let before = costs(&members).await?;
    let loads = members.iter().enumerate();
    let loads =
        loads.map(|(number, member)| member.load(number, load.keys, load.changes, load.seconds));
    let loads = try_join_all(loads);
    tokio::pin!(loads);
    // What is written at the same time as in the other rings is what is counted.
    let writing = sleep(Duration::from_secs(load.seconds));
    tokio::pin!(writing);
    tokio::select! {
        () = &mut writing => {}
        arrived = &mut loads => bail!("the load ended early: {arrived:?}"),
    }
    let after = costs(&members).await?;
    let arrived = loads.await.map_err(anyhow::Error::msg)?;
    let (cpu, bytes) = (after.0 - before.0, after.1 - before.1);
    Ok(measured(ring, load, cpu, bytes, &arrived))
}

/// CPU seconds, and bytes sent, of all members in Go.
async fn costs(members: &[MemberlistGo]) -> Result<(f64, f64)> {
    let (mut cpu, mut bytes) = (0.0, 0.0);
    for member in members {
        cpu += cpu_seconds(member.process.id())?;
        let metrics = member.metrics().await.map_err(anyhow::Error::msg)?;
        bytes += metrics.sum("memberlist_tcp_transport_packets_sent_bytes_total", &[]);
    }
    Ok((cpu, bytes))
}

fn measured(
    ring: &'static str,
    load: Load,
    cpu: f64,
    bytes: f64,
    arrived: &[Arrivals],
) -> Measured {
    let (times, missing) = spread(load, arrived);
    let at = |share: usize| {
        let last = times.len().saturating_sub(1);
        times
            .get(last * share / 100)
            .map_or(0.0, |millis| *millis as f64 / 1e3)
    };
    let each = load.members as f64 * load.seconds as f64;
    Measured {
        ring,
        cpu: cpu / each,
        bytes: bytes / each,
        spread: [at(50), at(99), at(100)],
        missing,
    }
}

/// How many milliseconds each change took to all members, in order; and how many did not get there.
fn spread(load: Load, arrived: &[Arrivals]) -> (Vec<i64>, usize) {
    let mut changes = BTreeMap::<(&str, i64), (usize, i64)>::new();
    for (key, written, took) in arrived.iter().flatten() {
        let (members, slowest) = changes.entry((key, *written)).or_default();
        *members += 1;
        *slowest = (*slowest).max(*took);
    }
    let complete = changes
        .values()
        .filter(|(members, _)| *members + 1 == load.members);
    let mut times: Vec<i64> = complete.map(|(_, slowest)| *slowest).collect();
    times.sort_unstable();
    let missing = load.written().saturating_sub(times.len());
    (times, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_there_when_the_last_member_has_it() {
        let load = Load {
            members: 3,
            keys: 1,
            changes: 1,
            seconds: 1,
        };
        let arrival = |key: &str, took| (key.to_owned(), 10, took);
        // The second member's change has not reached the first.
        let arrived = [
            vec![arrival("c", 30)],
            vec![arrival("a", 7), arrival("c", 20)],
            vec![arrival("a", 9), arrival("b", 5)],
        ];
        assert_eq!(spread(load, &arrived), (vec![9, 30], 1));
        let measured = measured("ring", load, 6.0, 300.0, &arrived);
        assert_eq!((measured.cpu, measured.bytes), (2.0, 100.0));
        assert_eq!(measured.spread, [0.009, 0.009, 0.03]);
    }
}

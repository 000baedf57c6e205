//! Three distributors on their way from one step to the next, under load.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::beside::{Beside, is_beside};
use super::check;
use super::plan::{Leg, Protocol, RUNTIME_FILE, Step, Surroundings, Way};
use super::scale::Scale;
use super::server::OldServer;
use crate::{Account, Cluster, Distributor, GossipMesh, LONG, Ledger, Load, Process, SHORT, Sink};
use peers::comes_true;

/// How many distributors there are.
pub(crate) const SIZE: usize = 3;

/// All that runs.
pub(crate) struct Fleet {
    pub(crate) mesh: GossipMesh,
    pub(crate) surroundings: Surroundings,
    pub(crate) old: OldServer,
    pub(crate) load: Load,
    pub(crate) ledger: Ledger,
    pub(crate) beside: Option<Beside>,
    sink: Sink,
    /// Where each distributor is, or is to be after its next start.
    places: Arc<Mutex<[Place; SIZE]>>,
    /// The first tick that is in no account yet.
    from: u64,
}

/// Where a distributor is.
#[derive(Debug, Clone, Copy)]
struct Place {
    step: Step,
    protocol: Protocol,
}

impl Fleet {
    /// All at the first step and ready, the load begun.
    pub(crate) async fn start(
        surroundings: Surroundings,
        beside: Option<Beside>,
        old: OldServer,
        sink: Sink,
        scale: Scale,
    ) -> Self {
        let first = Place {
            step: Step::FIRST,
            // It does not gossip.
            protocol: Protocol::Chitchat,
        };
        let places = Arc::new(Mutex::new([first; SIZE]));
        let mut mesh = GossipMesh::launch(SIZE, {
            let (places, surroundings) = (Arc::clone(&places), surroundings.clone());
            move |number, section: Value| {
                let Place { step, protocol } = places.lock().unwrap()[number];
                surroundings.member(step, protocol, &section)
            }
        });
        mesh.wait_ready().await;
        let mut push_urls: Vec<_> = mesh
            .distributors
            .iter()
            .map(Distributor::push_url)
            .collect();
        push_urls.extend(beside.iter().map(|beside| beside.go.push_url()));
        let mut load = scale.begin(push_urls, SIZE);
        if beside.is_some() {
            Beside::begin(&mut load);
        }
        Self {
            mesh,
            surroundings,
            old,
            load,
            ledger: Ledger::default(),
            beside,
            sink,
            places,
            from: 0,
        }
    }

    /// Where each distributor is.
    pub(crate) fn steps(&self) -> [Step; SIZE] {
        self.places.lock().unwrap().map(|place| place.step)
    }

    /// The clusters that send to the distributors.
    pub(crate) fn clusters(&self) -> Vec<Cluster> {
        let mut clusters = self.load.clusters();
        clusters.retain(|cluster| !is_beside(cluster));
        clusters
    }

    /// Those that gossip now.
    pub(crate) fn gossiping(&self) -> Vec<usize> {
        let steps = self.steps();
        (0..SIZE)
            .filter(|number| steps[*number].gossips())
            .collect()
    }

    /// Takes one distributor to a step, and waits until it serves and is there.
    pub(crate) async fn switch(&mut self, number: usize, leg: Leg) -> Result<(), String> {
        let Leg {
            to, way, protocol, ..
        } = leg;
        if self.surroundings.runtime {
            let text = self.surroundings.runtime_file(to).to_string();
            self.mesh.distributors[number].write_file(RUNTIME_FILE, &text);
        }
        self.places.lock().unwrap()[number] = Place { step: to, protocol };
        if way == Way::Restart {
            self.stop(number).await?;
            self.mesh.relaunch(number);
            self.mesh.distributors[number].becomes_ready().await?;
        }
        let this = &*self;
        comes_true(&format!("d{number} to be at step {to}"), SHORT, || {
            check::is_at(this, number)
        })
        .await
    }

    /// Asks a distributor to stop, and waits until it has.
    async fn stop(&mut self, number: usize) -> Result<(), String> {
        let process = &mut self.mesh.distributors[number].process;
        process.sigterm();
        let status = comes_true(&format!("d{number} to stop"), LONG, || {
            let status = process.exit_status();
            async move { status.ok_or_else(|| "still running".to_owned()) }
        })
        .await?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("d{number} did not stop in peace: {status}")),
        }
    }

    /// Kills a distributor in the middle of whatever it does.
    pub(crate) fn kill(&mut self, number: usize) {
        self.mesh.distributors[number].process.sigkill();
    }

    /// Starts it again as it was.
    pub(crate) async fn revive(&mut self, number: usize) -> Result<(), String> {
        self.mesh.relaunch(number);
        self.mesh.distributors[number].becomes_ready().await
    }

    /// What became of all ticks since the last account.
    pub(crate) async fn account(&mut self) -> Result<Account, String> {
        let until = self.load.settle().await?;
        self.load.record(&self.sink, &mut self.ledger);
        let account = self.ledger.account(self.from..until);
        self.from = until;
        Ok(account)
    }

    /// What became of all ticks so far: what arrived late counts, too.
    pub(crate) fn whole_account(&mut self) -> Account {
        self.load.record(&self.sink, &mut self.ledger);
        self.ledger.account(0..self.from)
    }

    /// The end of what each distributor has printed.
    pub(crate) fn logs(&self) -> String {
        let end = |process: &Process| {
            let log = process.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            format!("---- end of the log of {} ----\n{end}\n", process.name())
        };
        let all = self.mesh.distributors.iter().map(|one| &one.process);
        let beside = self.beside.iter().map(|beside| &beside.go.process);
        all.chain(beside).map(end).collect()
    }

    /// Leaves all folders where they are; which they are.
    pub(crate) fn keep_folders(&mut self) -> Vec<PathBuf> {
        let mut folders = vec![self.old.keep_folder().to_path_buf()];
        for distributor in &mut self.mesh.distributors {
            distributor.process.keep_folder();
            folders.push(distributor.process.folder().to_path_buf());
        }
        if let Some(beside) = &mut self.beside {
            beside.go.process.keep_folder();
            folders.push(beside.go.process.folder().to_path_buf());
        }
        folders
    }
}

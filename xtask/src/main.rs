//! Developer commands: `cargo xtask <command>`.
//!
//! Everything that a developer or CI runs lives here, so that both run the same thing. Nothing
//! in this crate ships.

mod api;
mod apt;
mod attack;
mod bench;
mod binaries;
mod book;
mod chart;
mod churn;
mod codegen;
mod costs;
mod fuzz;
mod golang;
mod manual;
mod migrate;
mod observability;
mod package;
mod peers;
mod python;
mod readmes;
mod screenshots;
mod services;
mod simulate;
mod soak;
mod test;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

const HELP: &str = "\
Developer commands. Usage: cargo xtask <command> [arguments]

  test [--no-lint] [-- CARGO TEST ARGUMENTS]
                            everything CI runs: peers, formatting, build, generated files, tidy,
                            clippy, tests. --no-lint: peers, build and tests only
  peers [NAME...]           put the real programs that tests talk to under target/peers
  bench [stores|gossip|ring|grpc|peers|scale|failover] [--quick] [--seed N] [--memberlist]
                            run the benchmarks of the hot path, of the stores, of a simulated
                            gossip cluster, of gossip rings beside one of Mimir's code, of gRPC
                            beside HTTP, of the whole process beside vmagent and a receiver that
                            does nothing, or of how it grows (release; minutes): write
                            target/bench.json (target/bench-stores.json, …) and the tables in
                            docs/performance.md. --quick leaves the page alone; only gossip has a
                            seed, which it prints
  migrate --from consul|etcd [--protocol chitchat|memberlist] [--beside-go] [--chart | --runtime]
          [--chaos] [--failover] [--rollback-at STEP | --change-to PROTOCOL] [--quick] [--keep]
                            move three distributors under load from a real Consul or etcd to
                            memberlist, step by step, and judge what became of every sample.
                            --protocol: how they gossip, chitchat unless given; --beside-go: a
                            member of Mimir's code is in the ring all the time; --change-to: then
                            back to the old store, and from there to this protocol; --chart: with
                            what the Helm chart renders for each step; --runtime: steps 2 to 4 by
                            the runtime configuration; --chaos: kill distributors, and
                            disturb the old store; --failover: silence elected replicas;
                            --rollback-at: go to this step and back; --keep: leave the folders of
                            all processes
  api [--check]             write the public API of the crates for other programs into
                            xtask/public-api; --check only compares
  attack [--short] [--list] [NAME...]
                            attack a real distributor (release; minutes): what it holds, what a
                            healthy client notices, what is lost or doubled. A DISTRIBUTOR_BIN of
                            your own is attacked instead
  book                      build the documentation as a site in target/book, and check its links
  churn [--minutes N]       let distributors and members of Mimir's code come and go in one gossip
                            ring (release; 10 minutes): all agree after each, no log has an error of
                            the protocol, and no member grows
  chart [--bless]           render the Helm chart with the values files of deploy/helm/tests, compare
                            with the golden files, check them against schemas, and load each
                            configuration; --bless writes the golden files
  codegen [--check] [protos|docs|observability|readmes]
                            write generated code, documentation, dashboards and alerts; --check
                            only compares
  dashboards                check the dashboards by Grafana's own schema
  package [--debug]         build the Debian package, the archive, the root of the image and the bill of
                            materials into target/package, and try each; --debug takes the
                            unoptimised program
  fuzz [--seconds N] [TARGET...]
                            run fuzz targets, N seconds in all (default 60)
  screenshots               take the pictures of docs/images, of real pages in a headless Chromium
  services [--costs]        package the crates, and build the programs of tests/services from the
                            packages, outside of the workspace; --costs: measure what each crate
                            and feature adds to a build, for docs/crates.md (minutes)
  simulate [--seeds N] [--seed S]
                            simulate fleets that fail over without loss (minutes): N of them
                            (default 100000), or one, with a trace of what happens
  soak [--short | --minutes N]
                            two distributors at half a core of load (release; 30 minutes, or 2) with
                            failovers, reloads, restarts of the store and changes of certificates:
                            memory and descriptors stay, and nothing fails but what is disturbed
  tidy                      check what compilers do not: manifests, links, licences, leftovers
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    };
    match dispatch(command, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {command}: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &str, arguments: &[String]) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match command {
        "test" => test::run(&workspace, arguments),
        "peers" => peers::run(&workspace, arguments),
        "api" => api::run(&workspace, arguments),
        "attack" => attack::run(&workspace, arguments),
        "bench" => bench::run(&workspace, arguments),
        "migrate" => migrate::run(&workspace, arguments),
        "book" => book::run(&workspace, arguments),
        "churn" => churn::run(&workspace, arguments),
        "chart" => chart::run(&workspace, arguments),
        "package" => package::run(&workspace, arguments),
        "dashboards" => observability::schema::run(&workspace, arguments),
        "codegen" => codegen::run(&workspace, arguments),
        "fuzz" => fuzz::run(&workspace, arguments),
        "screenshots" => screenshots::run(&workspace, arguments),
        "services" => services::run(&workspace, arguments),
        "simulate" => simulate::run(&workspace, arguments),
        "soak" => soak::run(&workspace, arguments),
        "tidy" => tidy::run(&workspace, arguments),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => anyhow::bail!("no such command: {other}\n\n{HELP}"),
    }
}

//! The attacks as a program; `cargo xtask attack` runs it and tells it where the distributor is. Exit
//! status: 0 all held, 1 some did not, 2 wrong arguments.

use std::process::ExitCode;

use e2e::attack::{Attack, Size, all, find, table};

const USAGE: &str = "usage: cargo xtask attack [--short] [--list] [NAME...]";

fn main() -> ExitCode {
    let mut size = Size::Full;
    let mut chosen: Vec<Attack> = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--short" => size = Size::Short,
            "--list" => {
                for attack in all() {
                    println!("{:24} {}", attack.name, attack.what);
                }
                return ExitCode::SUCCESS;
            }
            name => match find(name) {
                Some(attack) => chosen.push(attack),
                None => {
                    eprintln!("no attack is called {name}; --list names them\n{USAGE}");
                    return ExitCode::from(2);
                }
            },
        }
    }
    if chosen.is_empty() {
        chosen = all().collect();
    }
    if std::env::var_os("DISTRIBUTOR_BIN").is_none() {
        eprintln!("DISTRIBUTOR_BIN is not set; `cargo xtask attack` does it");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut rows = Vec::new();
    for attack in chosen {
        eprintln!("{}: {}", attack.name, attack.what);
        rows.push((attack.name, runtime.block_on((attack.run)(size))));
    }
    println!("{}", table(&rows, size));
    match rows
        .iter()
        .all(|(_, outcome)| outcome.problems(size).is_empty())
    {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

//! Set-up, run, test and demo, in one command each: `cargo xtask help`.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod demo;
mod fuzz;
mod http;
mod run;
mod setup;
mod signals;
mod stack;
mod test;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask COMMAND

  setup            install what building and testing need (apt and npm packages), and say what
  build            build the web UI and the release binaries
  run              set-up, build, start server and agent, print the address
      --listen ADDRESS   where the server listens (default 127.0.0.1:8080)
      --state FOLDER     where data is kept (default /var/lib/portreeve as root,
                         else ~/.local/state/portreeve)
      --no-agent         start the server alone
  demo             the same against a lab of hosts made on the spot, with changes and alerts; needs root
      --listen ADDRESS   as above
      --exit             end after the last scan instead of waiting for Ctrl-C
  test [STAGE ...] set-up, then every test, or only the stages named:
                   format web lint licences rust proof docs client release browser demo fuzz
  bench [OPTIONS]  us, masscan and zmap side by side in the lab; needs root (docs/performance.md)
      --only NAME[,NAME]  these rows alone; a wrong name lists them
      --rounds N          rounds, of which figures are the medians (default 5)
      --quick             one round, short windows
      --no-peers          ours alone
      --json FILE         write results there, and beside it .md and .svg
  client           write web/openapi.json and the typed client from the server's routes
  fuzz [SECONDS]   run every fuzz target for SECONDS (default 10)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match command {
        "setup" => setup::everything(),
        "build" => setup::for_running().and_then(|()| build::release()),
        "run" => run::run(rest),
        "demo" => demo::demo(rest),
        "test" => test::test(rest),
        "bench" => bench::bench(rest),
        "client" => build::client(),
        "fuzz" => fuzz::fuzz(rest),
        "relay" => demo::relay(rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!("unknown command {other:?}; `cargo xtask help` lists the commands").into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error}");
            ExitCode::FAILURE
        }
    }
}

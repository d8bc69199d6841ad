//! The command line: one file a group of commands. All but `run`, `config`, `keys`, `completions` and `doctor` talk to a node over HTTP.
//!
//! * [`error`] — exit codes; [`client`] — HTTP; [`output`] — tables and JSON; [`people`] — values as people write them; [`sender`] — events in batches, with retries
//! * [`run`], [`config_check`], [`keys`], [`doctor`] — on this machine
//! * [`verbs`] — what mounted systems add
//! * [`publish`], [`import`], [`events`], [`query`], [`rebuild`], [`set_aside`], [`systems`], [`dead_letters`], [`stop`], [`types`] — on a node

pub mod backup;
pub mod client;
pub mod config_check;
pub mod dead_letters;
pub mod doctor;
pub mod error;
pub mod events;
pub mod import;
pub mod keys;
pub mod migrate;
pub mod output;
pub mod people;
pub mod publish;
pub mod query;
pub mod rebuild;
pub mod restore;
pub mod run;
pub mod sender;
pub mod set_aside;
pub mod stop;
pub mod systems;
#[cfg(test)]
mod testing;
pub mod types;
pub mod verbs;

use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches as _, Parser, Subcommand};

use client::Client;
use error::Error;
use output::Format;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  the command line, the mapping or the configuration is wrong
  3  a check failed, or two things that must be equal differ
  4  the node is not reachable or not ready
  5  the node refused (4xx)
  6  partly done: what was acknowledged stays";

/// Runs a business by itself on an immutable event log, and proves every step.
#[derive(Debug, Parser)]
#[command(name = "tol", version = crate::commit::version(), after_long_help = EXIT_CODES, after_help = "`tol --help` tells the exit codes.")]
pub struct Cli {
    #[command(flatten)]
    node: NodeArgs,
    #[command(subcommand)]
    command: Command,
}

/// Which node a command talks to, and how it prints.
#[derive(Debug, Args)]
struct NodeArgs {
    /// URL of the node.
    #[arg(long, global = true, env = "TOL_URL", default_value = "http://127.0.0.1:7700", help_heading = "Node")]
    url: String,
    /// API key.
    #[arg(long, global = true, env = "TOL_KEY", hide_env_values = true, help_heading = "Node")]
    key: Option<String>,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Node")]
    output: Format,
}

impl NodeArgs {
    fn client(&self) -> Result<Client, Error> {
        Client::new(&self.url, self.key.as_deref())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a node.
    Run(run::RunArgs),
    /// Publishes CloudEvents: JSON lines from a file or standard input.
    Publish(publish::PublishArgs),
    /// Imports a CSV file as events; importing again skips what is there.
    Import(import::ImportArgs),
    /// Searches events, follows them, shows one.
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Shows the tree of causes of a request.
    Trace {
        /// The correlation id.
        correlation: String,
    },
    /// Queries a projection; without a name, lists them.
    Query(query::QueryArgs),
    /// Proves that replay equals live: rebuilds a projection and compares its digest before and after (exit code 3 if they differ).
    Replay(rebuild::ReplayArgs),
    /// Lists events that a projection could not fold and left out; `tol rebuild` folds them again.
    SetAside(set_aside::SetAsideArgs),
    /// Rebuilds a projection beside the serving one.
    Rebuild(rebuild::RebuildArgs),
    /// Lists systems; shows, pauses, resumes, restarts one.
    Systems {
        #[command(subcommand)]
        command: Option<systems::SystemsCommand>,
    },
    /// Inputs that failed too often.
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Emergency stop: no effect starts any more, no system decides.
    Stop(stop::StopArgs),
    /// Releases the emergency stop.
    Resume(stop::ResumeArgs),
    /// Lists the log's topics.
    Topics,
    /// Lists the known types of events.
    Types(types::TypesArgs),
    /// Prints the JSON Schema of a type, or an example.
    Schema(types::SchemaArgs),
    /// Copies the embedded log while the node runs; again into the same folder, only what is new. Keys of personal data are not in it.
    Backup(backup::BackupArgs),
    /// Puts a backup into a data folder; needs no node.
    Restore(restore::RestoreArgs),
    /// Moves an embedded log to Kafka, positions kept; goes on where it was interrupted.
    Migrate(migrate::MigrateArgs),
    /// Checks this machine; needs no node.
    Doctor(doctor::DoctorArgs),
    /// The configuration.
    #[command(subcommand)]
    Config(config_check::ConfigCommand),
    /// API keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Prints completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Reads the command line, runs the command, tells what went wrong.
pub fn main() -> ExitCode {
    match run_line(&command().get_matches()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// The command line with the verbs of all systems.
fn command() -> clap::Command {
    verbs::add(Cli::command(), &verbs::registered())
}

fn run_line(matches: &clap::ArgMatches) -> Result<(), Error> {
    let usage = |error: clap::Error| Error::Usage(error.to_string());
    if let Some((verb, arguments)) = verbs::named(&verbs::registered(), matches) {
        let node = NodeArgs::from_arg_matches(matches).map_err(usage)?;
        return verbs::run(verb, arguments, &node.client()?, node.output);
    }
    run_command(Cli::from_arg_matches(matches).map_err(usage)?)
}

fn run_command(cli: Cli) -> Result<(), Error> {
    let format = cli.node.output;
    let client = || cli.node.client();
    match cli.command {
        Command::Run(arguments) => arguments.run(),
        Command::Publish(arguments) => arguments.run(&client()?, format),
        Command::Import(arguments) => arguments.run(&client()?, format),
        Command::Events(command) => command.run(&client()?, format),
        Command::Trace { correlation } => events::trace(&client()?, format, &correlation),
        Command::Query(arguments) => arguments.run(&client()?, format),
        Command::Replay(arguments) => arguments.run(&client()?, format),
        Command::SetAside(arguments) => arguments.run(&client()?, format),
        Command::Rebuild(arguments) => arguments.run(&client()?, format),
        Command::Systems { command } => command.unwrap_or(systems::SystemsCommand::List).run(&client()?, format),
        Command::DeadLetters(command) => command.run(&client()?, format),
        Command::Stop(arguments) => arguments.run(&client()?, format),
        Command::Resume(arguments) => arguments.run(&client()?, format),
        Command::Topics => query::topics(&client()?, format),
        Command::Types(arguments) => arguments.run(&client()?, format),
        Command::Schema(arguments) => arguments.run(&client()?),
        Command::Backup(arguments) => arguments.run(format),
        Command::Restore(arguments) => arguments.run(format),
        Command::Migrate(arguments) => arguments.run(format),
        Command::Doctor(arguments) => arguments.run(cli.node.key.as_deref(), format),
        Command::Config(command) => command.run(format),
        Command::Keys(command) => command.run(format),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "tol", &mut script);
            output::write(&script);
            Ok(())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn long_help_tells_every_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        assert!((0..=6).all(|code| help.contains(&format!("\n  {code}  "))), "{help}");
    }

    #[test]
    fn flags_of_run_become_settings_with_their_origin() {
        let cli = Cli::try_parse_from(["tol", "run", "--data", "/d", "--listen", "127.0.0.1:0", "--set", "log.partitions=2"]).unwrap();
        let Command::Run(arguments) = cli.command else { panic!("run is run") };
        let loaded = arguments.config.load().unwrap();
        assert_eq!((loaded.config.log.partitions, loaded.config.http.listen.as_str()), (2, "127.0.0.1:0"));
        assert_eq!(loaded.origin("node.data").to_string(), "flag --data");
    }
}

//! The command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::Overrides;
use crate::upgrade::cli::Request;
use crate::version::BUILD;

/// Run the data pipelines of this host and report their health, and that of the host, to a Systole collector
#[derive(Debug, Parser)]
#[command(
    name = "systole-agent",
    version,
    disable_version_flag = true,
    args_conflicts_with_subcommands = false,
    after_help = AFTER_HELP
)]
pub(crate) struct Cli {
    /// The command; `run` by default
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) options: Options,

    /// Print the version
    #[arg(short = 'V', short_alias = 'v', long)]
    pub(crate) version: bool,

    /// With --version: print JSON with commit, target and compiler
    #[arg(long, requires = "version")]
    pub(crate) json: bool,
}

const AFTER_HELP: &str = "\
Quick start:
  systole-collector token create --kind enroll        # on the collector's host
  SYSTOLE_TOKEN=… systole-agent --config agent.toml

agent.toml:
  url = \"http://collector.example:8080\"

  [[pipeline]]
  id = \"orders\"
  command = [\"vector\", \"--config\", \"/etc/vector/orders.yaml\"]   # leave out to only watch
  metrics_url = \"http://127.0.0.1:9598/metrics\"

While it runs:
  systole-agent status                                # --json for programs
  systole-agent doctor                                # what is wrong, and what to do
  curl http://127.0.0.1:9090/metrics                  # also /healthz, /readyz, /status

Every option can also be a variable (SYSTOLE_URL, SYSTOLE_URLS=a,b, SYSTOLE_TOKEN, SYSTOLE_DATA_DIR, SYSTOLE_CONFIG,
SYSTOLE_METRICS_LISTEN, SYSTOLE_LOG_LEVEL, SYSTOLE_LOG_FORMAT, SYSTOLE_LABELS=k=v,k2=v2,
SYSTOLE_MACHINE_ID, SYSTOLE_NAME) or a key of the file. Options win over variables, variables over the file.
The variables of the VectorFlow agent (VF_URL, VF_TOKEN, VF_DATA_DIR, VF_VECTOR_BIN, VF_POLL_INTERVAL, …) are
accepted as well: started with its environment, this agent takes its place under a VectorFlow server.

Exit codes: 0 done, 1 failed, 78 the configuration is invalid.";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Run the agent in the foreground until SIGTERM or Ctrl-C (the default)
    Run,
    /// Report all errors of the configuration at once, or print the effective configuration
    CheckConfig {
        /// Check only what is written: files, keys and tokens of this host may be missing
        #[arg(long)]
        offline: bool,
    },
    /// Check what the agent needs on this host, and print what to do where something is wrong
    ///
    /// Settings, directory, disk, certificates, the way to the collector, clocks, versions and the node's token, one line
    /// each: ok, warning or problem. Exits with 1 when there is a problem. Run it as root or as the agent's user.
    #[command(verbatim_doc_comment)]
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the status of the agent, its pipelines and its connection to the collector
    ///
    /// Needs only the agent's data directory. Exits with 1 when no agent runs there.
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Replace the running agent by another version, while its pipelines run on
    ///
    /// The program is verified and asked for its version before anything changes. The running agent becomes it
    /// and keeps its process id. If the new version is not healthy in time (upgrade_timeout, 60 s), the agent
    /// becomes the version before again, which stays beside the program as systole-agent.previous.
    ///
    /// Run it as a user that may write to the directory of the agent's program, such as root.
    #[command(verbatim_doc_comment)]
    Upgrade(UpgradeArgs),
    /// Print `[[pipeline]]` sections for the Vector, otelcol and Fluent Bit units that run on this host
    ///
    /// The agent only watches these pipelines: systemd keeps running them. A section has the address of the metrics
    /// where the configuration of the unit has one; otherwise a comment says what to add there. Units that are in the
    /// agent's configuration already are left out.
    #[command(verbatim_doc_comment)]
    Adopt {
        /// Append the sections to this file, such as /etc/systole/agent.toml, instead of printing them
        #[arg(long, value_name = "FILE")]
        write: Option<PathBuf>,
    },
    /// Write the man pages of all commands
    #[command(hide = true)]
    ManPages {
        /// The directory, which exists
        directory: PathBuf,
    },
    /// Print a shell completion script
    ///
    /// bash: systole-agent completions bash > /etc/bash_completion.d/systole-agent
    #[command(verbatim_doc_comment)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Options of `upgrade`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct UpgradeArgs {
    /// The new program: a file of this host, or an https URL
    #[arg(value_name = "FILE|URL")]
    source: String,

    /// SHA-256 of the program, 64 hexadecimal digits; required for a URL without a signature
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,

    /// Ed25519 signature of the program, base64; required when agent.toml has update_key
    #[arg(long, value_name = "BASE64")]
    signature: Option<String>,

    /// The version that the program must answer to --version
    #[arg(long = "version", value_name = "VERSION")]
    wanted: Option<String>,
}

impl UpgradeArgs {
    /// What is asked for.
    pub(crate) fn request(&self) -> Request {
        let UpgradeArgs { source, sha256, signature, wanted } = self.clone();
        Request { source, sha256, signature, version: wanted }
    }
}

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Options {
    /// The configuration file [default: /etc/systole/agent.toml if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    /// The collector's address, like http://collector.example:8080; several times for several collectors
    #[arg(long = "url", value_name = "URL", global = true)]
    urls: Vec<String>,

    /// The enrolment token; other users can see it in the process list, prefer SYSTOLE_TOKEN or token_file
    #[arg(long, value_name = "TOKEN", global = true)]
    token: Option<String>,

    /// Directory of the agent's data [default: /var/lib/systole-agent]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<String>,

    /// Address of the agent's own metrics, ADDR:PORT or off [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR", global = true)]
    metrics_listen: Option<String>,

    /// Level of the log: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL", global = true)]
    log_level: Option<String>,

    /// Format of the log: text or json [default: text]
    #[arg(long, value_name = "FORMAT", global = true)]
    log_format: Option<String>,
}

impl From<Options> for Overrides {
    fn from(options: Options) -> Self {
        let Options { config, urls, token, data_dir, metrics_listen, log_level, log_format } = options;
        Overrides { config, urls, token, data_dir, metrics_listen, log_level, log_format, offline: false }
    }
}

/// Prints the version as `<name> <version>`, or the build as JSON.
pub(crate) fn print_version(as_json: bool) -> io::Result<()> {
    if as_json {
        return writeln!(io::stdout(), "{}", serde_json::to_string(&BUILD)?);
    }
    writeln!(io::stdout(), "{} {}", BUILD.name, BUILD.version)
}

/// Writes a man page for each command.
pub(crate) fn write_man_pages(directory: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), directory)
}

/// Prints the completions for `shell`.
pub(crate) fn print_completions(shell: Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), BUILD.name, &mut script);
    io::stdout().write_all(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_command() {
        for args in [["systole-agent", "--url=x", "check-config"], ["systole-agent", "check-config", "--url=x"]] {
            let cli = Cli::try_parse_from(args).unwrap();
            assert_eq!(
                (cli.command, cli.options.urls),
                (Some(Command::CheckConfig { offline: false }), vec!["x".to_owned()])
            );
        }
    }

    #[test]
    fn version_flag_has_both_short_forms() {
        for flag in ["--version", "-V", "-v"] {
            let cli = Cli::try_parse_from(["systole-agent", flag]).unwrap();
            assert!(cli.version && !cli.json, "{flag}");
        }
        assert!(Cli::try_parse_from(["systole-agent", "--version", "--json"]).unwrap().json);
        assert!(Cli::try_parse_from(["systole-agent", "--json"]).is_err(), "JSON of what?");
    }
}

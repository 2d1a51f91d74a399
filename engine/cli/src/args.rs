//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, builder::BoolishValueParser};
use clap_complete::Shell;
use portreeve_scan::{HostProbes, VlanId};

use crate::environment;
pub(crate) use crate::values::{Backend, Part, parse_duration};
use crate::values::{parse_ping, parse_rate, parse_shard, parse_vlan};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed while running
  2    wrong usage, or a file named on the command line cannot be used
  3    a right is missing
  130  interrupted; what was found until then is printed

Settings come from the flag, else the environment (PORTREEVE_…), else the configuration file
(--config, ~/.config/portreeve/config.toml; for `agent` also /etc/portreeve/agent.toml), else the default.";

/// Finds open ports and says what answers there.
#[derive(Debug, Parser)]
#[command(name = "portreeve", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    /// Configuration file
    #[arg(long, global = true, env = "PORTREEVE_CLI_CONFIG", value_name = "FILE", help_heading = "General")]
    pub(crate) config: Option<PathBuf>,
    /// Folder whose TOML files are laid over the probe database [default: /etc/portreeve/db.d]
    #[arg(
        long,
        global = true,
        env = "PORTREEVE_USER_DATABASE",
        value_name = "DIR",
        help_heading = "General"
    )]
    pub(crate) user_database: Option<PathBuf>,
    /// Say more on stderr; twice for details
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "General")]
    pub(crate) verbose: u8,
    /// While this file is there nothing is sent, and what runs stops [default: /run/portreeve/stop]
    #[arg(long, global = true, env = "PORTREEVE_STOP_FILE", value_name = "FILE", help_heading = "General")]
    pub(crate) stop_file: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Find open ports
    Scan(Box<ScanArgs>),
    /// Find hosts
    Discover(Box<DiscoverArgs>),
    /// Say what answers at known endpoints
    Identify(IdentifyArgs),
    /// Work for a server
    Agent(AgentArgs),
    /// Carry one job of an agent out, which starts this itself and says on standard input what to do
    #[command(hide = true)]
    Job(JobArgs),
    /// Find the highest rate that a path takes without loss
    Tune(TuneArgs),
    /// Make one scan of `tune`, which starts this itself and says on standard input what to do
    #[command(hide = true)]
    Measure(MeasureArgs),
    /// Tell whether this host can scan
    Selftest(SelftestArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Manual {
        /// Write the pages of all commands into this folder instead
        folder: Option<PathBuf>,
    },
    /// The probe database
    Db {
        #[command(subcommand)]
        action: DbAction,
    },
}

/// Where to.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Targets")]
pub(crate) struct TargetArgs {
    /// Addresses, blocks (10.0.0.0/24), ranges (10.0.0.1-50) or host names
    #[arg(value_name = "TARGETS")]
    pub(crate) targets: Vec<String>,
    /// Read targets from a file, `-` for standard input [also: -iL]
    #[arg(long, aliases = ["includefile", "allowlist-file", "whitelist-file"], value_name = "FILE")]
    pub(crate) input_file: Vec<PathBuf>,
    /// Never send there; what the variable excludes stays excluded
    #[arg(long, env = environment::EXCLUDE, value_delimiter = ',', value_name = "TARGETS")]
    pub(crate) exclude: Vec<String>,
    /// Never send to what the file lists; the same
    #[arg(
        long,
        visible_alias = "excludefile",
        aliases = ["blocklist-file", "blacklist-file"],
        env = environment::EXCLUDE_FILE,
        value_name = "FILE"
    )]
    pub(crate) exclude_file: Vec<PathBuf>,
    /// Also scan ranges that the IANA sets aside (multicast, documentation …)
    #[arg(long)]
    pub(crate) allow_reserved: bool,
    /// Scan public addresses without being asked
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

/// How.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sending")]
pub(crate) struct SendArgs {
    /// Packets per second, as 5000, 100k or 1.5M [default: what `tune` found, else 1000]
    #[arg(long, alias = "max-rate", env = "PORTREEVE_RATE", value_name = "PPS", value_parser = parse_rate)]
    pub(crate) rate: Option<u32>,
    /// Packets per second to any one host
    #[arg(long, env = "PORTREEVE_RATE_PER_HOST", value_name = "PPS", value_parser = parse_rate)]
    pub(crate) rate_per_host: Option<u32>,
    /// Packets per second to any one network (/24, IPv6 /64)
    #[arg(long, env = "PORTREEVE_RATE_PER_NETWORK", value_name = "PPS", value_parser = parse_rate)]
    pub(crate) rate_per_network: Option<u32>,
    /// How many leading bits of an IPv4 address name its network [default: 24]
    #[arg(long, requires = "rate_per_network", value_parser = clap::value_parser!(u8).range(1..=32), value_name = "BITS")]
    pub(crate) network_prefix: Option<u8>,
    /// The same of an IPv6 address [default: 64]
    #[arg(long, requires = "rate_per_network", value_parser = clap::value_parser!(u8).range(1..=128), value_name = "BITS")]
    pub(crate) network_prefix_v6: Option<u8>,
    /// How often a silent target is asked again [default: 1]
    #[arg(long, alias = "max-retries", env = "PORTREEVE_RETRIES", value_name = "N")]
    pub(crate) retries: Option<u8>,
    /// Wait for an answer so long, as 2s or 500ms [default: 2s]
    #[arg(long, env = "PORTREEVE_WAIT", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) wait: Option<Duration>,
    /// Order of the probes; the same seed gives the same order
    #[arg(long, env = "PORTREEVE_SEED", value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Do only part I of N, as 1/4
    #[arg(long, alias = "shards", env = "PORTREEVE_SHARD", value_name = "I/N", value_parser = parse_shard)]
    pub(crate) shard: Option<Part>,
    /// Send through this interface
    #[arg(
        long,
        short = 'e',
        visible_short_alias = 'i',
        alias = "adapter",
        env = "PORTREEVE_INTERFACE",
        value_name = "NAME"
    )]
    pub(crate) interface: Option<String>,
    /// Tag of the VLAN to scan in, where the machine has no interface for it
    #[arg(long, alias = "adapter-vlan", env = "PORTREEVE_VLAN", value_name = "ID", value_parser = parse_vlan)]
    pub(crate) vlan: Option<VlanId>,
    /// First source port
    #[arg(
        long,
        alias = "adapter-port",
        short = 'g',
        env = "PORTREEVE_SOURCE_PORT",
        value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) source_port: Option<u16>,
    /// Which way probes leave [default: auto]
    #[arg(long, env = "PORTREEVE_BACKEND", value_name = "NAME")]
    pub(crate) backend: Option<Backend>,
    /// Send nothing; tell what would be sent, and how fast it can be made
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) offline: bool,
    /// Send nothing; print every probe in its order
    #[arg(long, alias = "dryrun")]
    pub(crate) dry_run: bool,
}

/// What is left to the process once its sockets are open.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Safety")]
pub(crate) struct SandboxArgs {
    /// End rather than go on without a sandbox, where the kernel has none
    #[arg(long, env = "PORTREEVE_REQUIRE_SANDBOX", value_parser = BoolishValueParser::new(), conflicts_with = "no_sandbox")]
    pub(crate) require_sandbox: bool,
    /// Go without the sandbox, to find out whether it is in the way
    #[arg(long)]
    pub(crate) no_sandbox: bool,
}

/// What to print, and where.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output (any number at once; - is standard output)")]
pub(crate) struct OutputArgs {
    /// One JSON document
    #[arg(long, group = "format")]
    pub(crate) json: bool,
    /// A JSON object per line, as found
    #[arg(long, group = "format")]
    pub(crate) ndjson: bool,
    /// Comma-separated values
    #[arg(long, group = "format")]
    pub(crate) csv: bool,
    /// Write these, or else the table, to a file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// XML as nmap writes it [also: -oX]
    #[arg(long, visible_alias = "xml", value_name = "FILE")]
    pub(crate) output_xml: Option<PathBuf>,
    /// Grepable lines as nmap writes them [also: -oG]
    #[arg(long, value_name = "FILE")]
    pub(crate) output_grepable: Option<PathBuf>,
    /// JSON as masscan writes it [also: -oJ]
    #[arg(long, value_name = "FILE")]
    pub(crate) output_masscan: Option<PathBuf>,
    /// A list as masscan writes it [also: -oL]
    #[arg(long, value_name = "FILE")]
    pub(crate) output_list: Option<PathBuf>,
    /// The table, with remarks below [also: -oN]
    #[arg(long, value_name = "FILE")]
    pub(crate) output_table: Option<PathBuf>,
    /// As --json [also: -oS]
    #[arg(long, value_name = "FILE")]
    pub(crate) output_json: Option<PathBuf>,
    /// As --ndjson [also: -oD]
    #[arg(long, value_name = "FILE")]
    pub(crate) output_ndjson: Option<PathBuf>,
    /// As --csv [also: -oC]
    #[arg(long, value_name = "FILE")]
    pub(crate) output_csv: Option<PathBuf>,
    /// BASE.txt, BASE.xml, BASE.gnmap and BASE.json [also: -oA]
    #[arg(long, value_name = "BASE")]
    pub(crate) output_all: Option<PathBuf>,
    /// No colours [also: NO_COLOR]
    #[arg(long)]
    pub(crate) no_color: bool,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    pub(crate) targets: TargetArgs,
    /// Ports, as 22,80,8000-8100,U:53,!25; `-` for all [default: the commonest]
    #[arg(
        long,
        short,
        env = "PORTREEVE_PORTS",
        value_name = "PORTS",
        allow_hyphen_values = true,
        help_heading = "Ports"
    )]
    pub(crate) ports: Option<String>,
    /// The N commonest TCP ports
    #[arg(long, value_name = "N", conflicts_with = "ports", help_heading = "Ports")]
    pub(crate) top_ports: Option<usize>,
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    /// Talk to ports of printers and industrial controllers too, over UDP as well
    #[arg(long, help_heading = "Safety")]
    pub(crate) allow_print_and_ot: bool,
    /// Say what answers at open ports [also: -sV]
    #[arg(long, alias = "banners", help_heading = "Identification")]
    pub(crate) identify: bool,
    /// List the algorithms, host keys and ways to log in that SSH servers offer (implies --identify)
    #[arg(long, help_heading = "Identification")]
    pub(crate) ssh_audit: bool,
    /// Say twelve more hellos to TLS servers: JARM fingerprint, versions taken (implies --identify)
    #[arg(long, help_heading = "Identification")]
    pub(crate) jarm: bool,
    /// Use the probe database of this folder instead of the built-in one
    #[arg(long, value_name = "DIR", help_heading = "Identification")]
    pub(crate) database: Option<PathBuf>,
    /// Keep all replies in this folder, credentials masked, for `db retro`
    #[arg(long, env = "PORTREEVE_ARCHIVE", value_name = "DIR", help_heading = "Identification")]
    pub(crate) archive: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) send: SendArgs,
    /// Look for hosts first and scan only those that answer, by icmp, timestamp, tcp:PORT, tcp-ack:PORT, udp:PORT,
    /// sctp:PORT, arp, nd [default methods: icmp and SYNs to common ports]
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_name = "METHODS",
        value_parser = parse_ping,
        help_heading = "Hosts"
    )]
    pub(crate) ping: Option<HostProbes>,
    /// Scan whether a host answers or not (the default) [also: -Pn]
    #[arg(long, conflicts_with = "ping", help_heading = "Hosts")]
    pub(crate) no_ping: bool,
    /// Look for hosts only, as `discover` [also: -sn]
    #[arg(long, conflicts_with_all = ["ports", "top_ports", "resume", "identify"], help_heading = "Hosts")]
    pub(crate) no_ports: bool,
    /// Go on where an interrupted or killed scan stopped: its folder portreeve-….resume
    #[arg(long, value_name = "DIR", conflicts_with_all = ["targets", "input_file", "ports", "top_ports", "seed", "shard"], help_heading = "Sending")]
    pub(crate) resume: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Only open ports (the default)
    #[arg(long, alias = "open-only", conflicts_with = "all", help_heading = "Ports")]
    pub(crate) open: bool,
    /// Closed and filtered ports too
    #[arg(long, help_heading = "Ports")]
    pub(crate) all: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DiscoverArgs {
    #[command(flatten)]
    pub(crate) targets: TargetArgs,
    /// By icmp, timestamp, tcp:PORT, tcp-ack:PORT, udp:PORT, sctp:PORT, arp, nd [default: icmp and SYNs to common
    /// ports; on attached networks ARP and neighbour discovery come first in any case]
    #[arg(long, env = "PORTREEVE_PING", value_name = "METHODS", value_parser = parse_ping, help_heading = "Hosts")]
    pub(crate) ping: Option<HostProbes>,
    #[command(flatten)]
    pub(crate) send: SendArgs,
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct IdentifyArgs {
    /// As 10.0.0.1:22, `[fd00::1]:443`, name:80 or 10.0.0.1:53/udp
    #[arg(required = true, value_name = "ENDPOINT")]
    pub(crate) endpoints: Vec<String>,
    /// List the algorithms, host keys and ways to log in that SSH servers offer
    #[arg(long)]
    pub(crate) ssh_audit: bool,
    /// Say twelve more hellos to TLS servers: JARM fingerprint, versions taken
    #[arg(long)]
    pub(crate) jarm: bool,
    /// Talk to ports of printers and industrial controllers too
    #[arg(long)]
    pub(crate) allow_print_and_ot: bool,
    /// Use the probe database of this folder instead of the built-in one
    #[arg(long, value_name = "DIR")]
    pub(crate) database: Option<PathBuf>,
    /// Keep all replies in this folder, credentials masked, for `db retro`
    #[arg(long, env = "PORTREEVE_ARCHIVE", value_name = "DIR")]
    pub(crate) archive: Option<PathBuf>,
    /// Talk to public addresses without being asked
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct AgentArgs {
    /// The server's address, as `https://portreeve.example.org`
    #[arg(long, env = "PORTREEVE_SERVER", value_name = "URL", help_heading = "Server")]
    pub(crate) server: Option<String>,
    /// One-time enrolment token; needed at the first start only
    #[arg(
        long,
        env = "PORTREEVE_ENROLL",
        value_name = "TOKEN",
        hide_env_values = true,
        help_heading = "Server"
    )]
    pub(crate) enroll: Option<String>,
    /// Name to be shown [default: the host's name]
    #[arg(long, env = "PORTREEVE_NAME", help_heading = "Server")]
    pub(crate) name: Option<String>,
    /// PEM file of an authority to trust beside the system's
    #[arg(long, env = "PORTREEVE_CA_FILE", value_name = "FILE", help_heading = "Server")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Take http:// to other machines, in clear text
    #[arg(long, env = "PORTREEVE_INSECURE_HTTP", value_parser = BoolishValueParser::new(), help_heading = "Server")]
    pub(crate) insecure_http: bool,
    /// The agent's own folder [default: /var/lib/portreeve-agent]
    #[arg(long, env = "PORTREEVE_AGENT_STATE", value_name = "DIR", help_heading = "This host")]
    pub(crate) state: Option<PathBuf>,
    /// Packets per second, over all jobs, that no server can raise
    #[arg(long, env = "PORTREEVE_MAX_RATE", value_name = "PPS", value_parser = parse_rate, help_heading = "This host")]
    pub(crate) max_rate: Option<u32>,
    /// Never send there, whatever a server says; what the variable and the file exclude stays excluded
    #[arg(
        long,
        env = environment::EXCLUDE,
        value_delimiter = ',',
        value_name = "TARGETS",
        help_heading = "This host"
    )]
    pub(crate) exclude: Vec<String>,
    /// Scan nothing but this, whatever a server says [default: anything]
    #[arg(
        long,
        env = "PORTREEVE_ONLY",
        value_delimiter = ',',
        value_name = "TARGETS",
        help_heading = "This host"
    )]
    pub(crate) only: Vec<String>,
    /// Jobs at the same time [default: 2]
    #[arg(long, env = "PORTREEVE_SLOTS", value_name = "N", help_heading = "This host")]
    pub(crate) slots: Option<u32>,
    /// Mebibytes of results kept for a server that is away [default: 512]
    #[arg(long, env = "PORTREEVE_SPOOL_MIB", value_name = "MIB", help_heading = "This host")]
    pub(crate) spool_mib: Option<u32>,
    /// Mebibytes of replies kept under the agent's folder for `db retro`, credentials masked [default: 0, none]
    #[arg(long, env = "PORTREEVE_ARCHIVE_MIB", value_name = "MIB", help_heading = "This host")]
    pub(crate) archive_mib: Option<u32>,
    /// Which way probes leave [default: auto]
    #[arg(long, env = "PORTREEVE_BACKEND", value_name = "NAME", help_heading = "This host")]
    pub(crate) backend: Option<Backend>,
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct JobArgs {
    /// Which way probes leave
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub(crate) backend: Backend,
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct MeasureArgs {
    /// Which way probes leave
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub(crate) backend: Backend,
    /// Go without the sandbox
    #[arg(long)]
    pub(crate) no_sandbox: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TuneArgs {
    #[command(flatten)]
    pub(crate) targets: TargetArgs,
    /// Packets per second that are tried at most
    #[arg(long, default_value = "1M", value_parser = parse_rate, value_name = "PPS", help_heading = "Sending")]
    pub(crate) max_rate: u32,
    /// Send through this interface
    #[arg(long, short = 'e', env = "PORTREEVE_INTERFACE", value_name = "NAME", help_heading = "Sending")]
    pub(crate) interface: Option<String>,
    /// Which way probes leave [default: auto]
    #[arg(long, env = "PORTREEVE_BACKEND", value_name = "NAME", help_heading = "Sending")]
    pub(crate) backend: Option<Backend>,
    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
    /// Only measure; keep nothing
    #[arg(long, help_heading = "Output")]
    pub(crate) dry_run: bool,
    /// One JSON document
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct SelftestArgs {
    /// One JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DbAction {
    /// Check every entry against its examples
    Test {
        /// TOML file, or folder of them, laid over the built-in database [default: the user database]
        path: Option<PathBuf>,
        /// The folder is the whole database
        #[arg(long, requires = "path")]
        alone: bool,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Put files into their one form
    Fmt {
        /// TOML files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Change nothing; fail if a file is not in its form
        #[arg(long)]
        check: bool,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Turn another project's fingerprints into files of the user database
    Import {
        #[command(subcommand)]
        from: ImportFrom,
    },
    /// Show what a changed database would say of stored replies, without sending anything
    Retro {
        /// Folder of stored replies, as `scan --archive` and agents write it
        #[arg(long, value_name = "DIR")]
        archive: PathBuf,
        /// TOML file, or folder of them, laid over the built-in database
        changed: PathBuf,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Count what it knows
    Stats {
        /// Folder of TOML files [default: the built-in database]
        folder: Option<PathBuf>,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
}

/// Whose fingerprints.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ImportFrom {
    /// Rapid7's recog (BSD-2-Clause)
    Recog {
        /// Folder of its XML files
        folder: PathBuf,
        /// Where to write [default: the user database]
        #[arg(long, short, value_name = "DIR")]
        output: Option<PathBuf>,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
}

impl ScanArgs {
    /// The same without ports.
    pub(crate) fn as_discovery(&self) -> DiscoverArgs {
        DiscoverArgs {
            targets: self.targets.clone(),
            ping: self.ping.clone(),
            send: self.send.clone(),
            sandbox: self.sandbox.clone(),
            output: self.output.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

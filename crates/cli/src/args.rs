//! The arguments: the one source of help, man pages and completions.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use crate::{demo, examples};

/// Services that live exactly as long as their devices
///
/// Arrival starts a service when its device interface arrives, keeps it running while the
/// interface is there, and stops it when the last one is gone. This program shows what the manager
/// does and tells it what to do.
#[derive(Debug, Parser)]
#[command(
    name = "arrival",
    version,
    after_help = examples::ARRIVAL,
    disable_help_subcommand = true,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The folder of a private manager, instead of the system's
    #[arg(
        long,
        global = true,
        env = "ARRIVAL_ROOT",
        hide_env_values = true,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        help_heading = "Global options"
    )]
    pub(crate) root: Option<PathBuf>,
    /// Answer in JSON, for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// When to colour the output: auto, always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub(crate) color: Color,
}

/// When to colour the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show all services, one a line
    #[command(after_help = examples::LIST, visible_alias = "ls")]
    List,
    /// Show the manager and its services, or some services in full
    #[command(after_help = examples::STATUS)]
    Status(Names),
    /// Say why a service runs or does not
    #[command(after_help = examples::WHY)]
    Why(Name),
    /// Follow what arrives, leaves and changes
    #[command(after_help = examples::WATCH)]
    Watch(Watch),
    /// Show the device interfaces that are present
    #[command(after_help = examples::DEVICES)]
    Devices(Devices),
    /// Show the interface classes that are known
    #[command(after_help = examples::CLASSES)]
    Classes,
    /// Show what starts services
    #[command(after_help = examples::TRIGGERS)]
    Triggers(OptionalName),
    /// Show where events come from, and what was lost
    #[command(after_help = examples::SOURCES)]
    Sources,
    /// Write a custom event, which starts and stops services that wait for it
    #[command(after_help = examples::EVENT)]
    Event(EventCommand),
    /// Start a service, and wait until it runs
    #[command(after_help = examples::START)]
    Start(Start),
    /// Stop a service, and wait until it has stopped
    #[command(after_help = examples::STOP)]
    Stop(Stop),
    /// Allow services to be started
    #[command(after_help = examples::ENABLE)]
    Enable(SomeNames),
    /// Forbid services to be started; what runs goes on
    #[command(after_help = examples::DISABLE)]
    Disable(SomeNames),
    /// Look for mistakes in definitions, classes and INFs, without a manager
    #[command(after_help = examples::CHECK)]
    Check(Files),
    /// Install the services of a package that an INF file describes
    #[command(after_help = examples::INSTALL)]
    Install(Install),
    /// Remove packages, and stop their services
    #[command(after_help = examples::UNINSTALL)]
    Uninstall(Packages),
    /// Show the installed packages
    #[command(after_help = examples::PACKAGES)]
    Packages,
    /// Compare installed packages with what was installed
    #[command(after_help = examples::VERIFY)]
    Verify(AnyPackages),
    /// Check, lay out and explain INF files, without a manager
    #[command(subcommand, after_help = examples::INF)]
    Inf(Inf),
    /// Write a service as a definition, an INF or a registry file
    #[command(after_help = examples::EXPORT)]
    Export(Export),
    /// Have the manager read its files again now
    #[command(after_help = examples::RELOAD)]
    Reload,
    /// Show what the manager has seen and counted
    #[command(after_help = examples::INFO)]
    Info,
    /// Stop all services in order, then the manager
    #[command(after_help = examples::SHUTDOWN)]
    Shutdown(Shutdown),
    /// See a service follow its devices, in a world of their own that is gone afterwards
    #[command(after_help = examples::DEMO)]
    Demo(demo::Options),
    /// Run the manager itself, as arrivald does
    #[command(hide = true, disable_help_flag = true)]
    Daemon {
        /// Arguments of arrivald
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        arguments: Vec<OsString>,
    },
    /// Write the completions of a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder
    #[command(hide = true, after_help = examples::MAN)]
    Man {
        /// Which folder
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

/// One service.
#[derive(Debug, Args)]
pub(crate) struct Name {
    /// The service
    pub(crate) name: String,
}

/// One service, or all.
#[derive(Debug, Args)]
pub(crate) struct OptionalName {
    /// The service; all, if none is named
    pub(crate) name: Option<String>,
}

/// Any services.
#[derive(Debug, Args)]
pub(crate) struct Names {
    /// The services; all, if none is named
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// At least one service.
#[derive(Debug, Args)]
pub(crate) struct SomeNames {
    /// The services
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// Which changes to follow.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Only interfaces of this class, by its short name or GUID; may be repeated
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: Vec<String>,
    /// Only devices with this hardware or compatible id; may be repeated
    #[arg(long, value_name = "ID")]
    pub(crate) id: Vec<String>,
    /// Tell of devices as soon as the kernel does, before their nodes are usable
    #[arg(long)]
    pub(crate) appeared: bool,
    /// Only interfaces, no states of services
    #[arg(long)]
    pub(crate) no_states: bool,
    /// Leave out what is present at the beginning
    #[arg(long)]
    pub(crate) no_snapshot: bool,
    /// Wait for a manager that is not there yet
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Which devices to show.
#[derive(Debug, Args)]
pub(crate) struct Devices {
    /// Only interfaces of this class, by its short name or GUID
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: Option<String>,
    /// Show links and ids too
    #[arg(long, short)]
    pub(crate) long: bool,
}

/// A start.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The service
    pub(crate) name: String,
    /// Arguments for a service with the control protocol; behind -- if they begin with a dash
    #[arg(value_name = "ARG")]
    pub(crate) arguments: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// A stop.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// The service
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// A shutdown.
#[derive(Debug, Args)]
pub(crate) struct Shutdown {
    /// Give up waiting after this time; the shutdown itself goes on
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: Option<u64>,
}

/// Whether and how long to wait.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Return as soon as it has begun
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Give up waiting after this time; the start or stop itself goes on
    #[arg(
        long,
        value_name = "SECONDS",
        conflicts_with = "no_wait",
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub(crate) timeout: Option<u64>,
}

/// An install.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The INF file; the package's other files lie in its folder
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Take a package from a folder that others can write to
    #[arg(long)]
    pub(crate) trust: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) target: InfTarget,
}

/// Some packages, or all.
#[derive(Debug, Args)]
pub(crate) struct AnyPackages {
    /// The packages, by their names or those of their INF files; all, if none is named
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// What an INF is compared with.
#[derive(Debug, Args)]
pub(crate) struct InfTarget {
    /// The architecture in Windows' or Linux' words, instead of this machine's
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
    /// The version of Windows that decorations are compared with
    #[arg(long, value_name = "MAJOR.MINOR.BUILD")]
    pub(crate) os: Option<String>,
    /// The language of the strings, a LANGID such as 0407, instead of the file's main one
    #[arg(long, value_name = "LANGID")]
    pub(crate) language: Option<String>,
}

/// What to do with INF files.
#[derive(Debug, Subcommand)]
pub(crate) enum Inf {
    /// Say what is wrong with INF files
    #[command(after_help = examples::INF_CHECK)]
    Check {
        /// The files
        #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
        /// Report what only Windows asks for too
        #[arg(long)]
        windows: bool,
        #[command(flatten)]
        target: InfTarget,
    },
    /// Lay out INF files in one way
    #[command(after_help = examples::INF_FMT)]
    Fmt {
        /// The files, which are changed in place
        #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
        files: Vec<PathBuf>,
        /// Change nothing, and say which files would be changed
        #[arg(long)]
        check: bool,
    },
    /// Say what an INF would do on this machine, and for which of its devices
    #[command(after_help = examples::INF_EXPLAIN)]
    Explain {
        /// The file
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        target: InfTarget,
    },
}

/// An export.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The service; or a definition, INF or registry file, if it has a slash or an ending
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) form: Form,
}

/// The form to write.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Form {
    /// As a definition
    #[arg(long)]
    pub(crate) toml: bool,
    /// As an INF
    #[arg(long)]
    pub(crate) inf: bool,
    /// As a file of the registry, with TriggerInfo
    #[arg(long)]
    pub(crate) reg: bool,
}

/// Any packages.
#[derive(Debug, Args)]
pub(crate) struct Packages {
    /// The packages, by their names or those of their INF files
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// Files to look at.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// The files; all of the root's, if none is named
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
}

/// What `event` does.
#[derive(Debug, Args)]
pub(crate) struct EventCommand {
    #[command(subcommand)]
    pub(crate) does: EventDoes,
}

/// The commands below `event`.
#[derive(Debug, Subcommand)]
pub(crate) enum EventDoes {
    /// Write one event
    Write(EventWrite),
}

/// The options of `event write`.
#[derive(Debug, Args)]
pub(crate) struct EventWrite {
    /// The provider's GUID
    pub(crate) provider: String,
    /// How severe it is: 1 critical, 2 error, 3 warning, 4 information, 5 verbose, 0 always
    #[arg(long, default_value_t = 4)]
    pub(crate) level: u8,
    /// The keyword: a mask of 64 bits, such as 0x5
    #[arg(long, default_value = "0", value_parser = mask)]
    pub(crate) keyword: u64,
    /// Which event of the provider's
    #[arg(long, default_value_t = 0)]
    pub(crate) id: u16,
    /// The payload as a text
    #[arg(long, conflicts_with = "bytes")]
    pub(crate) text: Option<String>,
    /// The payload as hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub(crate) bytes: Option<String>,
}

fn mask(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "a mask is a number of 64 bits, such as 0x5".to_owned())
}

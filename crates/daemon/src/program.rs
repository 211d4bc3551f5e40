//! From a definition to what is executed: arguments, environment, output.
//!
//! | variable | value |
//! |---|---|
//! | PATH, LANG | fixed; never those of the daemon |
//! | HOME, USER | of the user that the service runs as |
//! | the definition's own | as written; they go before those above |
//! | ARRIVAL_SERVICE, ARRIVAL_RUN, ARRIVAL_CONTROL, ARRIVAL_START_REASON | always |
//! | ARRIVAL_HOST | the host's random word, set by whoever spawns |
//! | ARRIVAL_INTERFACE, ARRIVAL_NODE | if it is started for an interface; the node is the name where there is none |
//! | NOTIFY_SOCKET | only with the protocol `notify` |
//! | JOURNAL_STREAM | only where the output goes to journald |
//!
//! In arguments `${NAME}` stands for these ARRIVAL_ variables; nothing else is replaced, and no shell
//! ever sees the result.

use std::ffi::OsString;
use std::path::PathBuf;

use arrival_engine::api::Spawn;
use arrival_linux::host::{HostRecord, SpawnError, Spec, Step, output};
use arrival_model::definition::Protocol;
use arrival_model::error::Win32Error;

use crate::names::Names;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const LANG: &str = "C.UTF-8";

/// What all services have in common.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Where logs lie if there is no journald.
    pub(crate) log: PathBuf,
    /// The value of ARRIVAL_CONTROL.
    pub(crate) control: String,
    /// The value of NOTIFY_SOCKET.
    pub(crate) notify: String,
    /// Whom services run as.
    pub(crate) names: Names,
}

/// Why a program was not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What a person reads.
    pub(crate) error: String,
    /// The Win32 code of the case.
    pub(crate) code: Win32Error,
}

impl From<SpawnError> for Failure {
    fn from(error: SpawnError) -> Self {
        use rustix::io::Errno;
        let errno = Errno::from_raw_os_error(error.errno);
        let code = match error.step {
            Step::Groups | Step::Gid | Step::Uid => Win32Error::SERVICE_LOGON_FAILED,
            Step::Chdir | Step::Exec if errno == Errno::NOENT => Win32Error::FILE_NOT_FOUND,
            Step::Chdir | Step::Exec if errno == Errno::ACCESS => Win32Error::ACCESS_DENIED,
            Step::Prepare
            | Step::Cgroup
            | Step::Clone
            | Step::Join
            | Step::Session
            | Step::Descriptors
            | Step::Limit
            | Step::Chdir
            | Step::Exec => Win32Error::GEN_FAILURE,
        };
        Failure {
            error: error.to_string(),
            code,
        }
    }
}

/// Prepares a program; may wait for a disk, and for a name service if the user is not known yet.
pub(crate) fn prepare(
    surroundings: &Surroundings,
    record: &HostRecord,
    order: &Spawn,
) -> Result<Spec, Failure> {
    let definition = &*order.definition;
    let person = surroundings.names.of(definition).map_err(|error| Failure {
        error: error.to_string(),
        code: Win32Error::SERVICE_LOGON_FAILED,
    })?;
    let run = order.run.0.to_string();
    let interface = order.interface.as_deref();
    let link = interface.map(|interface| interface.link.as_str());
    let node = interface.map(|interface| {
        let node = interface.node.as_deref();
        node.unwrap_or(&interface.name)
    });
    let variables: [(&str, Option<&str>); 6] = [
        ("ARRIVAL_SERVICE", Some(definition.name.as_str())),
        ("ARRIVAL_RUN", Some(&run)),
        ("ARRIVAL_CONTROL", Some(&surroundings.control)),
        ("ARRIVAL_START_REASON", Some(order.reason.name())),
        ("ARRIVAL_INTERFACE", link),
        ("ARRIVAL_NODE", node),
    ];

    let value = |name: &str| match name {
        "ARRIVAL_HOST" => Some(record.token.as_str()),
        _ => variables
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| value.unwrap_or("")),
    };
    let mut argv = Vec::with_capacity(definition.exec.len());
    for (index, argument) in definition.exec.iter().enumerate() {
        if index == 0 {
            argv.push(OsString::from(argument));
            continue;
        }
        let replaced = substitute(argument, value).map_err(|name| Failure {
            error: format!("there is no variable '{name}' for the argument '{argument}'"),
            code: Win32Error::INVALID_PARAMETER,
        })?;
        argv.push(replaced.into());
    }

    let mut spec = Spec::new(argv);
    let own = &definition.environment;
    let base = [
        ("PATH", PATH),
        ("LANG", LANG),
        ("HOME", person.home.as_str()),
        ("USER", person.user.as_str()),
    ];
    spec.env
        .reserve(base.len() + own.len() + variables.len() + 2);
    let mut set = |name: &str, value: &str| spec.env.push((name.into(), value.into()));
    for (name, value) in base {
        if !own.contains_key(name) {
            set(name, value);
        }
    }
    for (name, value) in own {
        set(name, value);
    }
    for (name, value) in variables {
        if let Some(value) = value {
            set(name, value);
        }
    }
    if definition.protocol == Protocol::Notify {
        set("NOTIFY_SOCKET", &surroundings.notify);
    }
    match output::open(&surroundings.log, definition.name.as_str()) {
        Ok(output) => {
            if let Some(stream) = &output.journal_stream {
                set("JOURNAL_STREAM", stream);
            }
            spec.stdout = Some(output.fd);
        }
        // A service is worth more than its log.
        Err(error) => tracing::warn!("{}: its output is lost: {error}", definition.name),
    }
    if let Some(directory) = &definition.directory {
        spec.cwd = PathBuf::from(directory);
    }
    spec.credentials = person.credentials.clone();
    Ok(spec)
}

/// Replaces each `${NAME}`; the error is a name that means nothing.
fn substitute<'a>(
    argument: &str,
    value: impl Fn(&str) -> Option<&'a str>,
) -> Result<String, String> {
    let mut out = String::with_capacity(argument.len());
    let mut rest = argument;
    while let Some((before, tail)) = rest.split_once("${") {
        out.push_str(before);
        let Some((name, tail)) = tail.split_once('}') else {
            return Err(tail.to_owned());
        };
        out.push_str(value(name).ok_or_else(|| name.to_owned())?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_in_braces_are_replaced() {
        let value = |name: &str| (name == "ARRIVAL_NODE").then_some("/dev/x");
        let done = |text: &str| substitute(text, value);
        assert_eq!(
            done("plain $ARRIVAL_NODE $$").unwrap(),
            "plain $ARRIVAL_NODE $$"
        );
        assert_eq!(
            done("a${ARRIVAL_NODE}b${ARRIVAL_NODE}").unwrap(),
            "a/dev/xb/dev/x"
        );
        assert_eq!(done("${HOME}").unwrap_err(), "HOME");
        assert_eq!(done("${ARRIVAL_NODE").unwrap_err(), "ARRIVAL_NODE");
    }

    #[test]
    fn what_replaces_a_variable_is_not_looked_at_again() {
        let value = |_: &str| Some("${ARRIVAL_RUN}");
        assert_eq!(substitute("${X}", value).unwrap(), "${ARRIVAL_RUN}");
    }
}

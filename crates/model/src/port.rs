//! Which listening sockets a port trigger means.
//!
//! ```text
//! text        item of a Windows trigger, in this order        compared with
//! port        a number, or RPC                                 the local port; RPC: a port that is registered
//!                                                              with the endpoint mapper
//! protocol    TCP or UDP                                       the socket's protocol
//! program     a path, or system; may be missing                the path of any process that has the socket;
//!                                                              system: a socket of the kernel, of no process
//! user        a SID or name, or the service's; may be missing  the user or service of any such process
//! ```
//!
//! All that is given must fit. Paths are compared without regard to case, with `/` and `\` alike and a
//! trailing `.exe` ignored, since a path in an INF is Windows'; `%name%` at its beginning is looked up in
//! the settings, never in an environment.
//!
//! Sources: Microsoft, SERVICE_TRIGGER structure, SERVICE_TRIGGER_TYPE_FIREWALL_PORT_EVENT.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Transmission Control Protocol: a socket that listens.
    Tcp,
    /// User Datagram Protocol: a socket that is bound and not connected.
    Udp,
}

impl Transport {
    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }
}

/// A port, or what stands for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// This one; never 0.
    Number(u16),
    /// Any that the endpoint mapper knows.
    Rpc,
}

/// A program, or the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// Sockets that no process has.
    System,
    /// The path of a program.
    Path(String),
}

/// A listening socket that a trigger means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortMatch {
    /// Its port.
    pub port: Port,
    /// Its protocol.
    pub protocol: Transport,
    /// Whose it is; none means anybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
    /// Which user or service has it; none means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What texts cannot mean a socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// There are too few or too many texts.
    #[error(
        "a port is given as port, protocol, program and user, of which the first two are needed"
    )]
    Count,
    /// The first is no port.
    #[error("'{0}' is no port: a number from 1 to 65535, or RPC")]
    Port(String),
    /// The second is no protocol.
    #[error("'{0}' is no protocol: TCP or UDP")]
    Protocol(String),
}

impl PortMatch {
    /// Reads the texts of an item.
    ///
    /// # Errors
    ///
    /// Names the text that is wrong.
    pub fn from_texts<S: AsRef<str>>(texts: &[S]) -> Result<Self, PortError> {
        let mut texts = texts.iter().map(AsRef::as_ref);
        let (Some(port), Some(protocol)) = (texts.next(), texts.next()) else {
            return Err(PortError::Count);
        };
        let port = match port.parse::<u16>() {
            Ok(number) if number > 0 => Port::Number(number),
            Err(_) if port.eq_ignore_ascii_case("rpc") => Port::Rpc,
            Ok(_) | Err(_) => return Err(PortError::Port(port.to_owned())),
        };
        let protocol = [Transport::Tcp, Transport::Udp]
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(protocol))
            .ok_or_else(|| PortError::Protocol(protocol.to_owned()))?;
        let mut given = || texts.next().filter(|text| !text.is_empty());
        let program = given().map(|text| {
            if text.eq_ignore_ascii_case("system") {
                Program::System
            } else {
                Program::Path(text.to_owned())
            }
        });
        let user = given().map(str::to_owned);
        if texts.next().is_some() {
            return Err(PortError::Count);
        }
        Ok(PortMatch {
            port,
            protocol,
            program,
            user,
        })
    }

    /// The texts of an item.
    pub fn texts(&self) -> Vec<String> {
        let port = match self.port {
            Port::Number(number) => number.to_string(),
            Port::Rpc => "RPC".to_owned(),
        };
        let mut texts = vec![port, self.protocol.name().to_ascii_uppercase()];
        let program = self.program.as_ref().map(|program| match program {
            Program::System => "system".to_owned(),
            Program::Path(path) => path.clone(),
        });
        if program.is_some() || self.user.is_some() {
            texts.push(program.unwrap_or_default());
        }
        texts.extend(self.user.clone());
        texts
    }
}

/// A listening socket, as far as triggers ask about it.
#[derive(Clone, Copy, Debug)]
pub struct Listening<'l> {
    /// Its protocol.
    pub protocol: Transport,
    /// Its port.
    pub port: u16,
    /// Whether the endpoint mapper knows the port.
    pub rpc: bool,
    /// Whether no process has it.
    pub system: bool,
    /// The paths of the programs that have it.
    pub programs: &'l [String],
    /// The users and services that have it, by every name they have.
    pub users: &'l [String],
}

impl PortMatch {
    /// Whether this socket is meant; `variable` gives the folder of a `%name%`.
    pub fn fits(&self, socket: Listening<'_>, variable: impl Fn(&str) -> Option<String>) -> bool {
        let port = match self.port {
            Port::Number(number) => number == socket.port,
            Port::Rpc => socket.rpc,
        };
        port && self.protocol == socket.protocol
            && match &self.program {
                None => true,
                Some(Program::System) => socket.system,
                Some(Program::Path(path)) => resolve(path, variable)
                    .is_some_and(|path| socket.programs.iter().any(|own| comparable(own) == path)),
            }
            && self.user.as_ref().is_none_or(|user| {
                socket
                    .users
                    .iter()
                    .any(|own| own.eq_ignore_ascii_case(user))
            })
    }
}

/// A path in the form in which paths are compared; none if its `%name%` means nothing.
fn resolve(path: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let Some((name, rest)) = path.strip_prefix('%').and_then(|rest| rest.split_once('%')) else {
        return Some(comparable(path));
    };
    let folder = variable(&name.to_ascii_lowercase())?;
    Some(comparable(&format!(
        "{}{rest}",
        folder.trim_end_matches('/')
    )))
}

fn comparable(path: &str) -> String {
    let path = path.replace('\\', "/").to_ascii_lowercase();
    path.strip_suffix(".exe")
        .map_or(path.clone(), str::to_owned)
}

impl fmt::Display for PortMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.protocol.name())?;
        match self.port {
            Port::Number(number) => write!(f, ":{number}")?,
            Port::Rpc => f.write_str(":rpc")?,
        }
        match &self.program {
            None => {}
            Some(Program::System) => f.write_str(" of the kernel")?,
            Some(Program::Path(path)) => write!(f, " of {path}")?,
        }
        match &self.user {
            None => Ok(()),
            Some(user) => write!(f, " as {user}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PortMatch, PortError> {
        PortMatch::from_texts(&text.split(';').collect::<Vec<_>>())
    }

    #[test]
    fn the_texts_of_an_item_go_there_and_back() {
        for text in [
            "5001;UDP",
            "RPC;TCP",
            "500;UDP;%windir%\\system32\\svchost.exe;IKEEXT",
            "445;TCP;system",
            "445;TCP;;LanmanServer",
        ] {
            assert_eq!(read(text).unwrap().texts().join(";"), text);
        }
        assert_eq!(read("5001"), Err(PortError::Count));
        assert_eq!(read("1;tcp;a;b;c"), Err(PortError::Count));
        assert_eq!(read("0;tcp"), Err(PortError::Port("0".to_owned())));
        assert_eq!(read("65536;tcp"), Err(PortError::Port("65536".to_owned())));
        assert_eq!(read("1;sctp"), Err(PortError::Protocol("sctp".to_owned())));
    }

    #[test]
    fn all_that_is_given_must_fit() {
        let programs = ["/opt/vendor/Serve".to_owned()];
        let users = ["1000".to_owned(), "Served".to_owned()];
        let socket = Listening {
            protocol: Transport::Udp,
            port: 5001,
            rpc: false,
            system: false,
            programs: &programs,
            users: &users,
        };
        let variable = |name: &str| (name == "programfiles").then(|| "/opt/".to_owned());
        let fits = |text: &str| read(text).unwrap().fits(socket, variable);
        for good in [
            "5001;udp",
            "5001;udp;/opt/vendor/serve",
            "5001;udp;%ProgramFiles%\\vendor\\serve.exe",
            "5001;udp;;served",
            "5001;udp;/opt/vendor/serve;1000",
        ] {
            assert!(fits(good), "{good}");
        }
        for bad in [
            "5002;udp",
            "5001;tcp",
            "rpc;udp",
            "5001;udp;system",
            "5001;udp;/opt/vendor/other",
            "5001;udp;%windir%\\vendor\\serve.exe",
            "5001;udp;;other",
            "5001;udp;/opt/vendor/serve;other",
        ] {
            assert!(!fits(bad), "{bad}");
        }
        let kernel = Listening {
            system: true,
            programs: &[],
            users: &[],
            ..socket
        };
        assert!(read("5001;udp;System").unwrap().fits(kernel, variable));
        let mapped = Listening {
            rpc: true,
            ..socket
        };
        assert!(read("RPC;UDP").unwrap().fits(mapped, variable));
    }
}

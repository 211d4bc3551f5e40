//! What installing a file means: the services, the files, the classes.
//!
//! Nothing here was compared with the machine: whether a file is there, what it is, and whether a name is
//! taken, says whoever carries the plan out.

use std::ops::Range;
use std::time::Duration;

use arrival_model::definition::{Protocol, ServiceName, StartType};
use arrival_model::guid::Guid;
use arrival_model::trigger::{DeviceTrigger, FoldedId};

/// What an installer would have to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Who made the package.
    pub provider: String,
    /// The version of `DriverVer`, such as `1.0.0.0`.
    pub version: String,
    /// The devices that the package is for.
    pub devices: Vec<Device>,
    /// The services to install.
    pub services: Vec<Service>,
    /// The interface classes that its devices expose.
    pub interfaces: Vec<Interface>,
    /// The files to copy.
    pub files: Vec<CopyFile>,
}

/// A line of a Models section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// What it is called.
    pub description: String,
    /// The install section, with its decoration.
    pub section: String,
    /// Its hardware id and compatible ids, as they were written.
    pub ids: Vec<String>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The flags of AddService.
    pub flags: u32,
    /// One line for people: the description, else the display name.
    pub description: String,
    /// When it is started apart from its triggers.
    pub start: StartType,
    /// Its program.
    pub program: Place,
    /// Arguments behind the program in ServiceBinary.
    pub arguments: Vec<String>,
    /// Whom it runs as.
    pub account: Account,
    /// The services that must run before it.
    pub depends: Vec<ServiceName>,
    /// What starts it.
    pub triggers: Vec<DeviceTrigger>,
    /// Who may do what with it, in SDDL.
    pub security: Option<String>,
    /// How it says that it runs; the control protocol unless the file says otherwise.
    pub protocol: Protocol,
    /// Whether the manager stops it with the last interface; on Windows it stops itself.
    pub follow: bool,
    /// How long after that.
    pub linger: Duration,
    /// Where its program is named.
    pub span: Range<usize>,
}

/// Whom a service runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// LocalSystem: root.
    System,
    /// NT AUTHORITY\LocalService.
    LocalService,
    /// NT AUTHORITY\NetworkService.
    NetworkService,
    /// A user made for this service: one of the two above with a service SID.
    Own,
    /// A user of the machine.
    User(String),
}

/// Where a file is once the package is installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Below the package's folder; the parts are separated by `/`.
    Package(String),
    /// At an absolute path of the machine.
    Machine(String),
}

/// A class of which the package's devices expose an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The class.
    pub class: Guid,
    /// Tokens of the strings section that stand for the GUID.
    pub names: Vec<String>,
    /// The devices that have it: any of these ids.
    pub ids: Vec<FoldedId>,
    /// Where it is named.
    pub span: Range<usize>,
}

/// A file to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFile {
    /// The file in the INF's folder; the parts are separated by `/`, case does not count.
    pub source: String,
    /// Where below the package's folder it goes.
    pub target: String,
    /// Where it is named.
    pub span: Range<usize>,
}

/// Flags of AddService (setupapi.h, SPSVCINST_*).
pub mod flags {
    /// The service is the device's function driver.
    pub const ASSOCSERVICE: u32 = 0x2;
    /// Start it once it is installed.
    pub const STARTSERVICE: u32 = 0x800;
    /// Every flag that Microsoft has defined.
    pub const ALL: u32 = 0x7_ffff;
}

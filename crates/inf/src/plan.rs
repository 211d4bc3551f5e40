//! What installing a file means: the services, the files, the classes.
//!
//! Nothing here was compared with the machine: whether a file is there, what it is, and whether a name is
//! taken, says whoever carries the plan out.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use arrival_model::definition::{
    Damping, Definition, FailurePolicy, Protocol, Replug, ServiceName, StartType,
};
use arrival_model::guid::Guid;
use arrival_model::service_trigger::ServiceTrigger;
use arrival_model::trigger::{Cause, DeviceTrigger, FoldedId, Wait};

use crate::syntax::fold;

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
    /// The services to remove.
    pub removed: Vec<Removed>,
    /// The interface classes that its devices expose.
    pub interfaces: Vec<Interface>,
    /// Classes that the package declares without a device: those of `[InterfaceInstall32]`.
    pub declared: Vec<Guid>,
    /// The files to copy.
    pub files: Vec<CopyFile>,
    /// Values for the devices of each install section.
    pub parameters: Vec<DeviceParameters>,
}

/// A line of `DelService`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The service.
    pub name: ServiceName,
    /// The flags.
    pub flags: u32,
    /// Where it is named.
    pub span: Range<usize>,
}

/// Values that `AddReg` gives to the devices of an install section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceParameters {
    /// The install section, with its decoration.
    pub section: String,
    /// The ids of its devices.
    pub ids: Vec<FoldedId>,
    /// The values.
    pub values: Vec<Value>,
}

/// A value of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The key below the service's or device's own; empty for that itself.
    pub key: String,
    /// The name; empty for the key's default value.
    pub name: String,
    /// What it holds.
    pub data: Data,
    /// Where the data stand.
    pub span: Range<usize>,
    /// Where the line stands.
    pub line: Range<usize>,
}

impl Value {
    /// Whether this is the value of this key and name.
    pub fn is(&self, key: &str, name: &str) -> bool {
        self.key.eq_ignore_ascii_case(key) && self.name.eq_ignore_ascii_case(name)
    }

    /// The folded key behind another one, which is folded; empty for that itself.
    pub(crate) fn below(&self, key: &str) -> Option<String> {
        let own = fold(&self.key);
        let rest = own.strip_prefix(key)?;
        match rest.strip_prefix('\\') {
            Some(rest) => Some(rest.to_owned()),
            None => rest.is_empty().then(String::new),
        }
    }
}

/// What a value of the registry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// REG_SZ.
    Text(String),
    /// REG_EXPAND_SZ: text with `%variables%`.
    Expand(String),
    /// REG_MULTI_SZ.
    Texts(Vec<String>),
    /// REG_DWORD or REG_QWORD: a number of so many bytes.
    Number(u64, u8),
    /// Bytes of another type: 0 REG_BINARY.
    Bytes(Vec<u8>, u32),
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
    /// What starts and stops it.
    pub triggers: Vec<Trigger>,
    /// What follows a failure; none if the file does not say.
    pub failure: Option<FailureActions>,
    /// Who may do what with it, in SDDL.
    pub security: Option<String>,
    /// What Windows has no word for.
    pub settings: Settings,
    /// Values of its own key, without the settings.
    pub parameters: Vec<Value>,
    /// Where its program is named.
    pub span: Range<usize>,
}

/// A trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The section that describes it.
    pub section: String,
    /// What it is.
    pub form: ServiceTrigger,
    /// Where AddTrigger names it.
    pub span: Range<usize>,
}

/// What `FailureActions` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureActions {
    /// So long without a failure begins the count anew; none means that nothing does.
    pub reset: Option<Duration>,
    /// Whether a stop with an error is a failure.
    pub non_crash: bool,
    /// What follows the first failure, the second and so on, each with its delay; the last repeats.
    pub actions: Vec<(FailureAction, Duration)>,
}

/// What follows a failure (SC_ACTION_TYPE of winsvc.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureAction {
    /// Nothing.
    None,
    /// The service is started again.
    Restart,
    /// The machine is.
    Reboot,
    /// A command runs.
    RunCommand,
    /// The service is started again, in a process of its own.
    OwnRestart,
}

impl FailureAction {
    /// The action of this number.
    pub fn from_raw(number: u32) -> Option<Self> {
        match number {
            0 => Some(FailureAction::None),
            1 => Some(FailureAction::Restart),
            2 => Some(FailureAction::Reboot),
            3 => Some(FailureAction::RunCommand),
            4 => Some(FailureAction::OwnRestart),
            _ => None,
        }
    }

    /// Whether the service runs again.
    pub fn restarts(self) -> bool {
        match self {
            FailureAction::Restart | FailureAction::OwnRestart => true,
            FailureAction::None | FailureAction::Reboot | FailureAction::RunCommand => false,
        }
    }
}

impl FailureActions {
    /// The policy that comes closest.
    ///
    /// The restarts at the beginning count, with the delay of the first; whatever else follows them gives the
    /// service up. Restarts to the end never do, but for a thousand failures in a second.
    pub fn policy(&self) -> FailurePolicy {
        let default = FailurePolicy::default();
        let restarts = self
            .actions
            .iter()
            .take_while(|(action, _)| action.restarts());
        let restarts = restarts.count();
        let delay = self
            .actions
            .first()
            .map_or(default.delay, |(_, delay)| *delay);
        if restarts == 0 {
            return FailurePolicy {
                restart: false,
                ..default
            };
        }
        if restarts == self.actions.len() {
            return FailurePolicy {
                restart: true,
                delay,
                limit: 1000,
                within: Duration::from_secs(1),
            };
        }
        // A definition knows no longer time than a year, nor zero.
        let year = Duration::from_secs(366 * 24 * 3600);
        FailurePolicy {
            restart: true,
            delay,
            limit: u32::try_from(restarts + 1).unwrap_or(1000).min(1000),
            within: self
                .reset
                .unwrap_or(year)
                .clamp(Duration::from_secs(1), year),
        }
    }
}

/// What `HKR,Parameters\Arrival` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How it says that it runs; the control protocol if this is none.
    pub protocol: Option<Protocol>,
    /// Whether the manager stops it with the last interface; on Windows it stops itself.
    pub follow: bool,
    /// How long after that.
    pub linger: Duration,
    /// What happens when its interface is replaced.
    pub replug: Replug,
    /// The group it runs in.
    pub group: Option<String>,
    /// The folder it starts in.
    pub directory: Option<String>,
    /// Variables.
    pub environment: BTreeMap<String, String>,
    /// What it may publish.
    pub provides: Vec<Guid>,
    /// How long a start may take.
    pub start_timeout: Option<Duration>,
    /// How long a stop may take.
    pub stop_timeout: Option<Duration>,
    /// What happens after a failed run.
    pub failure: Option<FailurePolicy>,
    /// How often its triggers may start it.
    pub damping: Option<Damping>,
    /// By the number of a trigger, from 0.
    pub triggers: BTreeMap<usize, TriggerSettings>,
}

/// What Windows has no word for in a trigger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TriggerSettings {
    /// Whether ids of the device's ancestors count too.
    pub ancestors: bool,
    /// Which moment counts as the arrival.
    pub wait: Wait,
    /// The mode of a pipe's socket.
    pub mode: Option<u16>,
}

impl Service {
    /// The definition that this means, with the program at `program`; triggers that it has no form for are
    /// left out.
    pub fn definition(&self, program: &str) -> Definition {
        let mut exec = vec![program.to_owned()];
        exec.extend(self.arguments.iter().cloned());
        let mut definition = Definition::new(self.name.clone(), exec);
        let settings = &self.settings;
        definition.description.clone_from(&self.description);
        definition.start = self.start;
        definition.protocol = settings.protocol.unwrap_or(Protocol::Control);
        definition.follow = settings.follow;
        definition.linger = settings.linger;
        definition.replug = settings.replug;
        definition.group.clone_from(&settings.group);
        definition.directory.clone_from(&settings.directory);
        definition.environment.clone_from(&settings.environment);
        definition.provides.clone_from(&settings.provides);
        definition.damping.clone_from(&settings.damping);
        definition.start_timeout = settings.start_timeout.unwrap_or(Definition::START_TIMEOUT);
        definition.stop_timeout = settings.stop_timeout.unwrap_or(Definition::STOP_TIMEOUT);
        let actions = self.failure.as_ref().map(FailureActions::policy);
        definition.failure = settings.failure.clone().or(actions).unwrap_or_default();
        definition.depends.clone_from(&self.depends);
        definition.security.clone_from(&self.security);
        definition.user = match &self.account {
            Account::System => None,
            Account::LocalService => Some("arrival-local".to_owned()),
            Account::NetworkService => Some("arrival-network".to_owned()),
            Account::Own => Some("own".to_owned()),
            Account::User(name) => Some(name.clone()),
        };
        let triggers = self
            .triggers
            .iter()
            .enumerate()
            .filter_map(|(number, trigger)| {
                let own = settings.triggers.get(&number).copied().unwrap_or_default();
                let mut meant = trigger.form.meaning().ok()?;
                if let Cause::Device(device) = &mut meant.cause {
                    device.ancestors = own.ancestors;
                    device.wait = own.wait;
                }
                if let (Cause::Pipe { mode, .. }, Some(own)) = (&mut meant.cause, own.mode) {
                    *mode = own;
                }
                Some(meant)
            });
        definition.triggers = triggers.collect();
        definition
    }
}

impl Trigger {
    /// The device whose arrival starts the service, if that is what it means.
    pub fn device(&self) -> Option<DeviceTrigger> {
        self.form.meaning().ok()?.starts_with_device().cloned()
    }
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

/// Flags of AddService and DelService (setupapi.h, SPSVCINST_*).
pub mod flags {
    /// The service comes first in its group.
    pub const TAGTOFRONT: u32 = 0x1;
    /// The service is the device's function driver.
    pub const ASSOCSERVICE: u32 = 0x2;
    /// DelService removes its event log too.
    pub const DELETEEVENTLOGENTRY: u32 = 0x4;
    /// The display name of a service that is there stays.
    pub const NOCLOBBER_DISPLAYNAME: u32 = 0x8;
    /// Its start type stays.
    pub const NOCLOBBER_STARTTYPE: u32 = 0x10;
    /// Its error control stays.
    pub const NOCLOBBER_ERRORCONTROL: u32 = 0x20;
    /// Its group stays.
    pub const NOCLOBBER_LOADORDERGROUP: u32 = 0x40;
    /// The services it depends on stay.
    pub const NOCLOBBER_DEPENDENCIES: u32 = 0x80;
    /// Its description stays.
    pub const NOCLOBBER_DESCRIPTION: u32 = 0x100;
    /// DelService stops it first.
    pub const STOPSERVICE: u32 = 0x200;
    /// Its security descriptor does not stay.
    pub const CLOBBER_SECURITY: u32 = 0x400;
    /// Start it once it is installed.
    pub const STARTSERVICE: u32 = 0x800;
    /// Its privileges stay.
    pub const NOCLOBBER_REQUIREDPRIVILEGES: u32 = 0x1000;
    /// Its triggers stay, if it has any.
    pub const NOCLOBBER_TRIGGERS: u32 = 0x2000;
    /// The type of its SID stays.
    pub const NOCLOBBER_SERVICESIDTYPE: u32 = 0x4000;
    /// Whether its start is delayed stays.
    pub const NOCLOBBER_DELAYEDAUTOSTART: u32 = 0x8000;
    /// The name is made unique.
    pub const UNIQUE_NAME: u32 = 0x1_0000;
    /// What follows its failures stays.
    pub const NOCLOBBER_FAILUREACTIONS: u32 = 0x2_0000;
    /// Its boot flags stay.
    pub const NOCLOBBER_BOOTFLAGS: u32 = 0x4_0000;
    /// Every flag of AddService.
    pub const ADD: u32 = 0x7_ffff & !DEL;
    /// Every flag of DelService.
    pub const DEL: u32 = DELETEEVENTLOGENTRY | STOPSERVICE;
}

/// What becomes of a service that is there already, by the flags of AddService.
///
/// Windows changes every value of an existing service that no NOCLOBBER flag protects; its security descriptor
/// stays unless CLOBBER_SECURITY is given. ErrorControl, LoadOrderGroup, RequiredPrivileges, DelayedAutoStart
/// and BootFlags are not kept here, so that their flags have nothing to protect.
#[must_use]
pub fn keep(old: &Definition, new: Definition, flags: u32) -> Definition {
    let has = |flag: u32| flags & flag != 0;
    let mut kept = new;
    // The description and the display name are one line here.
    if has(flags::NOCLOBBER_DESCRIPTION | flags::NOCLOBBER_DISPLAYNAME)
        && !old.description.is_empty()
    {
        kept.description.clone_from(&old.description);
    }
    if has(flags::NOCLOBBER_STARTTYPE) {
        kept.start = old.start;
    }
    if has(flags::NOCLOBBER_DEPENDENCIES) {
        kept.depends.clone_from(&old.depends);
    }
    if has(flags::NOCLOBBER_TRIGGERS) && !old.triggers.is_empty() {
        kept.triggers.clone_from(&old.triggers);
    }
    if has(flags::NOCLOBBER_FAILUREACTIONS) {
        kept.failure.clone_from(&old.failure);
    }
    let virtual_account = |user: &Option<String>| {
        matches!(
            user.as_deref(),
            Some("own" | "arrival-local" | "arrival-network")
        )
    };
    // The type of the SID decides whether such an account is the service's own.
    if has(flags::NOCLOBBER_SERVICESIDTYPE)
        && virtual_account(&old.user)
        && virtual_account(&kept.user)
    {
        kept.user.clone_from(&old.user);
    }
    if !has(flags::CLOBBER_SECURITY) {
        kept.security = old.security.clone().or(kept.security);
    }
    kept
}

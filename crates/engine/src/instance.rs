//! An instance of a definition, its run, and the host that carries the run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrival_model::definition::Definition;
use arrival_model::error::Win32Error;
use arrival_model::exit::Exit;
use arrival_model::interface::InterfaceKey;
use arrival_model::state::{Accepts, Desired, HeldBack, ServiceState, StartReason};
use arrival_model::time::Time;
use serde::{Deserialize, Serialize};

use crate::api::{HostId, RunId, SessionId, Ticket};
use crate::index::Slot;
use crate::interfaces::Number;

/// A definition and what is going on with it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Instance {
    pub(crate) definition: Arc<Definition>,
    /// Whether the store allows it to run.
    pub(crate) enabled: bool,
    pub(crate) known: Known,
    /// What it has to run for, with the cursor of its arrival: matching interfaces that are ready for
    /// it, and sides of levels that hold.
    pub(crate) present: BTreeMap<Number, u64>,
    /// What must survive a restart of the manager.
    pub(crate) life: Life,
}

impl Instance {
    /// Whether something is there that it has to run for, or has happened.
    pub(crate) fn wanted(&self) -> bool {
        !self.present.is_empty() || self.life.owed
    }
}

/// All instances, each at a place of its own that is used again once it is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Instances {
    places: Vec<Option<Instance>>,
    free: BTreeSet<Slot>,
}

impl Instances {
    pub(crate) fn get(&self, slot: Slot) -> Option<&Instance> {
        self.places.get(slot.0 as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Instance> {
        self.places.get_mut(slot.0 as usize)?.as_mut()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Instance> {
        self.places.iter_mut().flatten()
    }

    /// Puts an instance into the first empty place.
    pub(crate) fn insert(&mut self, instance: Instance) -> Slot {
        let free = self.free.pop_first();
        if let Some(place) = free.and_then(|slot| self.places.get_mut(slot.0 as usize))
            && let Some(slot) = free
        {
            *place = Some(instance);
            return slot;
        }
        let slot = Slot(u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        self.places.push(Some(instance));
        slot
    }

    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Instance> {
        let instance = self.places.get_mut(slot.0 as usize)?.take()?;
        self.free.insert(slot);
        Some(instance)
    }
}

impl FromIterator<Instance> for Instances {
    fn from_iter<I: IntoIterator<Item = Instance>>(instances: I) -> Self {
        Instances {
            places: instances.into_iter().map(Some).collect(),
            free: BTreeSet::new(),
        }
    }
}

/// What is known of an instance's definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Known {
    /// It is there.
    Defined,
    /// It was there before the manager's restart; it has not been told since.
    Remembered,
    /// It is gone, and the instance goes with the end of its run.
    Gone,
}

/// The part of an instance that is written to the state file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) state: ServiceState,
    pub(crate) desired: Desired,
    /// Why it does not run although it could; being disabled is not among these.
    pub(crate) held: Option<HeldBack>,
    pub(crate) run: Option<Run>,
    /// When failed runs ended, oldest first, no older than the failure policy looks back.
    pub(crate) failed_at: VecDeque<Time>,
    /// When triggers started it, oldest first, no older than the damping looks back.
    pub(crate) triggered_at: VecDeque<Time>,
    /// When it is started again after a failure.
    pub(crate) retry_at: Option<Time>,
    /// Whether that happens although no interface is there, because it was started by hand.
    pub(crate) retry_by_hand: bool,
    /// Whether a trigger without a level has fired that could not start it yet.
    #[serde(default)]
    pub(crate) owed: bool,
    /// Until when it is held back as flapping.
    pub(crate) hold_until: Option<Time>,
    pub(crate) starts: u64,
    pub(crate) failures: u64,
    pub(crate) last_exit: Option<Exit>,
    pub(crate) last_error: Option<String>,
    /// When it entered its state.
    pub(crate) since: Time,
}

impl Life {
    pub(crate) fn new(now: Time) -> Self {
        Life {
            state: ServiceState::Stopped,
            desired: Desired::Stopped,
            held: None,
            run: None,
            failed_at: VecDeque::new(),
            triggered_at: VecDeque::new(),
            retry_at: None,
            retry_by_hand: false,
            owed: false,
            hold_until: None,
            starts: 0,
            failures: 0,
            last_exit: None,
            last_error: None,
            since: now,
        }
    }
}

/// One run, from START_PENDING to STOPPED.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) host: HostId,
    pub(crate) reason: StartReason,
    /// ServiceMain's arguments.
    pub(crate) arguments: Vec<String>,
    /// The cursor at its start.
    pub(crate) started: u64,
    /// The cursor of the last notice that its session took.
    pub(crate) told: Option<u64>,
    /// Arrivals later than this start the service again; fixed when the run begins to end.
    pub(crate) horizon: Option<u64>,
    /// The cursor when it began to end.
    pub(crate) ended_at: Option<u64>,
    /// The interface it was started for.
    pub(crate) given: Option<InterfaceKey>,
    /// Whether a matching interface was present at any time of the run.
    pub(crate) condition_held: bool,
    pub(crate) stop: Option<StopCause>,
    /// Start again after this run if an interface is there, whenever it arrived.
    pub(crate) again: bool,
    /// What went wrong, if the manager itself knows.
    pub(crate) failed: Option<(Win32Error, String)>,
    /// The exit code of a reported STOPPED.
    pub(crate) reported_stopped: Option<Win32Error>,
    pub(crate) accepts: Accepts,
    pub(crate) checkpoint: u32,
    pub(crate) wait_hint: Duration,
    pub(crate) status_text: Option<String>,
    pub(crate) deadline: Option<Time>,
    pub(crate) linger_at: Option<Time>,
    /// Trigger events that the service has not taken.
    pub(crate) queued: u32,
    /// The cursor of the last trigger without a level that fired and that the service is not told of.
    #[serde(default)]
    pub(crate) last_edge: Option<u64>,
    /// The session of its host, which dies with the manager's process.
    #[serde(skip)]
    pub(crate) session: Option<SessionId>,
    #[serde(skip)]
    pub(crate) waiters: Vec<Waiter>,
}

/// Who or what ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum StopCause {
    /// An operator asked.
    Operator,
    /// The last interface is gone.
    NoInterface,
    /// The interface given to the run was replaced.
    Replug,
    /// A trigger stops it.
    Trigger,
    /// The manager stops everything.
    Shutdown,
    /// It took too long to start.
    StartTimeout,
    /// The service itself began to stop.
    Itself,
    /// Its main process ended without a word.
    Exit,
}

impl StopCause {
    /// Whether the manager ordered it; such an end is never a failure.
    pub(crate) fn is_ordered(self) -> bool {
        match self {
            StopCause::Operator
            | StopCause::NoInterface
            | StopCause::Replug
            | StopCause::Trigger
            | StopCause::Shutdown => true,
            StopCause::StartTimeout | StopCause::Itself | StopCause::Exit => false,
        }
    }
}

/// A request that waits for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Waiter {
    pub(crate) session: SessionId,
    pub(crate) ticket: Ticket,
    /// Whether it waits for RUNNING (or the end); else for STOPPED.
    pub(crate) for_running: bool,
}

/// A process tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Host {
    /// The service whose run it carries, for finding it again.
    pub(crate) service: arrival_model::definition::ServiceName,
    pub(crate) run: RunId,
    /// The main process and its start time, once it runs.
    pub(crate) main: Option<(i32, u64)>,
    /// How the main process ended.
    pub(crate) exit: Option<Exit>,
    #[serde(skip)]
    pub(crate) slot: Option<Slot>,
    /// A signal was wanted before the program ran.
    #[serde(skip)]
    pub(crate) terminate_when_started: bool,
    /// It was found alive after a restart of the manager, perhaps without a known main process.
    #[serde(skip)]
    pub(crate) adopted: bool,
}

impl Host {
    /// Whether there are processes to send a signal to.
    pub(crate) fn is_there(&self) -> bool {
        self.main.is_some() || self.adopted
    }
}

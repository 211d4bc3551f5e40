//! The seven service states, the controls a service accepts, and why it started or does not run.
//!
//! Source: Microsoft, SERVICE_STATUS (winsvc.h) and "Service State Transitions".

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the seven states of a service; the numbers are those of SERVICE_STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceState {
    /// There is no run.
    Stopped = 1,
    /// A run has begun but is not ready.
    StartPending = 2,
    /// The run is letting go.
    StopPending = 3,
    /// The run is ready.
    Running = 4,
    /// The run is on its way from paused to running.
    ContinuePending = 5,
    /// The run is on its way from running to paused.
    PausePending = 6,
    /// The run is paused.
    Paused = 7,
}

impl ServiceState {
    /// All states, in the order of their numbers.
    pub const ALL: [ServiceState; 7] = [
        ServiceState::Stopped,
        ServiceState::StartPending,
        ServiceState::StopPending,
        ServiceState::Running,
        ServiceState::ContinuePending,
        ServiceState::PausePending,
        ServiceState::Paused,
    ];

    /// The state with this Windows number.
    pub fn from_raw(raw: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.to_raw() == raw)
    }

    /// The Windows number of this state.
    pub fn to_raw(self) -> u32 {
        self as u32
    }

    /// The name as `status` prints it, which is Windows' without its prefix.
    pub fn name(self) -> &'static str {
        match self {
            ServiceState::Stopped => "STOPPED",
            ServiceState::StartPending => "START_PENDING",
            ServiceState::StopPending => "STOP_PENDING",
            ServiceState::Running => "RUNNING",
            ServiceState::ContinuePending => "CONTINUE_PENDING",
            ServiceState::PausePending => "PAUSE_PENDING",
            ServiceState::Paused => "PAUSED",
        }
    }

    /// Whether the service is between two settled states.
    pub fn is_pending(self) -> bool {
        match self {
            ServiceState::StartPending
            | ServiceState::StopPending
            | ServiceState::ContinuePending
            | ServiceState::PausePending => true,
            ServiceState::Stopped | ServiceState::Running | ServiceState::Paused => false,
        }
    }

    /// Whether Microsoft's table allows a service to go from this state to `next`.
    ///
    /// A repeated report of a pending state (a checkpoint) is allowed too.
    pub fn may_become(self, next: ServiceState) -> bool {
        use ServiceState::*;
        match self {
            Stopped => matches!(next, StartPending | Running),
            StartPending => matches!(next, StartPending | Running | StopPending | Stopped),
            Running => matches!(
                next,
                Running | PausePending | Paused | StopPending | Stopped
            ),
            PausePending => matches!(next, PausePending | Paused | StopPending | Stopped),
            Paused => matches!(
                next,
                Paused | ContinuePending | Running | StopPending | Stopped
            ),
            ContinuePending => matches!(next, ContinuePending | Running | StopPending | Stopped),
            StopPending => matches!(next, StopPending | Stopped),
        }
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::ops::BitOr for Accepts {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Accepts(self.0 | other.0)
    }
}

/// The controls that a service accepts: the SERVICE_ACCEPT_* bits.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Accepts(pub u32);

impl Accepts {
    /// The service can be stopped.
    pub const STOP: Accepts = Accepts(0x1);
    /// The service can be paused and continued.
    pub const PAUSE_CONTINUE: Accepts = Accepts(0x2);
    /// The service is told of new trigger events while it runs.
    pub const TRIGGER_EVENT: Accepts = Accepts(0x400);

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Accepts) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A control that a service is asked to carry out; the numbers are SERVICE_CONTROL_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Stop (1).
    Stop,
    /// Another trigger event came while the service runs (0x20).
    TriggerEvent,
}

/// Why a run was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartReason {
    /// Somebody asked for it.
    Demand,
    /// The service starts with the manager.
    Auto,
    /// A trigger's condition became true.
    Trigger,
    /// The failure policy, or a replaced interface, started it again.
    Restart,
}

impl StartReason {
    /// The word that ARRIVAL_START_REASON holds.
    pub fn name(self) -> &'static str {
        match self {
            StartReason::Demand => "demand",
            StartReason::Auto => "auto",
            StartReason::Trigger => "trigger",
            StartReason::Restart => "restart",
        }
    }
}

impl fmt::Display for StartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What the manager wants of a service, apart from what it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// It shall run.
    Running,
    /// It shall not.
    Stopped,
}

/// Why a service whose start condition holds does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBack {
    /// It is disabled.
    Disabled,
    /// Its operator stopped it; ends with the next arrival.
    StoppedByOperator,
    /// Too many runs failed in too short a time; ends with the next arrival or a start by hand.
    GivenUp,
    /// It ended itself without error while its interface was there; ends with the next arrival.
    Finished,
    /// It was started too often in too short a time, and its definition damps that.
    Flapping,
    /// A trigger stopped it; ends with the next arrival.
    StoppedByTrigger,
}

impl HeldBack {
    /// The words that `status` prints.
    pub fn name(self) -> &'static str {
        match self {
            HeldBack::Disabled => "disabled",
            HeldBack::StoppedByOperator => "stopped by its operator",
            HeldBack::GivenUp => "given up",
            HeldBack::Finished => "finished",
            HeldBack::Flapping => "flapping",
            HeldBack::StoppedByTrigger => "stopped by a trigger",
        }
    }
}

impl fmt::Display for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_windows() {
        let raw: Vec<u32> = ServiceState::ALL
            .iter()
            .map(|state| state.to_raw())
            .collect();
        assert_eq!(raw, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(ServiceState::from_raw(3), Some(ServiceState::StopPending));
        assert_eq!(ServiceState::from_raw(8), None);
    }

    #[test]
    fn a_stopping_service_can_only_stop() {
        for next in ServiceState::ALL {
            let allowed = matches!(next, ServiceState::StopPending | ServiceState::Stopped);
            assert_eq!(
                ServiceState::StopPending.may_become(next),
                allowed,
                "{next}"
            );
        }
    }
}

//! What can happen next, and what it does.

use std::fmt;
use std::sync::Arc;

use arrival_engine::Engine;
use arrival_engine::api::*;
use arrival_model::error::Win32Error;
use arrival_model::exit::Exit;
use arrival_model::state::ServiceState;

use crate::oracle::Happening;
use crate::world::{Boot, DEVICES, Phase, Scenario, World, interface, key, settings};

/// One thing that happens. Hosts are named by their place in the world's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    Appear(usize),
    Arrive(usize),
    BecomeUsable(usize),
    Remove(usize),
    Replug(usize),
    /// The removal is never told, only the new incarnation.
    ReplugUnseen(usize),
    /// The removal is told after the new incarnation.
    ReplugLate(usize),
    LoseEvents,
    Resync,
    Define,
    Snapshot,
    Adopt(usize),
    SpawnDone(usize),
    SpawnFailed(usize),
    Ready(usize),
    EndsItself(usize),
    Crashes(usize),
    EndsOnSignal(usize),
    KillNoticed(usize),
    Empty(usize),
    Saved(usize),
    Start(usize),
    Stop(usize),
    Enable(usize),
    Disable(usize),
    Timeout,
}

/// How the manager ends after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Signals beyond this number were not sent.
    pub(crate) signals: usize,
    /// Whether orders on their way to the kernel and the store were carried out.
    pub(crate) carried_out: bool,
    /// A host whose processes end before the next manager looks.
    pub(crate) dies: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) step: Step,
    pub(crate) end: Option<End>,
}

impl From<Step> for Action {
    fn from(step: Step) -> Action {
        Action { step, end: None }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.step)?;
        if let Some(end) = self.end {
            write!(f, ", then the manager ends and begins anew")?;
            if end.signals != usize::MAX {
                write!(f, ", signals after the first {} unsent", end.signals)?;
            }
            if !end.carried_out {
                write!(f, ", open orders lost")?;
            }
            if let Some(host) = end.dies {
                write!(f, ", host {host} dies meanwhile")?;
            }
        }
        Ok(())
    }
}

impl World {
    /// What the world owes: answers and time. The first of them always leads towards quiet.
    pub(crate) fn owed(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        match self.boot {
            Boot::NeedsDefinitions => steps.push(Step::Define),
            Boot::NeedsSnapshot => steps.push(Step::Snapshot),
            Boot::Up => {}
        }
        for (place, host) in self.hosts.iter().enumerate() {
            match host.phase {
                _ if host.owed => steps.push(Step::Adopt(place)),
                Phase::Spawning => steps.push(Step::SpawnDone(place)),
                Phase::Alive if host.terminated => steps.push(Step::EndsOnSignal(place)),
                Phase::Killed => steps.push(Step::KillNoticed(place)),
                Phase::Gone => steps.push(Step::Empty(place)),
                Phase::Alive if !host.ready => steps.push(Step::Ready(place)),
                Phase::Alive | Phase::Left | Phase::Lost => {}
            }
        }
        steps.extend((0..self.saving.len()).map(Step::Saved));
        if self.deaf && self.boot == Boot::Up {
            steps.push(Step::Resync);
        }
        steps
    }

    /// Everything that can happen next, what is owed first.
    pub(crate) fn actions(&self, scenario: &Scenario) -> (Vec<Action>, bool) {
        let mut steps = self.owed();
        let timeout = self.engine.poll_timeout().is_some();
        if timeout && steps.is_empty() {
            steps.push(Step::Timeout);
        }
        let progress = !steps.is_empty();
        let slow = timeout && !steps.contains(&Step::Timeout);
        let budget = self.budget;
        if budget.total > 0 {
            if budget.fault > 0 {
                if slow {
                    steps.push(Step::Timeout);
                }
                for (place, host) in self.hosts.iter().enumerate() {
                    match host.phase {
                        _ if host.owed => {}
                        Phase::Spawning => steps.push(Step::SpawnFailed(place)),
                        Phase::Alive if !host.terminated => {
                            steps.extend([Step::EndsItself(place), Step::Crashes(place)]);
                        }
                        Phase::Alive | Phase::Left | Phase::Killed | Phase::Gone | Phase::Lost => {}
                    }
                }
            }
            if budget.device > 0 {
                self.device_steps(&mut steps);
            }
            if budget.overrun > 0 && self.hears() {
                steps.push(Step::LoseEvents);
            }
            if budget.operator > 0 {
                for service in 0..scenario.services {
                    let live = self.hosts.iter().any(|host| host.service == service);
                    let stored = self.stored[service];
                    let planned = timeout && !live;
                    if !live {
                        steps.push(Step::Start(service));
                    }
                    if live || planned {
                        steps.push(Step::Stop(service));
                    }
                    if self.saving.is_empty() {
                        steps.push(match stored {
                            true => Step::Disable(service),
                            false => Step::Enable(service),
                        });
                    }
                }
            }
        }
        let mut actions: Vec<Action> = steps.into_iter().map(Action::from).collect();
        if budget.restart > 0 && budget.total > 0 {
            actions.extend(self.ends());
        }
        (actions, progress)
    }

    /// Whether what devices do is told at once.
    fn hears(&self) -> bool {
        self.boot == Boot::Up && !self.deaf
    }

    fn device_steps(&self, steps: &mut Vec<Step>) {
        for device in 0..DEVICES {
            match self.real[device] {
                None => steps.extend([Step::Appear(device), Step::Arrive(device)]),
                Some((_, usable)) => {
                    if !usable {
                        steps.push(Step::BecomeUsable(device));
                    }
                    steps.extend([Step::Remove(device), Step::Replug(device)]);
                    if self.hears() {
                        steps.extend([Step::ReplugUnseen(device), Step::ReplugLate(device)]);
                    }
                }
            }
        }
    }

    /// The ways in which the manager can end now.
    fn ends(&self) -> Vec<Action> {
        let mut ends = Vec::new();
        let open =
            !self.saving.is_empty() || self.hosts.iter().any(|host| host.phase == Phase::Spawning);
        for carried_out in [true, false] {
            if !carried_out && !open {
                continue;
            }
            let mut dies = vec![None];
            if self.budget.fault > 0 && self.budget.total > 1 {
                dies.extend((0..self.hosts.len()).map(Some));
            }
            for dies in dies {
                let end = End {
                    signals: usize::MAX,
                    carried_out,
                    dies,
                };
                ends.push(Action {
                    step: Step::Nothing,
                    end: Some(end),
                });
            }
        }
        ends
    }

    /// The world after an action.
    pub(crate) fn after(&self, scenario: &Scenario, action: Action) -> Result<World, String> {
        let mut world = self.clone();
        world.signals = 0;
        world.told_effects.clear();
        world.arrived.clear();
        world.signals_lost_after = action.end.map_or(usize::MAX, |end| end.signals);
        world.pay(action);
        world.step(scenario, action.step)?;
        if let Some(end) = action.end {
            world.begin_anew(scenario, end)?;
        }
        world.judge(scenario)?;
        Ok(world)
    }

    fn pay(&mut self, action: Action) {
        let slow = !self.owed().is_empty();
        let budget = &mut self.budget;
        let mut cost = 1;
        match action.step {
            Step::Appear(_)
            | Step::Arrive(_)
            | Step::BecomeUsable(_)
            | Step::Remove(_)
            | Step::Replug(_)
            | Step::ReplugUnseen(_)
            | Step::ReplugLate(_) => budget.device -= 1,
            Step::SpawnFailed(_) | Step::EndsItself(_) | Step::Crashes(_) => budget.fault -= 1,
            Step::Timeout if slow => budget.fault -= 1,
            Step::LoseEvents => budget.overrun -= 1,
            Step::Start(_) | Step::Stop(_) | Step::Enable(_) | Step::Disable(_) => {
                budget.operator -= 1;
            }
            Step::Nothing
            | Step::Timeout
            | Step::Resync
            | Step::Define
            | Step::Snapshot
            | Step::Adopt(_)
            | Step::SpawnDone(_)
            | Step::Ready(_)
            | Step::EndsOnSignal(_)
            | Step::KillNoticed(_)
            | Step::Empty(_)
            | Step::Saved(_) => cost = 0,
        }
        if let Some(end) = action.end {
            budget.restart -= 1;
            cost += 1;
            if end.dies.is_some() {
                budget.fault -= 1;
                cost += 1;
            }
        }
        budget.total = budget.total.saturating_sub(cost);
    }

    fn step(&mut self, scenario: &Scenario, step: Step) -> Result<(), String> {
        match step {
            Step::Nothing => Ok(()),
            Step::Appear(device) => self.plug(scenario, device, false),
            Step::Arrive(device) => self.plug(scenario, device, true),
            Step::BecomeUsable(device) => {
                let now = self.real[device].map(|(inc, _)| (inc, true));
                self.real[device] = now;
                self.tell(scenario, device)
            }
            Step::Remove(device) => {
                self.real[device] = None;
                self.tell(scenario, device)
            }
            Step::Replug(device) => {
                self.real[device] = None;
                self.tell(scenario, device)?;
                self.plug(scenario, device, true)
            }
            Step::ReplugUnseen(device) => self.plug(scenario, device, true),
            Step::ReplugLate(device) => {
                let old = self.real[device].map_or(0, |(inc, _)| inc);
                self.plug(scenario, device, true)?;
                self.event(scenario, Event::Gone(key(device, old)))
            }
            Step::LoseEvents => {
                self.deaf = true;
                Ok(())
            }
            Step::Resync => {
                self.event(scenario, Event::Overrun { source: "uevents" })?;
                self.deaf = false;
                self.snapshot(scenario)
            }
            Step::Define => self.define(scenario),
            Step::Snapshot => {
                self.boot = Boot::Up;
                self.deaf = false;
                self.snapshot(scenario)
            }
            Step::Timeout => self.timeout(scenario),
            Step::Start(service) => {
                let had = std::mem::replace(&mut self.past[service].cause, true);
                let request = Request::Start {
                    service: scenario.definitions[service].name.clone(),
                    arguments: Vec::new(),
                    wait: true,
                };
                if !self.request(scenario, request)? {
                    self.past[service].cause = had;
                }
                Ok(())
            }
            Step::Stop(service) => {
                let request = Request::Stop {
                    service: scenario.definitions[service].name.clone(),
                    wait: true,
                };
                if self.request(scenario, request)? {
                    let past = &mut self.past[service];
                    past.note(Happening::OperatorStop);
                }
                Ok(())
            }
            Step::Enable(service) => {
                let request = Request::Enable(scenario.definitions[service].name.clone());
                self.request(scenario, request).map(drop)
            }
            Step::Disable(service) => {
                let request = Request::Disable(scenario.definitions[service].name.clone());
                self.request(scenario, request).map(drop)
            }
            Step::Saved(place) => {
                let (ticket, service, enabled) = self.saving.remove(place);
                self.stored[service] = enabled;
                self.note_enabled(service, enabled);
                let event = Event::EnabledSaved {
                    ticket,
                    service: scenario.definitions[service].name.clone(),
                    enabled,
                    error: None,
                };
                self.event(scenario, event)
            }
            Step::Adopt(host)
            | Step::SpawnDone(host)
            | Step::SpawnFailed(host)
            | Step::Ready(host)
            | Step::EndsItself(host)
            | Step::Crashes(host)
            | Step::EndsOnSignal(host)
            | Step::KillNoticed(host)
            | Step::Empty(host) => self.host_step(scenario, step, host),
        }
    }

    fn host_step(&mut self, scenario: &Scenario, step: Step, place: usize) -> Result<(), String> {
        let entry = &mut self.hosts[place];
        let (host, service) = (entry.id, entry.service);
        let left = match scenario.leaves[service] {
            true => Phase::Left,
            false => Phase::Gone,
        };
        let event = match step {
            Step::Adopt(_) => {
                entry.owed = false;
                match entry.phase {
                    Phase::Alive | Phase::Left | Phase::Killed => Event::HostAdopted { host },
                    Phase::Spawning | Phase::Gone | Phase::Lost => {
                        let gone = self.hosts.remove(place);
                        if gone.phase == Phase::Lost {
                            self.note_failure(service);
                        }
                        Event::HostLost { host }
                    }
                }
            }
            Step::SpawnDone(_) => {
                entry.phase = Phase::Alive;
                entry.ready = !scenario.notifies[service];
                Event::HostStarted {
                    host,
                    pid: 100 + i32::try_from(host.0).unwrap(),
                    start_time: host.0,
                }
            }
            Step::SpawnFailed(_) => {
                self.hosts.remove(place);
                self.note_failure(service);
                Event::HostFailed {
                    host,
                    error: "no such file".to_owned(),
                    code: Win32Error::FILE_NOT_FOUND,
                }
            }
            Step::Ready(_) => {
                entry.ready = true;
                let notify = Notify {
                    ready: true,
                    ..Notify::default()
                };
                Event::Notified { host, notify }
            }
            Step::EndsItself(_) => {
                entry.phase = left;
                let past = &mut self.past[service];
                past.note(Happening::CleanEnd);
                let exit = Exit::Code(0);
                Event::MainExited { host, exit }
            }
            Step::Crashes(_) => {
                entry.phase = left;
                self.note_failure(service);
                let exit = Exit::Signal(11);
                Event::MainExited { host, exit }
            }
            Step::EndsOnSignal(_) => {
                entry.phase = left;
                let exit = Exit::Signal(15);
                Event::MainExited { host, exit }
            }
            Step::KillNoticed(_) => {
                entry.phase = Phase::Gone;
                let exit = Exit::Signal(9);
                Event::MainExited { host, exit }
            }
            _ => {
                self.hosts.remove(place);
                Event::HostEmpty { host }
            }
        };
        self.event(scenario, event)
    }

    /// Something went wrong that may start the service once more.
    fn note_failure(&mut self, service: usize) {
        let past = &mut self.past[service];
        past.cause = true;
        past.note(Happening::Failure);
    }

    fn note_enabled(&mut self, service: usize, enabled: bool) {
        let past = &mut self.past[service];
        past.cause |= enabled && !past.enabled;
        past.enabled = enabled;
    }

    fn plug(&mut self, scenario: &Scenario, device: usize, usable: bool) -> Result<(), String> {
        self.incarnations += 1;
        self.real[device] = Some((self.incarnations, usable));
        self.tell(scenario, device)
    }

    /// Tells what is the case with a device, if anybody listens.
    fn tell(&mut self, scenario: &Scenario, device: usize) -> Result<(), String> {
        if !self.hears() {
            return Ok(());
        }
        let (old, new) = (self.told[device], self.real[device]);
        self.note_told(scenario, device, new);
        match (old, new) {
            (_, Some(real)) => self.event(scenario, Event::Present(interface(device, real))),
            (Some((inc, _)), None) => self.event(scenario, Event::Gone(key(device, inc))),
            (None, None) => Ok(()),
        }
    }

    fn snapshot(&mut self, scenario: &Scenario) -> Result<(), String> {
        let real = self.real;
        for (device, real) in real.into_iter().enumerate() {
            self.note_told(scenario, device, real);
        }
        let all = real.into_iter().enumerate();
        let all = all.filter_map(|(device, real)| Some(interface(device, real?)));
        self.event(scenario, Event::Snapshot(all.collect()))
    }

    fn define(&mut self, scenario: &Scenario) -> Result<(), String> {
        self.boot = Boot::NeedsSnapshot;
        for service in 0..scenario.services {
            self.note_enabled(service, self.stored[service]);
            let event = Event::Defined {
                definition: Arc::clone(&scenario.definitions[service]),
                enabled: self.stored[service],
            };
            self.event(scenario, event)?;
        }
        self.event(scenario, Event::Loaded)
    }

    fn timeout(&mut self, scenario: &Scenario) -> Result<(), String> {
        let Some(due) = self.engine.poll_timeout() else {
            return Ok(());
        };
        let starting = |world: &World, service: usize| {
            let view = world.engine.service(&scenario.definitions[service].name);
            view.is_some_and(|view| view.state == ServiceState::StartPending)
        };
        self.now = self.now.max(due);
        let before: Vec<bool> = (0..scenario.services).map(|s| starting(self, s)).collect();
        self.engine.handle_timeout(self.now);
        for (service, before) in before.into_iter().enumerate() {
            if before && !starting(self, service) {
                self.note_failure(service);
                let mut hosts = self.hosts.iter_mut();
                if let Some(host) = hosts.find(|host| host.service == service) {
                    host.overdue = true;
                }
            }
        }
        self.carry_out(scenario)
    }

    /// Whether a request was not denied; a denied one must change nothing.
    fn request(&mut self, scenario: &Scenario, request: Request) -> Result<bool, String> {
        let before = self.engine.clone();
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket.0);
        let session = SessionId(self.session);
        let admitted = self
            .engine
            .handle_request(self.now, session, ticket, request);
        if admitted.is_err() {
            self.tickets.remove(&ticket.0);
            if self.engine != before {
                return Err("a denied request changed something".to_owned());
            }
        }
        self.carry_out(scenario)?;
        Ok(admitted.is_ok())
    }

    /// The manager is gone, and a new one continues from the state file.
    fn begin_anew(&mut self, scenario: &Scenario, end: End) -> Result<(), String> {
        let remembered = self.told;
        let records = self.records.iter();
        let records = records.map(|(key, value)| (key.to_string(), value.to_string()));
        let restored = Engine::restore(settings(), records);
        if !restored.problems.is_empty() {
            return Err(restored.problems.join(", "));
        }
        self.engine = restored.engine;
        self.told = remembered;
        self.boot = Boot::NeedsDefinitions;
        self.deaf = false;
        self.tickets.clear();
        for (_, service, enabled) in std::mem::take(&mut self.saving) {
            if end.carried_out {
                self.stored[service] = enabled;
            }
        }
        let known: Vec<HostId> = (self.engine.remembered_hosts().iter())
            .map(|host| host.host)
            .collect();
        if known.len() != self.hosts.len() {
            return Err(format!("{known:?} remembered of {:?}", self.hosts));
        }
        for (place, host) in self.hosts.iter_mut().enumerate() {
            if !known.contains(&host.id) {
                return Err(format!("{:?} is forgotten", host.id));
            }
            host.owed = true;
            if host.phase == Phase::Spawning {
                host.ready = !scenario.notifies[host.service];
                host.phase = match end.carried_out {
                    true => Phase::Alive,
                    false => Phase::Lost,
                };
            }
            if end.dies == Some(place) {
                host.phase = match host.phase {
                    Phase::Alive | Phase::Lost => Phase::Lost,
                    Phase::Spawning | Phase::Left | Phase::Killed | Phase::Gone => Phase::Gone,
                };
            }
        }
        self.session += 1;
        self.open_session(scenario)
    }
}

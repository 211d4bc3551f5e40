//! The thread that reads definitions and writes which services are enabled: the task that owns the
//! engine never waits for a disk.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use arrival_engine::api::{SessionId, Ticket};
use arrival_model::class::Classes;
use arrival_model::definition::{Definition, ServiceName, StartType};
use arrival_model::diagnostic::Diagnostic;
use arrival_store::settings::Settings;
use arrival_store::store::{Placed, Store};
use tokio::sync::mpsc::UnboundedSender;

use crate::outcome::Outcome;
use crate::program::Surroundings;

const STACK: usize = 512 * 1024;

/// A definition that is new or other than before.
#[derive(Clone, Debug)]
pub(crate) struct Defined {
    pub(crate) definition: Arc<Definition>,
    pub(crate) path: PathBuf,
    pub(crate) enabled: bool,
}

/// What a look at the files found.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    pub(crate) defined: Vec<Defined>,
    pub(crate) undefined: Vec<ServiceName>,
    /// The classes, if they are other than before.
    pub(crate) classes: Option<Classes>,
    /// What is wrong with the files now.
    pub(crate) problems: Vec<Diagnostic>,
    /// The daemon's settings, if they can be read.
    pub(crate) settings: Option<Settings>,
    /// Who asked for the look.
    pub(crate) asked: Vec<(SessionId, Ticket)>,
}

#[derive(Debug)]
enum Order {
    Look(Option<(SessionId, Ticket)>),
    SetEnabled {
        ticket: Ticket,
        service: ServiceName,
        enabled: bool,
    },
}

/// The way to the thread.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    orders: Sender<Order>,
}

impl Files {
    /// Starts the thread with a store that has been loaded.
    pub(crate) fn start(
        reader: Reader,
        surroundings: Arc<Surroundings>,
        outcomes: UnboundedSender<Outcome>,
    ) -> io::Result<Self> {
        let (orders, received) = channel();
        thread::Builder::new()
            .name("arrival-files".to_owned())
            .stack_size(STACK)
            .spawn(move || serve(reader, &received, &surroundings, &outcomes))?;
        Ok(Files { orders })
    }

    /// Reads everything again; false if the thread is gone.
    pub(crate) fn look(&self, asked: Option<(SessionId, Ticket)>) -> bool {
        self.orders.send(Order::Look(asked)).is_ok()
    }

    /// Writes whether a service is enabled; false if the thread is gone.
    pub(crate) fn set_enabled(&self, ticket: Ticket, service: ServiceName, enabled: bool) -> bool {
        let order = Order::SetEnabled {
            ticket,
            service,
            enabled,
        };
        self.orders.send(order).is_ok()
    }
}

fn serve(
    mut reader: Reader,
    orders: &Receiver<Order>,
    surroundings: &Surroundings,
    outcomes: &UnboundedSender<Outcome>,
) {
    while let Ok(order) = orders.recv() {
        let outcome = match order {
            Order::Look(asked) => {
                surroundings.names.forget();
                // A file that makes a parser panic is one bad file; what was read before stands.
                let looked = catch_unwind(AssertUnwindSafe(|| reader.look()));
                let mut looked = looked.unwrap_or_else(|_| {
                    tracing::error!("reading the definitions failed with an internal error");
                    Looked::default()
                });
                looked.asked.extend(asked);
                Outcome::Looked(Box::new(looked))
            }
            Order::SetEnabled {
                ticket,
                service,
                enabled,
            } => {
                let done = reader.store.set_enabled(&service, Some(enabled));
                if done.is_ok() {
                    reader.enabled.insert(service.folded(), enabled);
                }
                Outcome::EnabledSaved {
                    ticket,
                    service,
                    enabled,
                    error: done.err().map(|error| error.to_string()),
                }
            }
        };
        let look_up = matches!(outcome, Outcome::Looked(_));
        if outcomes.send(outcome).is_err() {
            return;
        }
        if look_up {
            reader.look_up(surroundings);
            arrival_linux::memory::trim();
        }
    }
}

/// The store, and what was told of it.
#[derive(Debug)]
pub(crate) struct Reader {
    store: Store,
    enabled: BTreeMap<String, bool>,
}

impl Reader {
    pub(crate) fn new(store: Store) -> Self {
        Reader {
            store,
            enabled: BTreeMap::new(),
        }
    }

    /// Reads everything and says what is different from what was told before.
    pub(crate) fn look(&mut self) -> Looked {
        let changes = self.store.reload();
        let mut defined: Vec<Defined> = changes
            .defined
            .iter()
            .map(|placed| self.defined(placed))
            .collect();
        for name in &changes.undefined {
            self.enabled.remove(&name.folded());
        }
        // Somebody may have enabled or disabled it by another way.
        let others: Vec<Defined> = self
            .enabled
            .keys()
            .filter_map(|name| self.store.get(&name.parse().ok()?))
            .map(|placed| self.defined(placed))
            .filter(|other| {
                self.enabled.get(&other.definition.name.folded()) != Some(&other.enabled)
            })
            .filter(|other| {
                let name = other.definition.name.folded();
                !changes
                    .defined
                    .iter()
                    .any(|placed| placed.definition.name.folded() == name)
            })
            .collect();
        defined.extend(others);
        for one in &defined {
            self.enabled
                .insert(one.definition.name.folded(), one.enabled);
        }
        let mut problems = changes.problems;
        let settings = match Settings::load(self.store.layout()) {
            Ok((settings, found)) => {
                problems.extend(found);
                Some(settings)
            }
            Err(found) => {
                problems.extend(found);
                None
            }
        };
        Looked {
            defined,
            undefined: changes.undefined,
            classes: changes.classes,
            problems,
            settings,
            asked: Vec::new(),
        }
    }

    fn defined(&self, placed: &Placed) -> Defined {
        let definition = Arc::clone(&placed.definition);
        let chosen = self.store.enabled_override(&definition.name);
        Defined {
            enabled: chosen.unwrap_or(definition.start != StartType::Disabled),
            definition,
            path: placed.path.clone(),
        }
    }

    /// The classes as of the last look.
    pub(crate) fn classes(&self) -> &Classes {
        self.store.classes()
    }

    /// Looks up whom services run as, so that no start has to wait for that.
    fn look_up(&self, surroundings: &Surroundings) {
        let definitions = self
            .enabled
            .keys()
            .filter_map(|name| self.store.get(&name.parse().ok()?));
        for placed in definitions {
            let definition = &placed.definition;
            if let Err(error) = surroundings.names.of(definition) {
                tracing::warn!("{}: {error}", definition.name);
            }
        }
    }
}

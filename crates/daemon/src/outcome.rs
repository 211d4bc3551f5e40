//! What the daemon's own threads report back to the task that owns the engine.

use std::os::fd::OwnedFd;

use arrival_engine::api::{SessionId, Ticket};
use arrival_linux::device::node::NodeError;
use arrival_model::definition::ServiceName;
use arrival_model::interface::InterfaceKey;

use crate::files::Looked;
use crate::spawner::Started;

/// Something that a thread has done.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A program was started, or not.
    Started(Box<Started>),
    /// The files were read again.
    Looked(Box<Looked>),
    /// The node of an interface was opened for a connection, or not.
    Opened {
        /// The connection that asked.
        connection: SessionId,
        /// The interface.
        interface: InterfaceKey,
        /// The node, and what came of it.
        node: String,
        /// The descriptor.
        result: Result<OwnedFd, NodeError>,
    },
    /// Whether a service is enabled was written, or not.
    EnabledSaved {
        /// The request it belongs to.
        ticket: Ticket,
        /// The service.
        service: ServiceName,
        /// What was written.
        enabled: bool,
        /// Why it could not be written.
        error: Option<String>,
    },
}

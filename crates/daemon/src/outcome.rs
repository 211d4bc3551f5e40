//! What the daemon's own threads report back to the task that owns the engine.

use arrival_engine::api::Ticket;
use arrival_model::definition::ServiceName;

use crate::files::Looked;
use crate::spawner::Started;

/// Something that a thread has done.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A program was started, or not.
    Started(Box<Started>),
    /// The files were read again.
    Looked(Box<Looked>),
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

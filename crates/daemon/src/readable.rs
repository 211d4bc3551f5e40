//! Waiting in the event loop for descriptors that tokio has no type for.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Takes a descriptor into the event loop.
///
/// It must be the same descriptor from here on: none of those that the daemon puts in here is ever
/// exchanged inside its owner.
#[allow(
    deprecated,
    reason = "the successor is an unsafe function, and there is none of those in this crate"
)]
pub(crate) fn readable<T: AsRawFd>(source: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(source, Interest::READABLE)
}

/// Waits until it is readable; whoever looks at it then must take everything.
pub(crate) async fn ready<T: AsRawFd>(source: &AsyncFd<T>) -> io::Result<()> {
    source.readable().await?.clear_ready();
    Ok(())
}

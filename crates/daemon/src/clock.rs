//! CLOCK_BOOTTIME: what time it is, and one alarm.

use std::io;
use std::os::fd::OwnedFd;

use arrival_model::time::Time;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::readable::readable;

/// What time it is.
pub(crate) fn now() -> Time {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    Time(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Tells when a point in time has come; also when that happens in suspend.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    set: Option<Time>,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Alarm {
            timer: readable(timer)?,
            set: None,
        })
    }

    /// Sets it to another time, or to none.
    pub(crate) fn set(&mut self, at: Option<Time>) {
        if self.set == at {
            return;
        }
        self.set = at;
        // Zero would switch it off.
        let nanos = at.map_or(0, |at| at.0.max(1));
        let value = Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: (nanos % 1_000_000_000) as _,
        };
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: value,
        };
        let set = timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &once);
        if let Err(error) = set {
            tracing::error!("cannot set the timer: {error}");
            self.set = None;
        }
    }

    /// Waits until the time has come.
    pub(crate) async fn rings(&mut self) {
        loop {
            let Ok(mut guard) = self.timer.readable().await else {
                return std::future::pending().await;
            };
            let mut ticks = [0_u8; 8];
            match rustix::io::read(guard.get_inner(), &mut ticks) {
                Ok(_) => {
                    self.set = None;
                    return;
                }
                Err(_) => guard.clear_ready(),
            }
        }
    }
}

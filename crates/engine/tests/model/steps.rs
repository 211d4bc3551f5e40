//! What can happen, as random bytes make it up.

use proptest::prelude::*;

pub(crate) const SERVICES: usize = 4;
pub(crate) const DEVICES: usize = 5;
pub(crate) const SUBSCRIBERS: usize = 3;

/// How a device shows itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) usable: bool,
    /// Which set of ids it has.
    pub(crate) ids: u8,
    /// Whether it is another incarnation than before.
    pub(crate) replugged: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Present(usize, Look),
    Gone(usize),
    /// An old incarnation's removal, told late.
    GoneLate(usize),
    /// Events are lost; what each device looks like then.
    Resync([Option<Look>; DEVICES]),
    Define(usize, u8, bool),
    Undefine(usize),
    Subscribe(usize, u8),
    Close(usize),
    Take(usize, u8),
    Start(usize, bool),
    Stop(usize, bool),
    Enable(usize, bool),
    Saved(bool),
    /// The next thing that can happen to a service's host.
    Host(usize, u8),
    Notify(usize, u8),
    /// A process of the service opens a session and subscribes.
    Connect(usize),
    Hangup(usize),
    TakeOwn(usize),
    Report(usize, u8, u8),
    Answer(u8, bool),
    StopIfUnchanged(usize, u8),
    Time(u16),
    Timeout,
    Restart,
    Shutdown,
}

/// A device that is usable and has the ids of this set.
pub(crate) fn shows(ids: u8) -> Look {
    Look {
        usable: true,
        ids,
        replugged: false,
    }
}

fn look() -> impl Strategy<Value = Look> {
    (prop::bool::weighted(0.7), 0u8..3, prop::bool::weighted(0.3)).prop_map(
        |(usable, ids, replugged)| Look {
            usable,
            ids,
            replugged,
        },
    )
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let device = || 0..DEVICES;
    let service = || 0..SERVICES;
    let subscriber = || 0..SUBSCRIBERS;
    prop_oneof![
        12 => (device(), look()).prop_map(|(d, look)| Step::Present(d, look)),
        6 => device().prop_map(Step::Gone),
        2 => device().prop_map(Step::GoneLate),
        2 => prop::array::uniform(prop::option::of(look())).prop_map(Step::Resync),
        6 => (service(), 0u8..12, prop::bool::weighted(0.8))
            .prop_map(|(s, kind, enabled)| Step::Define(s, kind, enabled)),
        2 => service().prop_map(Step::Undefine),
        4 => (subscriber(), 0u8..6).prop_map(|(s, filter)| Step::Subscribe(s, filter)),
        1 => subscriber().prop_map(Step::Close),
        8 => (subscriber(), 1u8..20).prop_map(|(s, count)| Step::Take(s, count)),
        4 => (service(), any::<bool>()).prop_map(|(s, wait)| Step::Start(s, wait)),
        4 => (service(), any::<bool>()).prop_map(|(s, wait)| Step::Stop(s, wait)),
        2 => (service(), any::<bool>()).prop_map(|(s, enabled)| Step::Enable(s, enabled)),
        3 => any::<bool>().prop_map(Step::Saved),
        20 => (service(), any::<u8>()).prop_map(|(s, how)| Step::Host(s, how)),
        4 => (service(), any::<u8>()).prop_map(|(s, what)| Step::Notify(s, what)),
        5 => service().prop_map(Step::Connect),
        1 => service().prop_map(Step::Hangup),
        4 => service().prop_map(Step::TakeOwn),
        8 => (service(), 1u8..8, any::<u8>()).prop_map(|(s, to, bits)| Step::Report(s, to, bits)),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(which, good)| Step::Answer(which, good)),
        3 => (service(), 0u8..4).prop_map(|(s, cursor)| Step::StopIfUnchanged(s, cursor)),
        4 => (0u16..20_000).prop_map(Step::Time),
        6 => Just(Step::Timeout),
        2 => Just(Step::Restart),
        1 => prop::bool::weighted(0.1).prop_map(|end| if end { Step::Shutdown } else { Step::Timeout }),
    ]
}

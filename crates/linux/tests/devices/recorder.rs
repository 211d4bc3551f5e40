//! A sink that remembers, and waits for conditions instead of times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use arrival_linux::device::{DeviceConfig, DeviceEvent, DeviceSource};
use arrival_model::interface::{Interface, InterfaceKey};

/// No condition of these tests takes so long; it only ends a test that has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a source has delivered.
pub(crate) struct Recorder {
    events: Receiver<DeviceEvent>,
    /// In order, since the start.
    pub(crate) log: Vec<DeviceEvent>,
    /// What is present, as the events say.
    pub(crate) present: BTreeMap<InterfaceKey, Arc<Interface>>,
}

/// Starts a source and waits for its first snapshot.
pub(crate) fn start(config: DeviceConfig) -> (DeviceSource, Recorder) {
    let (sender, events) = channel();
    let source = DeviceSource::start(config, move |event| {
        // The test may be over.
        let _ = sender.send(event);
    })
    .unwrap();
    let mut recorder = Recorder {
        events,
        log: Vec::new(),
        present: BTreeMap::new(),
    };
    recorder.wait("the first snapshot", |recorder| !recorder.log.is_empty());
    assert!(matches!(recorder.log[0], DeviceEvent::Snapshot(_)));
    (source, recorder)
}

impl Recorder {
    /// Takes events until the condition holds.
    pub(crate) fn wait(&mut self, what: &str, condition: impl Fn(&Recorder) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{what} did not come after {:?}", self.words_since(0));
                }
                Err(RecvTimeoutError::Disconnected) => panic!("{what}: the source has ended"),
            }
        }
    }

    /// Waits for an interface of this name.
    pub(crate) fn wait_present(&mut self, name: &str) -> Arc<Interface> {
        self.wait(&format!("{name} present"), |r| r.named(name).is_some());
        self.named(name).unwrap()
    }

    /// Waits until there is no interface of this name.
    pub(crate) fn wait_gone(&mut self, name: &str) {
        self.wait(&format!("{name} gone"), |r| r.named(name).is_none());
    }

    /// Asks for a walk and takes everything up to its snapshot. What happened before this call is
    /// in the snapshot.
    pub(crate) fn rescan(&mut self, source: &DeviceSource) -> usize {
        // A walk that is under way may have begun before.
        for _ in 0..2 {
            let before = source.counters().rescans;
            let count = self.snapshots();
            source.rescan();
            self.wait("a snapshot", |r| {
                r.snapshots() > count && source.counters().rescans > before
            });
        }
        self.log.len()
    }

    pub(crate) fn named(&self, name: &str) -> Option<Arc<Interface>> {
        self.present.values().find(|i| i.name == name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.present.values().map(|i| i.name.as_str()).collect()
    }

    /// The events since a position in the log, as words.
    pub(crate) fn words_since(&self, position: usize) -> Vec<String> {
        self.log[position..]
            .iter()
            .filter_map(|event| match event {
                DeviceEvent::Present(i) => Some(format!("present {}", i.name)),
                DeviceEvent::Gone(key) => {
                    let name = key.owner.name().rsplit('/').next().unwrap();
                    Some(format!("gone {name}"))
                }
                DeviceEvent::Overrun { group } => Some(format!("overrun {group}")),
                DeviceEvent::Snapshot(_) => None,
            })
            .collect()
    }

    pub(crate) fn snapshots(&self) -> usize {
        let is = |event: &&DeviceEvent| matches!(event, DeviceEvent::Snapshot(_));
        self.log.iter().filter(is).count()
    }

    fn take(&mut self, event: DeviceEvent) {
        match &event {
            DeviceEvent::Present(i) => {
                self.present.insert(i.key.clone(), Arc::clone(i));
            }
            DeviceEvent::Gone(key) => {
                let known = self.present.remove(key);
                assert!(known.is_some(), "{key} is gone but never was");
            }
            DeviceEvent::Snapshot(all) => {
                let truth: BTreeMap<_, _> =
                    all.iter().map(|i| (i.key.clone(), Arc::clone(i))).collect();
                if !self.log.is_empty() {
                    assert_eq!(
                        truth, self.present,
                        "a snapshot is the sum of what was before"
                    );
                }
                self.present = truth;
            }
            DeviceEvent::Overrun { .. } => {}
        }
        self.log.push(event);
    }
}

/// Waits for something that is not delivered, such as a counter.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

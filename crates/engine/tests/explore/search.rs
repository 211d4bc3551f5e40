//! Every reachable state, nearest first.

use std::collections::{HashMap, VecDeque};

use crate::actions::{Action, End, Step};
use crate::world::{Scenario, World};

/// What was found.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) quiet: usize,
    pub(crate) actions: usize,
}

/// Where a state leads by what the world owes.
const QUIET: u32 = u32::MAX;
const UNKNOWN: u32 = u32::MAX - 1;

struct Search<'a> {
    scenario: &'a Scenario,
    places: HashMap<u128, u32>,
    /// From which state by which action each state was reached first.
    parents: Vec<(u32, Action)>,
    leads_to: Vec<u32>,
    waiting: VecDeque<(u32, World)>,
}

/// Explores a scenario; a violation is told with the shortest way to it.
pub(crate) fn explore(scenario: &Scenario) -> Result<Found, String> {
    let mut search = Search {
        scenario,
        places: HashMap::new(),
        parents: Vec::new(),
        leads_to: Vec::new(),
        waiting: VecDeque::new(),
    };
    let mut found = Found {
        states: 0,
        quiet: 0,
        actions: 0,
    };
    search.reach(World::new(scenario)?, 0, Step::Nothing.into())?;
    while let Some((place, world)) = search.waiting.pop_front() {
        found.states += 1;
        let quiet = world.is_quiet();
        found.quiet += usize::from(quiet);
        let (actions, progress) = world.actions(scenario);
        if !quiet && !progress {
            return Err(search.story(place, None, "nothing can happen, but it is not quiet"));
        }
        let mut next = if quiet { QUIET } else { UNKNOWN };
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            found.actions += 1;
            let after = world
                .after(scenario, action)
                .map_err(|why| search.story(place, Some(action), &why))?;
            let can_end = world.budget.restart > 0 && after.budget.total > 0;
            if action.end.is_none() && can_end {
                actions.extend((0..after.signals).map(|signals| Action {
                    step: action.step,
                    end: Some(End {
                        signals,
                        carried_out: false,
                        dies: None,
                    }),
                }));
            }
            let reached = search.reach(after, place, action)?;
            if next == UNKNOWN {
                next = reached;
            }
        }
        search.leads_to[place as usize] = next;
    }
    search.all_settle()?;
    Ok(found)
}

impl Search<'_> {
    /// The place of a state, which is looked at later if it is new.
    fn reach(&mut self, world: World, parent: u32, action: Action) -> Result<u32, String> {
        let new = u32::try_from(self.parents.len()).unwrap();
        let place = *self.places.entry(world.fingerprint()).or_insert(new);
        if place == new {
            world
                .compare_with_records()
                .map_err(|why| self.story(parent, Some(action), &why))?;
            self.parents.push((parent, action));
            self.leads_to.push(UNKNOWN);
            self.waiting.push_back((new, world));
        }
        Ok(place)
    }

    /// From every state, what is owed leads to a quiet one.
    fn all_settle(&self) -> Result<(), String> {
        let mut settles = vec![false; self.leads_to.len()];
        for start in 0..self.leads_to.len() {
            let mut way = Vec::new();
            let mut place = start;
            while !settles[place] {
                way.push(place);
                let next = self.leads_to[place];
                if next == QUIET {
                    break;
                }
                place = next as usize;
                if way.len() > 300 {
                    let start = u32::try_from(start).unwrap();
                    return Err(self.story(start, None, "it never becomes quiet from here"));
                }
            }
            for place in way {
                settles[place] = true;
            }
        }
        Ok(())
    }

    /// The shortest way to a state, and what went wrong there.
    fn story(&self, place: u32, last: Option<Action>, why: &str) -> String {
        let mut actions: Vec<Action> = last.into_iter().collect();
        let mut place = place;
        while place != 0 {
            let (parent, action) = self.parents[place as usize];
            actions.push(action);
            place = parent;
        }
        actions.reverse();
        let seen = self.parents.len();
        let mut lines = vec![format!("{}: {why} ({seen} states)", self.scenario.name)];
        let Ok(mut world) = World::new(self.scenario) else {
            return lines.join("\n");
        };
        world.verbose = true;
        for action in actions {
            lines.push(format!("  {action}"));
            match world.after(self.scenario, action) {
                Ok(after) => world = after,
                Err(why) => lines.push(format!("      !! {why}")),
            }
            let effects = world.told_effects.iter();
            lines.extend(effects.map(|effect| format!("      -> {effect}")));
        }
        lines.join("\n")
    }
}

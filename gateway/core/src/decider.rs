//! What the one writer holds: the state, decided upon and applied command by command.
//!
//! [`decide`] and [`apply`] are pure; a refusal that is too much to be recorded would therefore leave no trace. It is
//! counted here, beside the state, and told in one record when the participant's window has ended. A restart forgets
//! the counts and nothing else: refusals earn no receipt.

use std::collections::BTreeMap;

use seinpost_protocol::address::Address;
use seinpost_protocol::time::Timestamp;

use crate::apply::apply;
use crate::command::{Command, Rejection};
use crate::decide::{Answer, Decision, decide};
use crate::state::State;

/// The state, and the refusals that are counted and not yet told.
#[derive(Debug, Clone, Default)]
pub struct Decider {
    state: State,
    /// Per participant the first refusal that was not recorded, and how many came after it. Participants are bounded
    /// by the covenant.
    suppressed: BTreeMap<Address, (Rejection, u64)>,
}

impl Decider {
    /// Begins from a state, as a replay of the log left it.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { state, suppressed: BTreeMap::new() }
    }

    /// Returns the state, which is ahead of the log by what was decided since it was last sealed.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Decides what follows from a command, and applies it at once, so that the next command finds it done.
    pub fn decide(&mut self, command: &Command, now: Timestamp) -> Decision {
        let mut decision = self.step(command, now);
        if *command == Command::Tick {
            for summary in self.due_summaries(now) {
                let told = self.step(&summary, now);
                decision.answer = match decision.answer {
                    Answer::Nothing => told.answer,
                    answer => answer,
                };
                decision.events.extend(told.events);
            }
        }
        decision
    }

    fn step(&mut self, command: &Command, now: Timestamp) -> Decision {
        let decision = decide(&self.state, command, now);
        for event in &decision.events {
            apply(&mut self.state, event);
        }
        if let Some(rejection) = &decision.suppressed {
            self.suppressed
                .entry(rejection.who)
                .and_modify(|(_, more)| *more = more.saturating_add(1))
                .or_insert_with(|| (rejection.clone(), 0));
        }
        decision
    }

    /// Takes the counts of those participants whose window has ended.
    fn due_summaries(&mut self, now: Timestamp) -> Vec<Command> {
        let time = self.state.time().map_or(now, |last| last.max(now));
        let ended = |who: &Address| self.state.rejections.get(who).is_none_or(|window| !window.lasts_at(time));
        let due: Vec<Address> = self.suppressed.keys().copied().filter(ended).collect();
        let taken = due.iter().filter_map(|who| self.suppressed.remove(who));
        taken.map(|(first, more)| Command::Summarise { first, more }).collect()
    }
}

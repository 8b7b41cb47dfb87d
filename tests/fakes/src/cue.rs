//! What goes wrong, and when.

use std::time::Duration;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cue {
    /// The device does it and the reply is lost.
    LoseReply,
    /// The device does it, the reply is lost, and nobody answers for so long.
    LoseReplyAndGoAway(Duration),
    /// The request is lost on the way; the client cannot tell that from a lost reply.
    LoseRequest,
    /// Nobody answers the connection.
    Unreachable,
    /// Refused in these words, nothing done.
    Refuse(&'static str),
    /// The device does it and answers so much later, or too late.
    Late(Duration),
    /// The answer is an empty list, whatever there is.
    EmptyList,
    /// The answer is what the last call of the operation was answered.
    StaleList,
    /// Every row is listed twice.
    TwiceListed,
    /// The device does it and answers 500.
    DoneYet500,
}

/// Cues that wait for their call.
#[derive(Debug, Default)]
pub(crate) struct Cues(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    operation: String,
    /// Calls to let pass first; `None` means every call.
    pass: Option<usize>,
    cue: Cue,
}

impl Cues {
    /// The `nth` call (from 1) of `operation`, counted from now.
    pub(crate) fn nth(&mut self, operation: &str, nth: usize, cue: Cue) {
        self.0.push(Waiting { operation: operation.to_owned(), pass: Some(nth.saturating_sub(1)), cue });
    }

    /// Every call of `operation` until [`Cues::clear`].
    pub(crate) fn every(&mut self, operation: &str, cue: Cue) {
        self.0.push(Waiting { operation: operation.to_owned(), pass: None, cue });
    }

    /// Whether nothing waits to go wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The cue of a call that happens now.
    pub(crate) fn take(&mut self, operation: &str) -> Option<Cue> {
        let mut due = None;
        for (index, waiting) in self.0.iter_mut().enumerate().filter(|(_, one)| one.operation == operation) {
            match &mut waiting.pass {
                Some(0) | None if due.is_none() => due = Some(index),
                Some(0) | None => {}
                Some(pass) => *pass -= 1,
            }
        }
        let index = due?;
        if self.0[index].pass.is_none() { Some(self.0[index].cue.clone()) } else { Some(self.0.remove(index).cue) }
    }
}

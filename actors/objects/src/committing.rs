//! A batch goes to the store, and what becomes of each of its writes.

use std::collections::BTreeMap;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use mkube_messages::door::CallError;
use mkube_messages::objects::Written;
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::store::{CommitChanges, Committed};
use mkube_model::neighbours::desired_store::{Expected, StoreFault};

use crate::batch::Ready;
use crate::contents::by_others;
use crate::objects_actor::ObjectsActor;
use crate::publish::Change;
use crate::queue::reply;
use crate::refusals::{changed_behind, not_stored};

/// How often a write is looked at anew because somebody else wrote the object meanwhile, until its writer hears of it.
const TRIES: u8 = 5;

impl ObjectsActor {
    /// Sends a batch off.
    pub(crate) fn commit(&mut self, batch: Vec<Ready>, ctx: &mut Context<Self>) {
        self.busy = true;
        let door = self.parts.commit.clone();
        let view = self.view();
        for ready in batch.iter().filter(|ready| ready.value.is_none()) {
            let revision = view.get(&ready.kind, &ready.key).map_or(0, |object| object.revision);
            self.parts.deletions.send((ready.kind, ready.key.clone()), revision);
        }
        let changes = batch.iter().map(|ready| ready.change.clone()).collect();
        let context = RequestContext::new("commit", patience::WRITE);
        let committing = async move { door.ask(CommitChanges { context, changes }).await };
        ctx.spawn(committing.into_actor(self).map(move |result, actor, ctx| {
            actor.busy = false;
            match result {
                Ok(committed) => {
                    actor.committed(batch, committed, ctx);
                    actor.pump(ctx);
                }
                Err(error) => actor.not_committed(batch, &error, ctx),
            }
        }));
    }

    fn committed(&mut self, batch: Vec<Ready>, committed: Committed, ctx: &mut Context<Self>) {
        let mut answers = BTreeMap::new();
        let mut changes = Vec::with_capacity(batch.len());
        let mut missed = committed.news.reload || (self.gone_unsaid && committed.news.stale.is_none());
        let mut again = Vec::new();
        self.tell_lost(&committed.news.lost, ctx);
        let mut deleted = Vec::new();
        for (ready, outcome) in batch.into_iter().zip(committed.outcomes) {
            match outcome {
                Ok(revision) => {
                    let gone = ready.value.is_none();
                    if gone {
                        deleted.push((ready.kind, ready.key.clone()));
                    }
                    let created = ready.change.expected == Expected::Absent;
                    let answer = (ready.answer, created, gone, ready.warnings);
                    answers.insert((ready.kind, ready.key.clone(), revision), answer);
                    changes.push(Change { kind: ready.kind, key: ready.key, value: ready.value, revision });
                }
                Err(conflict) => {
                    // Who changed it is among the news, or it is not and has to be found out.
                    missed |= !committed.news.changes.iter().any(|change| change.at == conflict.at);
                    match (ready.again, ready.answer) {
                        (Some(task), Some(asked)) if asked.tries < TRIES => again.push((task, Some(asked.once_more()))),
                        (_, answer) => reply(answer, Err(changed_behind(&conflict))),
                    }
                }
            }
        }
        let mut news = by_others(&self.parts.kinds, &self.view(), committed.news.changes);
        news.changes.extend(changes);
        // It may be back: it is complete only when what was missed has been read.
        let stale = if missed { self.view().stale.clone() } else { None };
        let published = self.take_in(news, stale.or(committed.news.stale));
        // Not before it is published, or whoever comes after a death in between would miss them. One that fitted no more may be
        // one that was sent before and came late.
        deleted.iter().for_each(|place| self.parts.deletions.settle(place));
        for object in published {
            let at = (object.kind, object.key.clone(), object.revision);
            if let Some((answer, created, gone, warnings)) = answers.remove(&at) {
                reply(answer, Ok(Written { object, changed: true, created, gone, warnings }));
            }
        }
        again.into_iter().rev().for_each(|asked| self.queue.push_front(asked));
        if missed {
            self.in_step = false;
            return self.load(ctx);
        }
        self.sweep();
    }

    fn not_committed(&mut self, batch: Vec<Ready>, error: &CallError<StoreFault>, ctx: &mut Context<Self>) {
        let status = not_stored(error);
        // Nothing was done, and everybody knows it.
        let untouched = matches!(error, CallError::Fault(StoreFault::Absent(_)));
        if untouched {
            let deleted = batch.iter().filter(|ready| ready.value.is_none());
            deleted.for_each(|ready| self.parts.deletions.settle(&(ready.kind, ready.key.clone())));
        } else {
            tracing::error!(%error, writes = batch.len(), "a commit failed");
        }
        let (mut keep, mut batch): (Vec<Ready>, Vec<Ready>) =
            batch.into_iter().partition(|ready| untouched && ready.change.behind);
        if batch.is_empty() {
            batch = std::mem::take(&mut keep);
        }
        if untouched {
            self.refused_meanwhile.more(batch.len(), error);
        }
        for ready in batch {
            reply(ready.answer, Err(status.clone()));
        }
        if !keep.is_empty() {
            // They were refused for their neighbours' sake.
            return self.commit(keep, ctx);
        }
        if untouched {
            return self.pump(ctx);
        }
        // Whatever happened, the store knows: read it before anything else is admitted.
        self.in_step = false;
        self.load(ctx);
    }
}

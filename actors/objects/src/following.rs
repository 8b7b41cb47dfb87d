//! What others do to the store is taken in between two commits of ours.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use mkube_messages::objects::StoredObject;
use mkube_messages::patience;
use mkube_messages::request::RequestContext;
use mkube_messages::store::LoadNews;
use mkube_model::kinds::EventFacts;
use mkube_model::neighbours::desired_store::{StoreKey, StoreNews};

use crate::contents::{Missed, by_others};
use crate::objects_actor::ObjectsActor;
use crate::stored_form;

impl ObjectsActor {
    /// Publishes changes, of ours and of others; answers each changed object as published.
    pub(crate) fn take_in(&mut self, missed: Missed, stale: Option<String>) -> Vec<Arc<StoredObject>> {
        let Missed { mut changes, unreadable } = missed;
        changes.sort_by_key(|change| change.revision);
        let before = self.view();
        let places: Vec<_> = changes.iter().map(|change| (change.kind, change.key.clone())).collect();
        let (mut view, mut here, published) = self.homes.apply(&self.parts.publisher, changes);
        let is_back = before.stale.is_some() && stale.is_none();
        for view in [&mut view, &mut here] {
            for place in &places {
                view.unreadable.remove(place);
            }
            view.unreadable.extend(unreadable.iter().map(|(place, why)| (place.clone(), why.clone())));
            view.stale.clone_from(&stale);
        }
        for object in &published {
            let after = view.get(&object.kind, &object.key);
            let before = before.get(&object.kind, &object.key);
            self.dependents.replace(before.as_deref(), after.as_deref());
            let is_gone = |one: &StoredObject| after.as_ref().is_none_or(|after| after.uid() != one.uid());
            for gone in [before.as_deref(), Some(object)].into_iter().flatten().filter(|one| is_gone(one)) {
                self.dependents.note_departed(gone);
            }
        }
        if stale.is_none() {
            self.refused_meanwhile.over();
        }
        if is_back {
            // What was to be deleted meanwhile may have been refused.
            self.dependents.read_all(&view);
        }
        self.parts.publisher.publish_both(view, here);
        self.note_events(&published);
        published
    }

    /// Says what became of changes that were kept while the store was away and fitted no more when it was back.
    pub(crate) fn tell_lost(&mut self, lost: &[StoreKey], ctx: &mut Context<Self>) {
        let view = self.view();
        for at in lost {
            tracing::warn!(
                bucket = at.bucket,
                key = at.key,
                "what was kept for the store is dropped: somebody else changed it meanwhile"
            );
            let kinds = self.parts.kinds.clone();
            let Some(kind) = kinds.iter().find(|kind| kind.bucket == at.bucket && kind.kind != "Event") else {
                continue;
            };
            let key = stored_form::object_key(kind, at);
            let uid = view.get(&kind.id(), &key).map(|object| object.uid().to_owned()).unwrap_or_default();
            self.events.record(EventFacts {
                kind: kind.kind.to_owned(),
                api_version: kind.api_version(),
                namespace: key.namespace,
                name: key.name,
                uid,
                warning: true,
                reason: "ChangeLost".to_owned(),
                message: "a change that was kept while the store was away was dropped: somebody else had changed the object meanwhile"
                    .to_owned(),
            });
            self.arm_event_timer(ctx);
        }
    }

    /// There is news.
    pub(crate) fn ring(&mut self, ctx: &mut Context<Self>) {
        self.rung = true;
        self.pump(ctx);
    }

    /// Takes the news; no commit is in flight meanwhile, so that each kind's history stays in order.
    pub(crate) fn listen(&mut self, ctx: &mut Context<Self>) {
        self.busy = true;
        let door = self.parts.news.clone();
        let order = LoadNews { context: RequestContext::new("news", patience::WRITE) };
        let hearing = async move { door.ask(order).await };
        ctx.spawn(hearing.into_actor(self).map(|news, actor, ctx| {
            actor.busy = false;
            if let Ok(news) = &news {
                actor.tell_lost(&news.lost, ctx);
            }
            match news {
                Ok(StoreNews { reload: false, changes, stale, .. }) if !(actor.gone_unsaid && stale.is_none()) => {
                    let missed = by_others(&actor.parts.kinds, &actor.view(), changes);
                    let is_news = !missed.changes.is_empty() || !missed.unreadable.is_empty();
                    if is_news || stale != actor.view().stale {
                        actor.take_in(missed, stale);
                        actor.sweep();
                    }
                    actor.pump(ctx);
                }
                Ok(_) | Err(_) => {
                    actor.in_step = false;
                    actor.load(ctx);
                }
            }
        }));
    }
}

//! How an actor follows what others publish: it looks, and looks again whenever there is news.

use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, AsyncContext, Context};
use mkube_messages::watch;

/// Looks now, and again after each publication, as long as the actor lives and there is a publisher.
///
/// News that come while the actor is busy are one look. `look` finds what is published where it was published: it is told
/// that there is something, not what.
pub fn follow<A, T>(
    mut news: watch::Receiver<T>,
    actor: &mut A,
    ctx: &mut Context<A>,
    look: fn(&mut A, &mut Context<A>),
) where
    A: Actor<Context = Context<A>>,
    T: Send + Sync + 'static,
{
    // Marked before the look, so that nothing falls in between.
    news.mark_unchanged();
    let waiting = async move { news.changed().await.is_ok().then_some(news) };
    ctx.spawn(wrap_future::<_, A>(waiting).map(move |news, actor, ctx| {
        // Without a publisher there is nothing more to come.
        if let Some(news) = news {
            follow(news, actor, ctx, look);
        }
    }));
    look(actor, ctx);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Weak};

    use actix::{ActorContext, Addr};
    use tokio::sync::oneshot;

    use super::*;

    /// Counts its looks.
    struct Follower {
        /// Until it is started; then whoever waits for news has it, and nobody else.
        news: Option<watch::Receiver<Arc<str>>>,
        looks: Arc<AtomicUsize>,
        /// Publishes in the middle of the first look.
        meanwhile: Option<watch::Sender<Arc<str>>>,
        /// Stops when it hears this.
        end: Option<oneshot::Receiver<()>>,
    }

    impl Follower {
        fn look(&mut self, _ctx: &mut Context<Self>) {
            self.looks.fetch_add(1, Ordering::Relaxed);
            if let Some(publisher) = self.meanwhile.take() {
                publisher.send_replace("meanwhile".into());
            }
        }
    }

    impl Actor for Follower {
        type Context = Context<Self>;

        fn started(&mut self, ctx: &mut Self::Context) {
            let news = self.news.take().expect("it is started once");
            follow(news, self, ctx, Self::look);
            let end = self.end.take().expect("it is started once");
            ctx.spawn(wrap_future::<_, Self>(end).map(|_, _, ctx| ctx.stop()));
        }
    }

    struct Bench {
        publisher: watch::Sender<Arc<str>>,
        looks: Arc<AtomicUsize>,
        follower: Addr<Follower>,
        end: Option<oneshot::Sender<()>>,
    }

    impl Bench {
        /// A follower that had its first look, in which somebody published or not.
        async fn new(meanwhile: bool) -> Self {
            let (publisher, news) = watch::channel("first".into());
            // What was there before the first look is no news after it.
            publisher.send_replace("before".into());
            let looks = Arc::<AtomicUsize>::default();
            let meanwhile = meanwhile.then(|| publisher.clone());
            let (end, heard) = oneshot::channel();
            let follower = Follower { news: Some(news), looks: looks.clone(), meanwhile, end: Some(heard) }.start();
            let bench = Self { publisher, looks, follower, end: Some(end) };
            bench.settle().await;
            bench
        }

        fn looks(&self) -> usize {
            self.looks.load(Ordering::Relaxed)
        }

        /// Everybody has many turns: more than it takes to do what there is to do.
        async fn settle(&self) {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[actix::test]
    async fn the_first_look_is_at_once_and_each_publication_is_followed_by_one() {
        let bench = Bench::new(false).await;
        assert_eq!(bench.looks(), 1);
        for published in 1..=3 {
            bench.publisher.send_replace("more".into());
            bench.settle().await;
            assert_eq!(bench.looks(), 1 + published);
        }
    }

    #[actix::test]
    async fn what_is_published_while_the_actor_has_no_turn_is_one_look() {
        let bench = Bench::new(false).await;
        for _ in 0..5 {
            bench.publisher.send_replace("more".into());
        }
        bench.settle().await;
        assert_eq!(bench.looks(), 2);
    }

    #[actix::test]
    async fn what_is_published_in_the_middle_of_a_look_is_looked_at_too() {
        let bench = Bench::new(true).await;
        assert_eq!(bench.looks(), 2);
    }

    #[actix::test]
    async fn nobody_waits_for_news_when_the_actor_has_ended() {
        let mut bench = Bench::new(false).await;
        assert_eq!(bench.publisher.receiver_count(), 1);
        drop(bench.end.take());
        bench.settle().await;
        assert!(!bench.follower.connected(), "it has ended");
        assert_eq!(bench.publisher.receiver_count(), 0);
        bench.publisher.send_replace("more".into());
        bench.settle().await;
        assert_eq!(bench.looks(), 1);
    }

    #[actix::test]
    async fn a_publisher_that_is_gone_is_no_news_and_not_asked_again() {
        let mut bench = Bench::new(false).await;
        // Whoever still waits keeps what was published last.
        let last: Weak<str> = Arc::downgrade(&bench.publisher.borrow());
        bench.publisher = watch::channel("another".into()).0;
        bench.settle().await;
        assert_eq!(last.upgrade(), None, "nobody waits any more");
        assert_eq!(bench.looks(), 1);
        assert!(bench.follower.connected(), "the actor goes on");
    }

    #[actix::test]
    async fn what_was_published_last_before_the_publisher_went_is_looked_at() {
        let mut bench = Bench::new(false).await;
        bench.publisher.send_replace("last".into());
        bench.publisher = watch::channel("another".into()).0;
        bench.settle().await;
        assert_eq!(bench.looks(), 2);
    }
}

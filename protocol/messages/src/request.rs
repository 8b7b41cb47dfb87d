//! What every question carries: who asked, until when, under which span; and on which floor it is answered.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument;
use tracing::instrument::Instrumented;

/// Short id of a request, unique within this process; for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u64);

impl RequestId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:06x}", self.0)
    }
}

/// Id, absolute deadline and parent span of a request. Spans do not cross a mailbox by themselves.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// For logs.
    pub id: RequestId,
    /// Nobody waits longer.
    pub deadline: Instant,
    /// Parent of the spans of whoever answers.
    pub span: tracing::Span,
}

impl RequestContext {
    /// A new request, to be answered within `patience`. Its span is a child of the one it is made in.
    pub fn new(what: &'static str, patience: Duration) -> Self {
        let id = RequestId::next();
        let span = tracing::info_span!("request", what, request_id = %id);
        Self { id, deadline: Instant::now() + patience, span }
    }

    /// The same request with a deadline at most `patience` away, and never later than its own.
    pub fn within(&self, patience: Duration) -> Self {
        Self { deadline: self.deadline.min(Instant::now() + patience), ..self.clone() }
    }

    /// The work of the actor that answers, under the request's span: what it logs says who asked and about what.
    pub fn answered_by<W: Future>(&self, actor: &'static str, work: W) -> Instrumented<W> {
        work.instrument(tracing::info_span!(parent: &self.span, "answer", actor))
    }

    /// Time left.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Who may ask whom: only downward.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Floor {
    /// Router and store.
    Gate = 0,
    /// The one way in.
    Objects = 1,
    /// Addresses, images, names.
    Keeper = 2,
    /// One actor a pod.
    Pod = 3,
    /// Deployments, watchdog, consistency.
    Decider = 4,
    /// HTTP, NATS.
    Edge = 5,
}

/// A message that wants an answer.
pub trait Request: actix::Message<Result = Result<Self::Reply, Self::Fault>> + Send + 'static {
    /// What comes back.
    type Reply: Send + 'static;
    /// Why not.
    type Fault: Send + 'static;
    /// Where it is answered.
    const FLOOR: Floor;
    /// Its context.
    fn context(&self) -> &RequestContext;
}

/// A message about something that happened; nobody answers. May travel in any direction.
pub trait Event: actix::Message<Result = ()> + Send + 'static {}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
    use tracing_subscriber::registry::LookupSpan;

    use super::*;

    /// Keeps the names of the spans around each log line, outermost first.
    struct Scopes(Arc<Mutex<Vec<Vec<&'static str>>>>);

    impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Scopes {
        fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
            let scope = context.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
            let names = scope.map(|span| span.name()).collect();
            self.0.lock().expect("nobody panics with it").push(names);
        }
    }

    #[tokio::test]
    async fn what_an_answering_actor_logs_stands_under_the_span_of_whoever_asked() {
        let scopes = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::registry().with(Scopes(scopes.clone()));
        let _guard = tracing::subscriber::set_default(subscriber);
        let context = tracing::info_span!("pod").in_scope(|| RequestContext::new("create", Duration::from_secs(1)));
        context.answered_by("router", async { tracing::info!("a device call") }).await;
        assert_eq!(*scopes.lock().expect("nobody panics with it"), [["pod", "request", "answer"]]);
    }
}

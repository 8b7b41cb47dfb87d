//! Containers that answer probes as told.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use mkube_model::neighbours::prober::{Prober, Question, Verdict};
use tokio::time::Instant;

/// What somebody who is asked does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Answers well.
    Good,
    /// Answers badly.
    Bad,
    /// Does not answer.
    Hang,
}

#[derive(Debug, Default)]
struct Inner {
    answers: BTreeMap<u16, Answer>,
    /// Of those who do something else than others on the same port.
    single: BTreeMap<(String, u16), Answer>,
    /// Nobody is reached at all.
    away: bool,
    asked: Vec<(Instant, Question)>,
    asking: usize,
    most_at_once: usize,
}

impl Inner {
    fn answer_to(&self, question: &Question) -> Answer {
        let (host, port) = match question {
            _ if self.away => return Answer::Hang,
            Question::Reach { host } => return if host.ends_with(".0") { Answer::Hang } else { Answer::Good },
            Question::Http { host, port, .. }
            | Question::Tcp { host, port }
            | Question::Grpc { host, port, .. }
            | Question::Dns { host, port, .. } => (host, *port),
        };
        let single = self.single.get(&(host.clone(), port));
        single.or_else(|| self.answers.get(&port)).cloned().unwrap_or(Answer::Bad)
    }
}

/// Who listens on a port is told by the port, or by address and port; on others nobody does. Every address is reached but those of
/// whole networks.
#[derive(Debug, Default)]
pub struct FakeProber(Mutex<Inner>);

impl FakeProber {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever listens on this port does that from now on.
    pub fn set(&self, port: u16, answer: Answer) {
        self.inner().answers.insert(port, answer);
    }

    /// Whoever has this address does that on this port from now on.
    pub fn set_of(&self, host: &str, port: u16, answer: Answer) {
        self.inner().single.insert((host.to_owned(), port), answer);
    }

    /// Whether the network of the containers is away.
    pub fn set_away(&self, away: bool) {
        self.inner().away = away;
    }

    /// Questions so far, and when they were asked.
    pub fn asked(&self) -> Vec<(Instant, Question)> {
        self.inner().asked.clone()
    }

    /// Forgets the questions so far.
    pub fn forget(&self) {
        self.inner().asked.clear();
    }

    /// The most questions that were asked at the same moment.
    pub fn most_at_once(&self) -> usize {
        self.inner().most_at_once
    }
}

#[async_trait]
impl Prober for FakeProber {
    async fn ask(&self, question: &Question, patience: Duration) -> Verdict {
        let answer = {
            let mut inner = self.inner();
            inner.asked.push((Instant::now(), question.clone()));
            inner.asking += 1;
            inner.most_at_once = inner.most_at_once.max(inner.asking);
            inner.answer_to(question)
        };
        let verdict = match answer {
            Answer::Good => Verdict::Good,
            Answer::Bad => Verdict::Bad("connection refused".into()),
            Answer::Hang => {
                tokio::time::sleep(patience).await;
                Verdict::Bad("no answer".into())
            }
        };
        self.inner().asking -= 1;
        verdict
    }
}

//! `/livez`, `/readyz`, `/healthz`.

use std::sync::Arc;

use actix_web::HttpResponse;

/// How something is that readiness depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Well; more words, or none.
    Well(&'static str),
    /// Not as it should be, but what is asked for can be answered. Nobody is to be kept away for it.
    Degraded(String),
    /// Not well, and why.
    Failed(String),
}

/// One thing readiness depends on: a name and a look at it.
#[derive(Clone)]
pub struct Check {
    /// Name in the verbose list.
    pub name: &'static str,
    /// How it is.
    pub look: Arc<dyn Fn() -> Health + Send + Sync>,
}

/// All of them.
#[derive(Clone, Default)]
pub struct HealthChecks(pub Vec<Check>);

impl HealthChecks {
    /// Answers `ok`, or 503 and what is wrong.
    pub(crate) fn answer(&self, verbose: bool, what: &str) -> HttpResponse {
        let mut text = String::new();
        let mut well = true;
        for check in &self.0 {
            match (check.look)() {
                Health::Well("") => text += &format!("[+]{} ok\n", check.name),
                Health::Well(words) => text += &format!("[+]{} ok: {words}\n", check.name),
                Health::Degraded(why) => text += &format!("[!]{} degraded: {why}\n", check.name),
                Health::Failed(why) => {
                    well = false;
                    text += &format!("[-]{} failed: {why}\n", check.name);
                }
            }
        }
        let verdict = if well { "passed" } else { "failed" };
        text += &format!("{what} check {verdict}\n");
        let (mut response, body) = match (well, verbose) {
            (true, false) => (HttpResponse::Ok(), "ok".to_owned()),
            (true, true) => (HttpResponse::Ok(), text),
            (false, _) => (HttpResponse::ServiceUnavailable(), text),
        };
        response.content_type("text/plain; charset=utf-8").body(body)
    }
}

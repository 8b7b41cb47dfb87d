//! Faults on request: what a real router does on a bad day, at the moments a test chooses.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mkube_router_machine::duration;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Which requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// HTTP method, any if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Path below `/rest`, any if absent; ids written as `*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Which of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// The n-th, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nth: Option<u64>,
    /// Each with this chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// From this long after the rule was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// For this long.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasting: Option<String>,
}

/// When a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// Before the work is done.
    Before,
    /// After it.
    After,
}

/// How unpacking goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extract {
    /// It takes five seconds longer.
    Slow,
    /// It fails.
    Fail,
}

/// How a download of `/tool/fetch` goes wrong, half-way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fetch {
    /// The connection ends: the command fails.
    Cut,
    /// The command says it is finished, and half of the file is there.
    Short,
}

/// What a download suffers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchFault {
    pub cut: bool,
    pub short: bool,
    pub disk_full: bool,
}

/// The device goes away and comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reboot {
    /// For how long.
    pub down: String,
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRule {
    /// Which requests.
    #[serde(rename = "match")]
    pub matches: Match,
    /// Which of them.
    pub when: When,
    /// Wait before the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// Answer this status instead of doing the work; together with `drop: after`, in place of the answer to work that was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Cut the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<Cut>,
    /// Refuse what is beyond so many requests at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_limit: Option<usize>,
    /// Go away and come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot: Option<Reboot>,
    /// Unpack slowly, or fail to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extract: Option<Extract>,
    /// A download breaks off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetch: Option<Fetch>,
    /// Unpacking finds the disk full; with the path `/tool/fetch`, a download does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disk_full: bool,
}

/// What to do with one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    pub delay: Duration,
    pub status: Option<u16>,
    pub drop: Option<Cut>,
    pub session_limit: Option<usize>,
    pub reboot: Option<Duration>,
}

struct Armed {
    rule: FaultRule,
    since: Instant,
    seen: u64,
}

/// The rules in force, and the counters of calls.
#[derive(Default)]
pub struct Faults {
    rules: Mutex<Vec<Armed>>,
    calls: Mutex<BTreeMap<String, u64>>,
}

impl Faults {
    /// Puts rules in force in place of the present ones.
    pub fn set(&self, rules: Vec<FaultRule>) -> Result<(), String> {
        for rule in &rules {
            let durations = [
                rule.delay.as_deref(),
                rule.when.after.as_deref(),
                rule.when.lasting.as_deref(),
                rule.reboot.as_ref().map(|reboot| reboot.down.as_str()),
            ];
            if let Some(bad) = durations.into_iter().flatten().find(|text| duration(text).is_none()) {
                return Err(format!("{bad:?} is not a duration such as 2s or 500ms"));
            }
            if rule.when.nth == Some(0) {
                return Err("nth counts from 1".to_owned());
            }
            if rule.when.probability.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                return Err("probability lies between 0 and 1".to_owned());
            }
            if rule.status.is_some_and(|status| !(400..600).contains(&status)) {
                return Err("status is an error, 400 to 599".to_owned());
            }
            if (FaultRule { matches: Match::default(), when: When::default(), ..rule.clone() }) == FaultRule::default()
            {
                return Err(
                    "a rule says what happens: delay, status, drop, session_limit, reboot, extract, fetch or disk_full"
                        .to_owned(),
                );
            }
        }
        *lock(&self.rules) = rules.into_iter().map(|rule| Armed { rule, since: Instant::now(), seen: 0 }).collect();
        Ok(())
    }

    /// The rules in force.
    pub fn rules(&self) -> Vec<FaultRule> {
        lock(&self.rules).iter().map(|armed| armed.rule.clone()).collect()
    }

    /// Counts a request and says what to do with it.
    pub fn judge(&self, method: &str, route: &str, chance: impl Fn() -> f64) -> Verdict {
        *lock(&self.calls).entry(format!("{method} {route}")).or_default() += 1;
        let mut verdict = Verdict::default();
        for armed in lock(&self.rules).iter_mut() {
            let matches = &armed.rule.matches;
            let fits = matches.method.as_ref().is_none_or(|one| one.eq_ignore_ascii_case(method))
                && matches.path.as_ref().is_none_or(|path| path == route);
            if !fits || armed.rule.is_about_unpacking() || armed.rule.is_about_fetching() {
                continue;
            }
            armed.seen += 1;
            if !armed.applies(&chance) {
                continue;
            }
            let rule = &armed.rule;
            verdict.delay += rule.delay.as_deref().and_then(duration).unwrap_or_default();
            verdict.status = rule.status.or(verdict.status);
            verdict.drop = rule.drop.or(verdict.drop);
            verdict.session_limit = rule.session_limit.or(verdict.session_limit);
            let down = rule.reboot.as_ref().and_then(|reboot| duration(&reboot.down));
            verdict.reboot = down.or(verdict.reboot);
        }
        verdict
    }

    /// What unpacking should suffer: waits if it is to be slow, and says why it fails if it is to.
    pub async fn extract(&self, chance: impl Fn() -> f64) -> Option<String> {
        let (mut slow, mut fail) = (false, None);
        for armed in lock(&self.rules).iter_mut() {
            if !armed.rule.is_about_unpacking() {
                continue;
            }
            armed.seen += 1;
            if armed.applies(&chance) {
                slow |= armed.rule.extract == Some(Extract::Slow);
                if armed.rule.disk_full {
                    fail = Some("no space left on disk".to_owned());
                } else if armed.rule.extract == Some(Extract::Fail) {
                    fail = Some("extract layer failed".to_owned());
                }
            }
        }
        if slow {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        fail
    }

    /// What a download should suffer.
    pub fn fetch(&self, chance: impl Fn() -> f64) -> FetchFault {
        let mut fault = FetchFault::default();
        for armed in lock(&self.rules).iter_mut().filter(|armed| armed.rule.is_about_fetching()) {
            armed.seen += 1;
            if armed.applies(&chance) {
                fault.cut |= armed.rule.fetch == Some(Fetch::Cut);
                fault.short |= armed.rule.fetch == Some(Fetch::Short);
                fault.disk_full |= armed.rule.disk_full;
            }
        }
        fault
    }

    /// Requests since start, or since the last reset.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        lock(&self.calls).clone()
    }

    /// Starts counting again.
    pub fn reset_calls(&self) {
        lock(&self.calls).clear();
    }
}

impl FaultRule {
    /// Such a rule counts unpackings, not requests.
    fn is_about_unpacking(&self) -> bool {
        (self.extract.is_some() || self.disk_full) && !self.is_about_fetching()
    }

    /// Such a rule counts downloads.
    fn is_about_fetching(&self) -> bool {
        self.fetch.is_some() || self.disk_full && self.matches.path.as_deref() == Some("/tool/fetch")
    }
}

impl Armed {
    fn applies(&self, chance: &impl Fn() -> f64) -> bool {
        let when = &self.rule.when;
        let after = when.after.as_deref().and_then(duration).unwrap_or_default();
        let age = self.since.elapsed();
        let in_time =
            age >= after && when.lasting.as_deref().and_then(duration).is_none_or(|lasting| age < after + lasting);
        in_time && when.nth.is_none_or(|nth| nth == self.seen) && when.probability.is_none_or(|share| chance() < share)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rule_hits_the_request_it_names_and_calls_are_counted() {
        let faults = Faults::default();
        let rule =
            json!([{"match": {"method": "POST", "path": "/container/stop"}, "when": {"nth": 2}, "drop": "after"}]);
        faults.set(serde_json::from_value(rule).expect("a rule")).expect("good");
        let judge = |route: &str| faults.judge("POST", route, || 0.5).drop;
        assert_eq!(judge("/container/stop"), None);
        assert_eq!(judge("/container/start"), None);
        assert_eq!(judge("/container/stop"), Some(Cut::After));
        assert_eq!(judge("/container/stop"), None);
        assert_eq!(faults.calls().get("POST /container/stop"), Some(&3));
    }

    #[test]
    fn mistakes_in_rules_are_refused() {
        assert!(serde_json::from_value::<FaultRule>(json!({"delai": "2s"})).is_err());
        let rule = FaultRule { delay: Some("soon".into()), ..FaultRule::default() };
        assert!(Faults::default().set(vec![rule]).is_err());
    }
}

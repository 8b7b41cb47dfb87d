//! `/file`, `/tool/fetch` and `/execute` of the device in memory: files are names and sizes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mkube_router_machine::{Answer, Device, FetchOutput, Fetched, Refusal, Request, Verb};
use serde_json::{Value, json};

use crate::fake_device::path;

/// What the device can download: the size of what lies at an address.
pub type Web = Box<dyn Fn(&str) -> Option<u64> + Send>;

/// What lies on the device's disks.
#[derive(Default)]
pub(crate) struct FakeFiles {
    /// Bytes by path.
    pub(crate) sizes: BTreeMap<PathBuf, u64>,
    pub(crate) web: Option<Web>,
}

impl FakeFiles {
    pub(crate) fn contains(&self, file: &PathBuf) -> bool {
        self.sizes.contains_key(file)
    }

    /// Answers what is about files; nothing when it is not.
    pub(crate) fn answer(&mut self, device: &Device, request: &Request) -> Option<Answer> {
        let words: Vec<&str> = request.segments.iter().map(String::as_str).collect();
        let text = |name: &str| request.body.get(name).and_then(Value::as_str).unwrap_or_default();
        let done = match (request.verb, words.as_slice()) {
            (Verb::Post, ["tool", "fetch"]) => self.fetch(device.fetch_order(&request.body)),
            (Verb::Post, ["execute"]) => {
                let begun = device.fetch_script(text("script"));
                // Nobody hears of a job that failed.
                begun.map(|order| drop(self.fetch(Ok(order)))).map(|()| Answer::ok(json!({"ret": "*B1"})))
            }
            (Verb::Post, ["file", "get"]) => {
                let size = self.sizes.get(&path(text("number"))).ok_or_else(Refusal::not_found);
                size.map(|size| Answer::ok(json!({"ret": size.to_string()})))
            }
            (Verb::Post, ["file", "remove"]) => {
                let gone = self.sizes.remove(&path(text("numbers"))).ok_or_else(Refusal::not_found);
                gone.map(|_| Answer::done())
            }
            (Verb::Post, ["file", "set"]) => self.set(text("numbers"), text("name"), text("contents")),
            (Verb::Post, ["file", "add"]) if self.contains(&path(text("name"))) => {
                Err(Refusal::failure("file already exists"))
            }
            (Verb::Post, ["file", "add"]) => {
                self.sizes.insert(path(text("name")), text("contents").len() as u64);
                Ok(Answer::ok(json!({"ret": "*F1"})))
            }
            _ => return None,
        };
        Some(done.unwrap_or_else(|refusal| refusal.to_answer()))
    }

    fn set(&mut self, file: &str, name: &str, contents: &str) -> Result<Answer, Refusal> {
        if !self.contains(&path(file)) {
            return Err(Refusal::not_found());
        }
        if name.is_empty() {
            self.sizes.insert(path(file), contents.len() as u64);
            return Ok(Answer::done());
        }
        if self.contains(&path(name)) {
            return Err(Refusal::failure("file already exists"));
        }
        if let Some(size) = self.sizes.remove(&path(file)) {
            self.sizes.insert(path(name), size);
        }
        Ok(Answer::done())
    }

    fn fetch(&mut self, order: Result<mkube_router_machine::FetchOrder, Refusal>) -> Result<Answer, Refusal> {
        let order = order?;
        let found = self.web.as_ref().and_then(|web| web(&order.url));
        let bytes = found.ok_or_else(|| Refusal::failure("Fetch failed with status 404"))?;
        if let FetchOutput::File(name) = &order.output {
            self.sizes.insert(path(name), bytes);
        }
        Ok(order.finished(&Fetched { bytes, ..Fetched::default() }))
    }
}

//! `/tool/fetch`: what is asked for, and what the device says of how it went. The download itself is the host's.

use std::time::Duration;

use serde_json::{Value, json};

use crate::answer::{Answer, Refusal};
use crate::device::Device;
use crate::system::{fields_of, unknown};
use crate::values::{boolean, duration, format_duration, to_text};

/// Arguments of every release; those of later ones follow with their minor version.
const ARGUMENTS: &[&str] = &[
    "address",
    "as-value",
    "ascii",
    "certificate",
    "check-certificate",
    "dst-path",
    "duration",
    "host",
    "http-auth-scheme",
    "http-content-encoding",
    "http-data",
    "http-header-field",
    "http-max-redirect-count",
    "http-method",
    "idle-timeout",
    "keep-result",
    "mode",
    "once",
    "output",
    "password",
    "port",
    "proplist",
    ".proplist",
    "src-address",
    "src-path",
    "upload",
    "url",
    "user",
    "without-paging",
];
const LATER_ARGUMENTS: &[(&str, u32)] = &[("http-percent-encoding", 21), ("http-version", 22), ("ip-type", 24)];
/// Bytes `output=user` gives back.
pub const USER_OUTPUT: u64 = 64_512;

/// Where the answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchOutput {
    /// Into a file of the device.
    File(String),
    /// Into the answer of the command, with or without headers.
    User {
        /// `user-with-headers`.
        headers: bool,
    },
    /// Nowhere.
    None,
}

/// A download that was asked for; every value is one RouterOS takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOrder {
    /// `http://…` or `https://…`.
    pub url: String,
    /// In capitals.
    pub method: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Body; empty is none.
    pub data: String,
    /// User and password, when a user is named.
    pub login: Option<(String, String)>,
    /// Whether the server must show a certificate the device trusts.
    pub check_certificate: bool,
    /// Where the answer goes.
    pub output: FetchOutput,
    /// Redirections that are followed.
    pub redirects: usize,
    /// How long nothing may come.
    pub idle: Option<Duration>,
    /// How long all of it may take.
    pub longest: Option<Duration>,
}

/// How a download ended that went well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes that came.
    pub bytes: u64,
    /// Bytes that were announced, if any were.
    pub total: Option<u64>,
    /// How long it took.
    pub took: Duration,
    /// What came, for `output=user`.
    pub data: String,
    /// Headers of the answer, for `output=user-with-headers`.
    pub headers: Vec<String>,
}

impl FetchOrder {
    /// The frames of a download that ended well; sizes are in KiB.
    pub fn finished(&self, fetched: &Fetched) -> Answer {
        let took = format_duration(Duration::from_secs(fetched.took.as_secs()));
        let kib = |bytes: u64| bytes.div_ceil(1024).to_string();
        let total = kib(fetched.total.unwrap_or(fetched.bytes));
        let frame = |section: &str, status: &str, downloaded: String| {
            json!({
                ".section": section, "status": status, "downloaded": downloaded, "total": total, "duration": took,
            })
        };
        let begun = frame("0", "downloading", "0".to_owned());
        let mut ended = frame("1", "finished", kib(fetched.bytes));
        if let FetchOutput::User { headers } = self.output {
            ended["data"] = json!(fetched.data);
            if headers {
                ended["http-headers"] = json!(fetched.headers.join(";"));
            }
        }
        Answer::ok(json!([begun, ended]))
    }
}

/// What the device's mode forbids, as other menus say it.
fn forbidden() -> Refusal {
    Refusal { status: 500, detail: Some("failure: not allowed by device-mode".into()) }
}

fn no_match(argument: &str) -> Refusal {
    Refusal::bad(format!("input does not match any value of {argument}"))
}

fn invalid(argument: &str) -> Refusal {
    Refusal::bad(format!("invalid value for argument {argument}"))
}

impl Device {
    /// Reads `POST /tool/fetch`.
    pub fn fetch_order(&self, body: &Value) -> Result<FetchOrder, Refusal> {
        let known = |name: &str| {
            let later = LATER_ARGUMENTS.iter().any(|(one, minor)| *one == name && self.release.from(*minor));
            ARGUMENTS.contains(&name) || later
        };
        if let Some((odd, _)) = fields_of(body)?.find(|(name, _)| !known(name)) {
            return Err(unknown(odd));
        }
        if !self.state.system.fetch_mode {
            return Err(forbidden());
        }
        let given = |name: &str| body.get(name).map(to_text).filter(|text| !text.is_empty());
        let one_of = |name: &str, values: &[&str], default: &str| {
            let value = given(name).unwrap_or_else(|| default.to_owned());
            if values.contains(&value.as_str()) { Ok(value) } else { Err(no_match(name)) }
        };
        let yes = |name: &str, default: &str| {
            let value = given(name).unwrap_or_else(|| default.to_owned());
            boolean(&value).map(|on| on == "true").ok_or_else(|| invalid(name))
        };
        let time = |name: &str| match given(name).filter(|text| text != "none") {
            None => Ok(None),
            Some(text) => {
                duration(&text).map(Some).ok_or_else(|| Refusal::bad(format!("invalid time value for argument {name}")))
            }
        };
        let mode =
            given("mode").map(|_| one_of("mode", &["http", "https", "ftp", "tftp", "sftp"], "http")).transpose()?;
        let url = address(mode.as_deref(), &given)?;
        if yes("upload", "no")? {
            return Err(Refusal::failure("upload over http is not supported, use ftp or sftp"));
        }
        let method = one_of("http-method", &["get", "post", "put", "delete", "head", "patch"], "get")?;
        let check = one_of("check-certificate", &["no", "yes", "yes-without-crl"], "no")?;
        let output = one_of("output", &["none", "file", "user", "user-with-headers"], "file")?;
        let output = match output.as_str() {
            _ if !yes("keep-result", "yes")? => FetchOutput::None,
            "file" => FetchOutput::File(given("dst-path").unwrap_or_else(|| last_name(&url))),
            "none" => FetchOutput::None,
            other => FetchOutput::User { headers: other == "user-with-headers" },
        };
        let headers = given("http-header-field").unwrap_or_default();
        let headers = headers.split(',').filter(|part| !part.trim().is_empty());
        let headers = headers.map(|part| {
            let (name, value) = part.split_once(':').ok_or_else(|| invalid("http-header-field"))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        });
        let redirects = given("http-max-redirect-count").map(|text| text.parse());
        Ok(FetchOrder {
            method: method.to_ascii_uppercase(),
            headers: headers.collect::<Result<_, Refusal>>()?,
            data: given("http-data").unwrap_or_default(),
            login: given("user").map(|user| (user, given("password").unwrap_or_default())),
            check_certificate: check != "no",
            output,
            redirects: redirects.transpose().map_err(|_| invalid("http-max-redirect-count"))?.unwrap_or(0),
            idle: time("idle-timeout")?,
            longest: time("duration")?,
            url,
        })
    }

    /// Reads a script for `/execute`: one `/tool/fetch`, which is all this host runs of scripts.
    pub fn fetch_script(&self, script: &str) -> Result<FetchOrder, Refusal> {
        let other = || Refusal::failure("this host runs no scripts but /tool/fetch");
        let words = script.trim().trim_start_matches([':', '/']).trim_start_matches("tool");
        let words = words.trim_start_matches(['/', ' ']).strip_prefix("fetch ").ok_or_else(other)?;
        self.fetch_order(&arguments(words).ok_or_else(other)?)
    }
}

/// The address, from one argument or from several.
fn address(mode: Option<&str>, given: &impl Fn(&str) -> Option<String>) -> Result<String, Refusal> {
    let url = match given("url") {
        Some(url) if url.contains("://") => url,
        Some(url) => format!("{}://{url}", mode.unwrap_or("http")),
        None => {
            let host = given("host").or_else(|| given("address")).ok_or_else(|| Refusal::failure("missing url"))?;
            let port = given("port").map(|port| format!(":{port}")).unwrap_or_default();
            let path = given("src-path").unwrap_or_default();
            format!("{}://{host}{port}/{}", mode.unwrap_or("http"), path.trim_start_matches('/'))
        }
    };
    let scheme = url.split("://").next().unwrap_or_default();
    if mode.is_some_and(|mode| mode != scheme) {
        return Err(Refusal::failure("url and mode do not match"));
    }
    match scheme {
        "http" | "https" => Ok(url),
        "ftp" | "tftp" | "sftp" => Err(Refusal::failure("this host fetches over http and https only")),
        _ => Err(Refusal::failure("unsupported protocol in url")),
    }
}

/// The name a file gets when none is given.
fn last_name(url: &str) -> String {
    let path = url.split("://").nth(1).unwrap_or_default().split(['?', '#']).next().unwrap_or_default();
    let name = path.split_once('/').map_or("", |(_, path)| path.rsplit('/').next().unwrap_or_default());
    if name.is_empty() { "index.html".to_owned() } else { name.to_owned() }
}

/// `name=value name="a value"` as an object; `\"` and `\\` inside quotes.
fn arguments(text: &str) -> Option<Value> {
    let mut found = serde_json::Map::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        if name.contains(char::is_whitespace) {
            return None;
        }
        let mut value = String::new();
        rest = match after.strip_prefix('"') {
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                value.push_str(&after[..end]);
                after[end..].trim_start()
            }
            Some(quoted) => {
                let mut letters = quoted.char_indices();
                loop {
                    match letters.next()? {
                        (at, '"') => break quoted[at + 1..].trim_start(),
                        (_, '\\') => value.push(letters.next()?.1),
                        (_, letter) => value.push(letter),
                    }
                }
            }
        };
        found.insert(name.to_owned(), json!(value));
    }
    Some(Value::Object(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Release;

    fn device(version: &str) -> Device {
        Device::new(Release::parse(version).expect("a release"), "admin", "")
    }

    fn refused(body: Value) -> String {
        let refusal = device("7.23.2").fetch_order(&body).expect_err("refused");
        refusal.detail.unwrap_or_default()
    }

    #[test]
    fn what_is_asked_is_read_as_the_device_reads_it() {
        let device = device("7.23.2");
        let order = device
            .fetch_order(&json!({
                "url": "http://10.0.0.1:8082/offers/abc", "dst-path": "disk1/cache/x.tar.part", "user": "u",
                "check-certificate": "yes-without-crl", "http-header-field": "Range: bytes=3-,X-A: b", "duration": "30s",
            }))
            .expect("an order");
        assert_eq!(order.output, FetchOutput::File("disk1/cache/x.tar.part".into()));
        assert_eq!(order.headers, [("Range".into(), "bytes=3-".into()), ("X-A".into(), "b".into())]);
        assert_eq!((order.method.as_str(), order.check_certificate, order.redirects), ("GET", true, 0));
        assert_eq!((order.longest, order.idle), (Some(Duration::from_secs(30)), None));
        let split = json!({"address": "10.0.0.1", "port": 81, "src-path": "a/b.tar", "mode": "https"});
        let order = device.fetch_order(&split).expect("an order");
        assert_eq!(
            (order.url.as_str(), order.output),
            ("https://10.0.0.1:81/a/b.tar", FetchOutput::File("b.tar".into()))
        );
        let none = device.fetch_order(&json!({"url": "http://a/b", "keep-result": "no"})).expect("an order");
        assert_eq!(none.output, FetchOutput::None);
    }

    #[test]
    fn bad_arguments_are_named() {
        assert_eq!(refused(json!({"url": "http://a", "dts-path": "x"})), "unknown parameter dts-path");
        assert_eq!(refused(json!({"url": "http://a", "output": "files"})), "input does not match any value of output");
        assert_eq!(refused(json!({})), "failure: missing url");
        assert!(refused(json!({"url": "ftp://a/b"})).contains("http and https only"));
        assert!(refused(json!({"url": "gopher://a/b"})).contains("unsupported protocol"));
        assert!(refused(json!({"url": "http://a", "http-header-field": "nonsense"})).contains("http-header-field"));
        assert!(refused(json!({"url": "http://a", "upload": "yes"})).contains("upload"));
    }

    #[test]
    fn device_mode_forbids_it() {
        let mut device = device("7.23.2");
        let change = device.mode_change(&json!({"fetch": "no"})).expect("a change");
        device.confirm_mode(&change);
        let refusal = device.fetch_order(&json!({"url": "http://a"})).expect_err("forbidden");
        assert_eq!(refusal.status, 500);
        assert!(refusal.detail.is_some_and(|detail| detail.contains("not allowed by device-mode")));
    }

    #[test]
    fn a_script_of_one_fetch_is_an_order_and_no_other_script_is() {
        let device = device("7.23.2");
        let script = r#"/tool/fetch url="http://10.0.0.1/a b\"c" dst-path=disk1/x.tar output=file"#;
        let order = device.fetch_script(script).expect("an order");
        assert_eq!(order.url, "http://10.0.0.1/a b\"c");
        assert_eq!(order.output, FetchOutput::File("disk1/x.tar".into()));
        assert!(device.fetch_script("/tool fetch url=http://a").is_ok());
        for script in ["/system/reboot", ":put 1", "/tool/fetch url=\"open", "/tool/fetch url"] {
            assert!(device.fetch_script(script).is_err(), "{script}");
        }
    }

    #[test]
    fn sizes_are_told_in_kib() {
        let order = device("7.23.2").fetch_order(&json!({"url": "http://a/b"})).expect("an order");
        let fetched = Fetched { bytes: 2049, total: Some(2049), took: Duration::from_secs(2), ..Fetched::default() };
        let body = order.finished(&fetched).body.expect("frames");
        assert_eq!(
            body[1],
            json!({".section": "1", "status": "finished", "downloaded": "3", "total": "3", "duration": "2s"})
        );
    }
}

//! Whatever is asked, in whatever order: the machine answers like a device, and what it gives out to be kept is what it is.

use std::path::PathBuf;
use std::time::Duration;

use mkube_router_machine::engine::ImageConfig;
use mkube_router_machine::{Circumstances, Device, DeviceState, Effect, Happened, Release, Request, Verb};
use proptest::prelude::*;
use serde_json::{Value, json};

fn here() -> Circumstances<'static> {
    Circumstances {
        stamp: "now".into(),
        uptime: Duration::from_secs(1),
        exists: &|path| path.ends_with(".tar"),
        local: &|path| PathBuf::from(path),
        sizes: [1, 2, 3, 4],
        cpus: 1,
        cpu_load: 0,
    }
}

/// Words that make most requests nearly right.
fn word() -> impl Strategy<Value = String> {
    let known = [
        "container",
        "envs",
        "mounts",
        "config",
        "interface",
        "veth",
        "bridge",
        "port",
        "ip",
        "address",
        "user",
        "system",
        "identity",
        "log",
        "add",
        "set",
        "remove",
        "print",
        "start",
        "stop",
        "kill",
        "restart",
        "enable",
        "disable",
        "*1",
        "*2",
        "a",
        "b",
        "admin",
        "0",
        "",
    ];
    prop_oneof![20 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,8}"]
}

fn path() -> impl Strategy<Value = Vec<String>> {
    let menus = [
        "container",
        "container/envs",
        "container/mounts",
        "interface/veth",
        "interface/bridge",
        "interface/bridge/port",
        "ip/address",
        "user",
    ];
    let split = |menu: &str| menu.split('/').map(str::to_owned).collect::<Vec<_>>();
    prop_oneof![
        6 => (prop::sample::select(menus.to_vec()), prop::option::of(word()))
            .prop_map(move |(menu, last)| split(menu).into_iter().chain(last).collect()),
        1 => prop::collection::vec(word(), 0..4),
    ]
}

fn body() -> impl Strategy<Value = Value> {
    let names = [
        "name",
        "interface",
        "bridge",
        "address",
        "gateway",
        "file",
        "root-dir",
        "list",
        "key",
        "value",
        "src",
        "dst",
        "group",
        "comment",
        "disabled",
        ".id",
        "numbers",
        "number",
        "envlists",
        "mountlists",
        "cmd",
        "stop-time",
        "memory-high",
        "signal",
        ".query",
        ".proplist",
        "password",
        "mac-address",
    ];
    let values = [
        "a",
        "b",
        "*1",
        "*2",
        "10.0.0.1/24",
        "10.0.0.1",
        "x.tar",
        "disk1/a",
        "full",
        "yes",
        "",
        "5s",
        "200M",
        "9",
        "sh -c \"x y\"",
    ];
    let value = prop_oneof![
        20 => prop::sample::select(values.to_vec()).prop_map(|text| json!(text)),
        1 => ".{0,12}".prop_map(|text| json!(text)),
        1 => any::<i64>().prop_map(|number| json!(number)),
        1 => Just(json!(true)),
        1 => Just(json!(["a", "#|"])),
        1 => Just(Value::Null),
    ];
    let object = prop::collection::vec((prop::sample::select(names.to_vec()), value), 0..6);
    prop_oneof![
        30 => object.prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()),
        1 => Just(json!([1])),
        1 => Just(Value::Null),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let verbs = [Verb::Get, Verb::Put, Verb::Patch, Verb::Delete, Verb::Post];
    (prop::sample::select(verbs.to_vec()), path(), body()).prop_map(|(verb, segments, body)| Request {
        verb,
        segments,
        query: Vec::new(),
        body,
    })
}

/// What comes of an effect, at once.
fn follow(effect: Effect) -> Option<Happened> {
    match effect {
        Effect::Extract { number, .. } => Some(Happened::Extracted { number, result: Ok(ImageConfig::default()) }),
        Effect::Start { number, start, .. } => Some(Happened::Started { number, start, result: Ok(()) }),
        Effect::Stop { number, .. } => Some(Happened::Exited { number, code: 143, out_of_memory: false }),
        Effect::RemoveFiles { number, .. } => Some(Happened::FilesRemoved { number }),
        _ => None,
    }
}

fn text_only(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(text_only),
        Value::Object(fields) => fields.values().all(text_only),
        other => other.is_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_and_kept(requests in prop::collection::vec(request(), 1..60), minor in 19u32..=24) {
        let release = Release::parse(&format!("7.{minor}")).expect("a release");
        let mut device = Device::new(release, "admin", "");
        let mut kept: DeviceState = device.state().clone();
        for request in requests {
            let (answer, effects) = device.request(&request, &here());
            let body = answer.body.clone().unwrap_or_default();
            match answer.status {
                200 | 201 => prop_assert!(text_only(&body), "{request:?}: {body}"),
                204 => prop_assert_eq!(&answer.body, &None),
                400 | 404 | 500 => prop_assert_eq!(&body["error"], &json!(answer.status)),
                other => prop_assert!(false, "{:?}: status {}", request, other),
            }
            if answer.status >= 400 {
                prop_assert!(effects.is_empty(), "a refusal does nothing: {request:?} {effects:?}");
            }
            let mut due: Vec<Happened> = effects.into_iter().filter_map(follow).collect();
            while let Some(what) = due.pop() {
                due.extend(device.happened(what, &here()).into_iter().filter_map(follow));
            }
            device.take_changes().into_iter().for_each(|change| kept.apply(change));
            let (kept, is) = (serde_json::to_value(&kept).expect("data"), serde_json::to_value(device.state()).expect("data"));
            prop_assert_eq!(kept, is, "after {:?}", request);
        }
    }
}

//! What is written: kinds, where they stand, and how a number is put into them and read from them.

use serde_json::{Value, json};

use crate::dev::pod;

/// Where every kind carries its number.
const NUMBER: &str = "example.com/number";

/// A kind that writers write.
pub struct Kind {
    pub name: &'static str,
    pub path: &'static str,
    /// Names each writer uses.
    pub names: u64,
    /// Deleted means marked, until the device has let go.
    pub lingers: bool,
    make: fn(&str, u64) -> Value,
}

/// All of them; what comes more often stands more than once.
pub const KINDS: [Kind; 4] = [
    Kind {
        name: "configmap",
        path: "/api/v1/namespaces/default/configmaps",
        names: 6,
        lingers: false,
        make: |_, number| json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"number": hex(number)}}),
    },
    Kind {
        name: "secret",
        path: "/api/v1/namespaces/default/secrets",
        names: 4,
        lingers: false,
        // Sixteen of these letters are base64 of something.
        make: |_, number| json!({"apiVersion": "v1", "kind": "Secret", "data": {"number": hex(number)}}),
    },
    Kind { name: "pod", path: "/api/v1/namespaces/default/pods", names: 3, lingers: true, make: |name, _| rich(name) },
    Kind {
        // Short: names of interfaces are cut when they are long.
        name: "web",
        path: "/apis/apps/v1/namespaces/default/deployments",
        names: 1,
        lingers: true,
        make: |name, number| {
            let pod = rich(name);
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "spec": {
                    "replicas": replicas(number),
                    "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": pod["spec"]},
                },
            })
        },
    },
];

/// Every kind of thing a pod has on a device.
pub fn rich(name: &str) -> Value {
    let container = json!({
        // It is in the cache; nobody outside is to be asked.
        "imagePullPolicy": "Never",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    pod(name, container, json!({}))
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn replicas(number: u64) -> u64 {
    number % 4
}

impl Kind {
    /// A new one.
    pub fn make(&self, name: &str, number: u64) -> Value {
        let mut made = (self.make)(name, number);
        made["metadata"]["name"] = name.into();
        made["metadata"]["annotations"][NUMBER] = hex(number).into();
        made
    }

    /// A merge patch to another number.
    pub fn patch(&self, number: u64) -> Value {
        let mut patch = json!({"metadata": {"annotations": {NUMBER: hex(number)}}});
        match self.name {
            "configmap" | "secret" => patch["data"]["number"] = hex(number).into(),
            "web" => patch["spec"]["replicas"] = replicas(number).into(),
            _ => {}
        }
        patch
    }

    /// The number of an object; none: it is as good as gone. One that contradicts itself fails the story.
    #[track_caller]
    pub fn number(&self, object: &Value) -> Option<u64> {
        if !object["metadata"]["deletionTimestamp"].is_null() {
            return None;
        }
        let text = object["metadata"]["annotations"][NUMBER].as_str().unwrap_or_else(|| panic!("no number: {object}"));
        let number = u64::from_str_radix(text, 16).expect("a number");
        let whole = match self.name {
            "configmap" | "secret" => object["data"]["number"] == hex(number),
            "web" => object["spec"]["replicas"] == replicas(number),
            _ => true,
        };
        assert!(whole, "half of one write and half of another: {object}");
        Some(number)
    }
}

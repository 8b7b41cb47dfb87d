//! Everything that can be wrong with what a route takes.

use super::*;

impl Route {
    /// The good body, changed.
    fn but(&self, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut body = self.good.clone();
        change(&mut body);
        body.to_string().into_bytes()
    }

    fn is_json_patch(&self) -> bool {
        self.takes == Takes::Patch(PATCHES[0])
    }

    pub(super) fn bad(&self) -> Vec<Bad> {
        let mut all = self.unreadable();
        if !matches!(self.takes, Takes::Other) {
            all.extend(self.options());
        }
        if self.strict && !self.is_json_patch() {
            all.extend(self.strictly());
        }
        all.extend(self.mismatched());
        if matches!(self.takes, Takes::New | Takes::Object) {
            all.extend(self.wrong_types());
        }
        all
    }

    fn one(&self, what: impl Into<String>, body: impl Into<Vec<u8>>, codes: &'static [u16]) -> Bad {
        Bad { what: what.into(), query: "", media: self.media().to_owned(), body: body.into(), codes }
    }

    /// What is no object at all.
    fn unreadable(&self) -> Vec<Bad> {
        let broken: &[u16] = &[400];
        let deep = |levels: usize| {
            let inner = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
            if self.is_json_patch() {
                format!("[{{\"op\":\"add\",\"path\":\"/metadata/labels\",\"value\":{inner}}}]")
            } else {
                format!("{{\"metadata\":{{\"name\":\"there\"}},\"spec\":{inner}}}")
            }
        };
        let mut all = vec![
            self.one("half an object", "{\"metadata\": {\"name\": \"there\"", broken),
            self.one("no quotes", "{metadata: {name}: there}", broken),
            self.one("more than one", "{} {}", broken),
            self.one("a number", "42", broken),
            self.one("a text", "\"there\"", broken),
            self.one("no UTF-8", [b"{\"metadata\": {\"name\": \"".as_slice(), &[0xff, 0xfe], b"\"}}"].concat(), broken),
            self.one("zeros", vec![0; 64], broken),
            self.one("10,000 levels", deep(10_000), broken),
            self.one("too much", vec![b' '; (3 << 20) + 1], &[400, 413]),
            Bad { media: "text/plain".to_owned(), ..self.one("another type", self.good.to_string(), &[415]) },
            Bad { media: PROTOBUF.to_owned(), ..self.one("no protobuf", "k8s\0\u{1}\u{2}", &[400, 415]) },
            Bad { media: PROTOBUF.to_owned(), ..self.one("JSON as protobuf", self.good.to_string(), &[400, 415]) },
        ];
        if self.any_media {
            all.retain(|bad| bad.media != "text/plain" && bad.media != PROTOBUF);
        }
        if !self.is_json_patch() {
            all.push(self.one("a list", "[1]", broken));
        }
        if matches!(self.takes, Takes::New | Takes::Object | Takes::Patch(_)) {
            all.push(self.one("nothing", "", broken));
            all.push(self.one("null", "null", broken));
        }
        if let Takes::Patch(_) = self.takes {
            all.push(Bad { media: JSON.to_owned(), ..self.one("no type of patch", "{}", &[415]) });
            all.push(Bad { media: String::new(), ..self.one("no type", "{}", &[415]) });
        }
        if let Takes::New | Takes::Object = self.takes {
            let yaml = "application/yaml".to_owned();
            let deep = format!("metadata: {}{}", "[".repeat(10_000), "]".repeat(10_000));
            all.push(Bad { media: yaml.clone(), ..self.one("10,000 levels of YAML", deep, broken) });
            all.push(Bad { media: yaml, ..self.one("half of YAML", "metadata: {name: there", broken) });
        }
        all
    }

    /// Parameters nobody knows.
    fn options(&self) -> Vec<Bad> {
        let good = || self.one("", self.good.to_string(), &[422]);
        let mut all = vec![Bad { what: "an odd dry run".into(), query: "dryRun=Some", ..good() }];
        if self.takes != Takes::Options {
            all.push(Bad { what: "an odd validation".into(), query: "fieldValidation=Maybe", ..good() });
            let query = "fieldManager=%07";
            all.push(Bad { what: "an odd manager".into(), query, ..good() });
        } else {
            let body = || "{}".to_owned();
            all.push(Bad { query: "gracePeriodSeconds=soon", ..self.one("an odd period", body(), &[400, 422]) });
            all.push(Bad { query: "propagationPolicy=Maybe", ..self.one("an odd policy", body(), &[422]) });
            all.push(self.one("a period below none", "{\"gracePeriodSeconds\": -1}", &[422]));
            all.push(self.one("a period of text", "{\"gracePeriodSeconds\": \"soon\"}", &[400]));
            all.push(self.one("an odd policy within", "{\"propagationPolicy\": 5}", &[422]));
            all.push(self.one("odd preconditions", "{\"preconditions\": 5}", &[400]));
            all.push(self.one("an odd dry run within", "{\"dryRun\": \"All\"}", &[422]));
            all.push(self.one("another uid", "{\"preconditions\": {\"uid\": \"another\"}}", &[409]));
            all.push(self.one("another version", "{\"preconditions\": {\"resourceVersion\": \"1\"}}", &[409]));
            all.push(self.one("no options", "{\"kind\": \"Pod\", \"apiVersion\": \"v1\"}", &[400]));
        }
        all
    }

    fn strictly(&self) -> Vec<Bad> {
        let strict = "fieldValidation=Strict";
        let unknown = self.but(|body| body["nosuch"] = json!(1));
        let text = self.good.to_string();
        // The first field once more.
        let doubled = format!("{{\"metadata\":{{\"name\":\"there\"}},{}", &text[1..]);
        let mut all = vec![Bad { query: strict, ..self.one("a field nobody knows", unknown, &[400]) }];
        if self.good["metadata"].is_object() {
            all.push(Bad { query: strict, ..self.one("a field twice", doubled, &[400]) });
        }
        all
    }

    /// What is meant for another path, or another version.
    fn mismatched(&self) -> Vec<Bad> {
        let Value::Object(_) = &self.good["metadata"] else {
            return if self.is_json_patch() { self.json_patches() } else { Vec::new() };
        };
        let refused: &[u16] = &[400, 422];
        let mut all = vec![
            self.one("another kind", self.but(|body| body["kind"] = json!("Nosuch")), refused),
            self.one("another group", self.but(|body| body["apiVersion"] = json!("example.com/v9")), refused),
            self.one("metadata that are none", self.but(|body| body["metadata"] = json!("there")), refused),
            self.one("labels that are none", self.but(|body| body["metadata"]["labels"] = json!([1])), refused),
            self.one(
                "a label of the wrong type",
                self.but(|body| body["metadata"]["labels"] = json!({"a": 1})),
                refused,
            ),
        ];
        // Where there are none, one that is written is passed over.
        if self.path.contains("/namespaces/default/") {
            let elsewhere = self.but(|body| body["metadata"]["namespace"] = json!("kube-system"));
            all.push(self.one("another namespace", elsewhere, refused));
        }
        match self.takes {
            Takes::New => {
                all.push(self.one(
                    "a name that is none",
                    self.but(|body| body["metadata"]["name"] = json!("A_b")),
                    &[422],
                ));
                all.push(self.one("a number as name", self.but(|body| body["metadata"]["name"] = json!(5)), refused));
                all.push(self.one("no name", self.but(|body| body["metadata"] = json!({})), &[422]));
                let version = self.but(|body| body["metadata"]["resourceVersion"] = json!("5"));
                all.push(self.one("a version of its own", version, &[400]));
                let there = self.but(|body| body["metadata"]["name"] = json!("there"));
                all.push(self.one("what is there already", there, &[409]));
            }
            Takes::Object | Takes::Patch(_) => {
                all.push(self.one("another name", self.but(|body| body["metadata"]["name"] = json!("other")), refused));
                let stale = self.but(|body| body["metadata"]["resourceVersion"] = json!("1"));
                all.push(self.one("a version that is old", stale, &[409]));
                let odd = self.but(|body| body["metadata"]["resourceVersion"] = json!("new"));
                all.push(self.one("a version that is none", odd, &[400, 409, 422]));
                let uid = self.but(|body| body["metadata"]["uid"] = json!("another"));
                all.push(self.one("another uid", uid, &[409, 422]));
            }
            Takes::Options | Takes::Other => {}
        }
        all
    }

    fn json_patches(&self) -> Vec<Bad> {
        let refused: &[u16] = &[400, 422];
        [
            ("no list", json!({})),
            ("a list of numbers", json!([1])),
            ("no path", json!([{"op": "add", "value": 1}])),
            ("an odd operation", json!([{"op": "brew", "path": "/metadata/labels"}])),
            ("a path that is none", json!([{"op": "remove", "path": "metadata"}])),
            ("nothing there", json!([{"op": "remove", "path": "/metadata/annotations/nosuch"}])),
            ("a test that fails", json!([{"op": "test", "path": "/metadata/name", "value": "other"}])),
            ("another name", json!([{"op": "replace", "path": "/metadata/name", "value": "other"}])),
            ("everything gone", json!([{"op": "remove", "path": ""}])),
            ("everything replaced", json!([{"op": "replace", "path": "", "value": 5}])),
            ("a text as metadata", json!([{"op": "replace", "path": "/metadata", "value": "x"}])),
            ("a beginning that is well", json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}, {"op": "remove", "path": "/nosuch"}])),
        ]
        .into_iter()
        .map(|(what, body)| self.one(what, body.to_string(), refused))
        .collect()
    }

    /// Each field of the good body, three levels deep, with something that no field of its type is.
    fn wrong_types(&self) -> Vec<Bad> {
        let mut paths = Vec::new();
        collect(&self.good, "", 3, &mut paths);
        let wrong = |path: &String| {
            let found = self.good.pointer(path).unwrap_or(&Value::Null);
            let other = match found {
                Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) => json!("text"),
                _ => json!({"an": {"object": [1]}}),
            };
            let body = self.but(|body| {
                if let Some(place) = body.pointer_mut(path) {
                    *place = other;
                }
            });
            self.one(format!("{path} of the wrong type"), body, &[400, 422])
        };
        paths.iter().map(wrong).collect()
    }
}

fn collect(value: &Value, path: &str, levels: usize, paths: &mut Vec<String>) {
    if levels == 0 {
        return;
    }
    let mut inner = |name: &str, value: &Value| {
        let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        paths.push(path.clone());
        collect(value, &path, levels - 1, paths);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| inner(name, value)),
        Value::Array(items) => items.iter().take(1).for_each(|value| inner("0", value)),
        _ => {}
    }
}

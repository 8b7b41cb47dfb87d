//! What can be asked of a kind: one entry for each path and verb there really is.

use mkube_model::discovery::{Subresource, subresources};
use mkube_model::kinds::Kind;
use serde_json::{Map, Value, json};

use crate::document::path_of;
use crate::parameters;
use crate::schemas::{GVK, Schemas, gvk};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Describes all paths of a kind.
pub fn describe(kind: &Kind, schemas: &mut Schemas, paths: &mut Map<String, Value>) {
    let root = format!("/{}", path_of(kind.group, kind.version));
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let mut about = About { kind, schemas, namespaced: kind.namespaced };
    if kind.namespaced {
        about.namespaced = false;
        if let Some(list) = about.list("ForAllNamespaces") {
            paths.insert(format!("{root}/{}", kind.plural), json!({"get": list}));
        }
        about.namespaced = true;
    }
    let collection = format!("{root}{scope}/{}", kind.plural);
    paths.insert(collection.clone(), about.collection());
    if let Some(one) = about.object() {
        paths.insert(format!("{collection}/{{name}}"), one);
    }
    for sub in subresources(kind) {
        paths.insert(format!("{collection}/{{name}}/{}", sub.name), about.subresource(&sub));
    }
}

struct About<'a> {
    kind: &'a Kind,
    schemas: &'a mut Schemas,
    namespaced: bool,
}

/// One request.
struct Request<'a> {
    action: &'a str,
    /// How the request is called, such as `list`.
    verb: &'a str,
    /// What follows the kind's name in that, such as `Status`.
    suffix: &'a str,
    description: String,
    parameters: Value,
    body: Option<Value>,
    answers: Vec<(&'a str, Value)>,
}

impl About<'_> {
    fn can(&self, verb: &str) -> bool {
        self.kind.verbs().contains(&verb)
    }

    fn collection(&mut self) -> Value {
        let mut item = self.path_item(false);
        if let Some(list) = self.list("") {
            item.insert("get".to_owned(), list);
        }
        if self.can("create") {
            let one = self.schemas.of(self.kind);
            item.insert("post".to_owned(), self.created(one, "", None));
        }
        if self.can("deletecollection") {
            let list = self.schemas.list_of(self.kind);
            let request = Request {
                action: "deletecollection",
                verb: "deleteCollection",
                suffix: "",
                description: format!("Deletes {} that are selected.", self.kind.plural),
                parameters: parameters::in_query(&[parameters::DELETE, parameters::LIST]),
                body: Some(self.options()),
                answers: vec![("200", list)],
            };
            item.insert("delete".to_owned(), self.operation(request, None));
        }
        Value::Object(item)
    }

    fn list(&mut self, suffix: &str) -> Option<Value> {
        if !self.can("list") {
            return None;
        }
        let list = self.schemas.list_of(self.kind);
        let request = Request {
            action: "list",
            verb: "list",
            suffix,
            description: format!("Lists or watches {}.", self.kind.plural),
            parameters: parameters::in_query(&[parameters::LIST]),
            body: None,
            answers: vec![("200", list)],
        };
        Some(self.operation(request, None))
    }

    fn object(&mut self) -> Option<Value> {
        if !self.can("get") {
            return None;
        }
        let mut item = self.path_item(true);
        let one = self.schemas.of(self.kind);
        self.read_and_change(&mut item, &one, "", self.kind.verbs(), None);
        if self.can("delete") {
            let done = json!({"anyOf": [self.schemas.status(), one]});
            let request = Request {
                action: "delete",
                verb: "delete",
                suffix: "",
                description: format!("Deletes a {}.", self.kind.kind),
                parameters: parameters::in_query(&[parameters::DELETE]),
                body: Some(self.options()),
                answers: vec![("200", done.clone()), ("202", done)],
            };
            item.insert("delete".to_owned(), self.operation(request, None));
        }
        Some(Value::Object(item))
    }

    /// `get`, `update` and `patch` of an object or of another look at it.
    fn read_and_change(
        &mut self,
        item: &mut Map<String, Value>,
        one: &Value,
        suffix: &str,
        verbs: &[&str],
        of: Option<&Subresource>,
    ) {
        let what =
            if suffix.is_empty() { self.kind.kind.to_owned() } else { format!("{suffix} of a {}", self.kind.kind) };
        if verbs.contains(&"get") {
            let request = Request {
                action: "get",
                verb: "read",
                suffix,
                description: format!("Reads the {what}."),
                parameters: parameters::in_query(&[parameters::GET]),
                body: None,
                answers: vec![("200", one.clone())],
            };
            item.insert("get".to_owned(), self.operation(request, of));
        }
        if verbs.contains(&"update") {
            let request = Request {
                action: "put",
                verb: "replace",
                suffix,
                description: format!("Replaces the {what}."),
                parameters: parameters::in_query(&[parameters::WRITE]),
                body: Some(self.body(one)),
                answers: vec![("200", one.clone()), ("201", one.clone())],
            };
            item.insert("put".to_owned(), self.operation(request, of));
        }
        if verbs.contains(&"patch") {
            let request = Request {
                action: "patch",
                verb: "patch",
                suffix,
                description: format!("Changes parts of the {what}."),
                parameters: parameters::in_query(&[parameters::PATCH]),
                body: Some(self.patches()),
                answers: vec![("200", one.clone()), ("201", one.clone())],
            };
            item.insert("patch".to_owned(), self.operation(request, of));
        }
    }

    fn subresource(&mut self, sub: &Subresource) -> Value {
        let mut item = self.path_item(true);
        let suffix = capitalised(sub.name);
        let own = (self.kind.group, self.kind.version, self.kind.kind);
        if sub.name == "log" {
            let request = Request {
                action: "get",
                verb: "read",
                suffix: &suffix,
                description: "Reads what a container wrote.".to_owned(),
                parameters: parameters::in_query(&[parameters::LOG]),
                body: None,
                answers: vec![],
            };
            let mut log = self.operation(request, Some(sub));
            log["responses"]["200"] =
                json!({"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}});
            item.insert("get".to_owned(), log);
            return Value::Object(item);
        }
        let one =
            if sub.kind == own { Some(self.schemas.of(self.kind)) } else { self.schemas.of_subresource(sub.kind) };
        // What has no type here is no object either, such as a connection.
        let one = one.unwrap_or_else(|| json!({"type": "object"}));
        self.read_and_change(&mut item, &one, &suffix, sub.verbs, Some(sub));
        if sub.verbs.contains(&"create") {
            item.insert("post".to_owned(), self.created(one, &suffix, Some(sub)));
        }
        Value::Object(item)
    }

    fn created(&mut self, one: Value, suffix: &str, of: Option<&Subresource>) -> Value {
        let what =
            if suffix.is_empty() { self.kind.kind.to_owned() } else { format!("{suffix} of a {}", self.kind.kind) };
        // An eviction is answered with how it went.
        let answer = if of.is_some() { json!({"anyOf": [self.schemas.status(), one]}) } else { one.clone() };
        let request = Request {
            action: "post",
            verb: "create",
            suffix,
            description: format!("Creates a {what}."),
            parameters: parameters::in_query(&[parameters::WRITE]),
            body: Some(self.body(&one)),
            answers: vec![("200", answer.clone()), ("201", answer.clone()), ("202", answer)],
        };
        self.operation(request, of)
    }

    fn path_item(&self, named: bool) -> Map<String, Value> {
        let mut inside = Vec::new();
        if named {
            inside.push(parameters::in_path("name", &format!("Name of the {}.", self.kind.kind)));
        }
        if self.namespaced {
            inside.push(parameters::in_path("namespace", "Namespace of the object."));
        }
        let mut item = Map::new();
        if !inside.is_empty() {
            item.insert("parameters".to_owned(), Value::Array(inside));
        }
        item
    }

    fn body(&self, schema: &Value) -> Value {
        let mut content = Map::new();
        content.insert(JSON.to_owned(), json!({"schema": schema}));
        content.insert(YAML.to_owned(), json!({"schema": schema}));
        if !self.kind.protobuf.is_empty() {
            content.insert(PROTOBUF.to_owned(), json!({"schema": schema}));
        }
        json!({"content": content, "required": true})
    }

    fn options(&mut self) -> Value {
        let schema = self.schemas.delete_options();
        json!({"content": {JSON: {"schema": schema}, PROTOBUF: {"schema": schema}}})
    }

    fn patches(&self) -> Value {
        let object = json!({"schema": {"type": "object", "description": "The parts that change."}});
        let operation = json!({
            "type": "object", "required": ["op", "path"],
            "properties": {
                "op": {"type": "string"}, "path": {"type": "string"}, "from": {"type": "string"}, "value": {},
            },
        });
        let mut content = Map::new();
        let operations = json!({"schema": {"type": "array", "description": "What is to be done.", "items": operation}});
        content.insert("application/json-patch+json".to_owned(), operations);
        content.insert("application/merge-patch+json".to_owned(), object.clone());
        content.insert("application/apply-patch+yaml".to_owned(), object.clone());
        if self.kind.has_strategic_merge() {
            // kubectl looks for it before it computes one.
            content.insert("application/strategic-merge-patch+json".to_owned(), object);
        }
        json!({"content": content, "required": true})
    }

    fn operation(&mut self, request: Request<'_>, of: Option<&Subresource>) -> Value {
        let (group, version, kind) = of.map_or((self.kind.group, self.kind.version, self.kind.kind), |sub| sub.kind);
        let refused = self.schemas.status();
        let mut responses: Map<String, Value> = Map::new();
        for (code, schema) in request.answers {
            let description = match code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            };
            responses
                .insert(code.to_owned(), json!({"description": description, "content": {JSON: {"schema": schema}}}));
        }
        let why = json!({"description": "Why it was refused.", "content": {JSON: {"schema": refused}}});
        responses.insert("default".to_owned(), why);
        let (of_group, of_version) = (words(self.kind.group), capitalised(self.kind.version));
        let scope = if self.namespaced { "Namespaced" } else { "" };
        let tag = if self.kind.group.is_empty() { "core" } else { self.kind.group };
        let id = match request.verb {
            "deleteCollection" => format!("delete{of_group}{of_version}Collection{scope}{}", self.kind.kind),
            verb => format!("{verb}{of_group}{of_version}{scope}{}{}", self.kind.kind, request.suffix),
        };
        let mut operation = json!({
            "tags": [format!("{}_{}", tag.replace('.', "_"), self.kind.version)],
            "description": request.description, "operationId": id, "parameters": request.parameters,
            "responses": responses, "x-kubernetes-action": request.action, GVK: gvk(group, version, kind),
        });
        if let Some(body) = request.body {
            operation["requestBody"] = body;
        }
        operation
    }
}

/// `v1alpha1` as `V1alpha1`.
fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// A group as part of a name: `Core`, `Apps`, `VkubeIo`.
fn words(group: &str) -> String {
    match group {
        "" => "Core".to_owned(),
        group => group.trim_end_matches(".k8s.io").split(['.', '-']).map(capitalised).collect(),
    }
}

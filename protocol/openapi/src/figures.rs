//! What can be asked of what is only measured: figures of pods and nodes, which are read and nothing else.

use serde_json::{Map, Value, json};

use crate::document::path_of;
use crate::parameters;
use crate::schemas::{GVK, Schemas, gvk};

/// Describes the paths of one kind of figures: its plural, whether it is in a namespace, its kind.
pub fn describe(
    (group, version): (&str, &str),
    (plural, namespaced, kind): (&str, bool, &str),
    schemas: &mut Schemas,
    paths: &mut Map<String, Value>,
) {
    let one = schemas.of_measured(version, kind);
    let named = (group.to_owned(), version.to_owned(), kind.to_owned());
    let (list, refused) = (schemas.list_of_items(one.clone(), plural, named), schemas.status());
    let root = format!("/{}", path_of(group, version));
    let read = |verb: &str, scope: &str, what: String, answer: &Value, selected: bool| {
        let query: &[&[parameters::Parameter]] = if selected { &[parameters::SELECT] } else { &[] };
        json!({
            "tags": [format!("{}_{version}", group.replace('.', "_"))],
            "description": what, "operationId": format!("{verb}Metrics{version}{scope}{kind}"),
            "parameters": parameters::in_query(query),
            "responses": {
                "200": {"description": "OK", "content": {"application/json": {"schema": answer}}},
                "default": {"description": "Why it was refused.", "content": {"application/json": {"schema": refused}}},
            },
            "x-kubernetes-action": if verb == "read" { "get" } else { "list" }, GVK: gvk(group, version, kind),
        })
    };
    let name = parameters::in_path("name", "Name of what was measured.");
    let namespace = parameters::in_path("namespace", "Namespace of what was measured.");
    let all = format!("Lists the figures of {plural}.");
    let single = format!("Reads the figures of one of {plural}.");
    if namespaced {
        let collection = format!("{root}/namespaces/{{namespace}}/{plural}");
        let everywhere = read("list", "ForAllNamespaces", all.clone(), &list, true);
        paths.insert(format!("{root}/{plural}"), json!({"get": everywhere}));
        let (list, one) =
            (read("list", "Namespaced", all, &list, true), read("read", "Namespaced", single, &one, false));
        paths.insert(collection.clone(), json!({"parameters": [namespace], "get": list}));
        paths.insert(format!("{collection}/{{name}}"), json!({"parameters": [name, namespace], "get": one}));
    } else {
        let (list, one) = (read("list", "", all, &list, true), read("read", "", single, &one, false));
        paths.insert(format!("{root}/{plural}"), json!({"get": list}));
        paths.insert(format!("{root}/{plural}/{{name}}"), json!({"parameters": [name], "get": one}));
    }
}

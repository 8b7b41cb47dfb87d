//! What can be asked of figures: they are read, one by one and all together, and that is all.

use serde_json::{Map, Value, json};

use crate::document::path_of;
use crate::parameters;
use crate::schemas::{GVK, Schemas, gvk};

const GROUP: &str = "metrics.k8s.io";

/// Describes the paths of one sort of figures: plural, whether what was measured is in a namespace, and kind.
pub fn describe(
    version: &str,
    (plural, namespaced, kind): (&str, bool, &str),
    schemas: &mut Schemas,
    paths: &mut Map<String, Value>,
) {
    let root = format!("/{}", path_of(GROUP, version));
    let (one, refused) = (schemas.of_measured(version, kind), schemas.status());
    let list = json!({
        "type": "object", "description": format!("Figures of {plural}."),
        "properties": {"items": {"type": "array", "description": "The figures.", "items": one}},
    });
    let reading = |action: &str, name: &str, schema: &Value, inside: &[&str]| {
        let asked: &[_] = if action == "list" { parameters::FIGURES } else { parameters::GET };
        let mut asked = parameters::in_query(&[asked]);
        let places =
            inside.iter().map(|place| parameters::in_path(place, &format!("The {place} of what is measured.")));
        asked.as_array_mut().into_iter().for_each(|all| all.extend(places.clone()));
        let answer = |what: &str, schema: &Value| json!({"description": what, "content": {"application/json": {"schema": schema}}});
        json!({"get": {
            "tags": [format!("{}_{version}", GROUP.replace('.', "_"))], "description": "What is used now.",
            "operationId": format!("{action}Metrics{name}{kind}"), "parameters": asked,
            "responses": {"200": answer("OK", schema), "default": answer("Why it was refused.", &refused)},
            "x-kubernetes-action": action, GVK: gvk(GROUP, version, kind),
        }})
    };
    if namespaced {
        let scope = format!("{root}/namespaces/{{namespace}}/{plural}");
        paths.insert(format!("{root}/{plural}"), reading("list", "AllNamespaces", &list, &[]));
        paths.insert(format!("{scope}/{{name}}"), reading("get", "Namespaced", &one, &["namespace", "name"]));
        paths.insert(scope, reading("list", "Namespaced", &list, &["namespace"]));
    } else {
        paths.insert(format!("{root}/{plural}"), reading("list", "", &list, &[]));
        paths.insert(format!("{root}/{plural}/{{name}}"), reading("get", "", &one, &["name"]));
    }
}

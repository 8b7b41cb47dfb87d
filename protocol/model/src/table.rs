//! The `Table` form of objects, which is what kubectl prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::{Column, Kind};

/// How much of an object each row carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
    /// Nothing.
    None,
}

/// A table of `objects`. `list_meta` becomes the table's metadata; `headings` false gives null for the column definitions
/// (watch events after the first).
pub fn render<'a>(
    kind: &Kind,
    objects: impl Iterator<Item = &'a Value>,
    include: IncludeObject,
    list_meta: Value,
    headings: bool,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects.map(|object| row(kind, object, include, now)).collect();
    let definitions: Value = if headings { kind.columns.iter().map(definition).collect() } else { Value::Null };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_meta,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

fn row(kind: &Kind, object: &Value, include: IncludeObject, now: Timestamp) -> Value {
    let cells: Vec<Value> = kind.columns.iter().map(|column| (column.cell)(object, now)).collect();
    let mut row = json!({"cells": cells});
    match include {
        IncludeObject::None => {}
        IncludeObject::Object => row["object"] = object.clone(),
        IncludeObject::Metadata => row["object"] = partial(object),
    }
    row
}

/// The `PartialObjectMetadata` form of an object.
pub fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KindTable;

    #[test]
    fn a_table_has_one_cell_for_each_column_and_the_metadata_of_each_row() {
        let kinds = KindTable::builtin();
        let now: Timestamp = "2026-01-01T00:05:00Z".parse().expect("a literal");
        for kind in kinds.iter() {
            let object =
                json!({"metadata": {"name": "x", "namespace": "d", "creationTimestamp": "2026-01-01T00:00:00Z"}});
            let table = render(kind, [&object].into_iter(), IncludeObject::Metadata, json!({}), true, now);
            let columns = table["columnDefinitions"].as_array().map_or(0, Vec::len);
            assert_eq!(table["rows"][0]["cells"].as_array().map_or(0, Vec::len), columns, "{}", kind.kind);
            assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "x");
        }
        let map = kinds.named("ConfigMap").expect("a kind");
        let object =
            json!({"metadata": {"name": "m", "creationTimestamp": "2026-01-01T00:00:00Z"}, "data": {"a": "1"}});
        let table = render(map, [&object].into_iter(), IncludeObject::None, json!({}), false, now);
        assert_eq!(table["rows"][0]["cells"], json!(["m", 1, "5m"]));
        assert_eq!(table["columnDefinitions"], Value::Null);
    }
}

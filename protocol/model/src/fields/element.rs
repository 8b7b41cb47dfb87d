//! Elements of paths: fields, items with keys, values of sets.

use serde_json::{Map, Value};

use crate::list_types::{Keyed, Types};

/// A field of an object.
pub fn field(name: &str) -> Box<str> {
    format!("f:{name}").into()
}

/// The items of a list, each with its element, if the list is one of keyed items or a set.
pub struct Items<'v> {
    /// Element and item, in order.
    pub all: Vec<(Box<str>, &'v Value)>,
    /// Items are one value each.
    pub whole: bool,
}

/// Takes a list apart; `None`: it is one value. So is one whose items lack what they should be told apart by.
pub fn items<'v>(name: &str, list: &'v [Value], types: Types) -> Option<Items<'v>> {
    if types.is_set(name) {
        let plain = |item: &Value| (!item.is_object() && !item.is_array()).then(|| format!("v:{item}").into());
        let all = list.iter().map(|item| Some((plain(item)?, item))).collect::<Option<_>>()?;
        return Some(Items { all, whole: true });
    }
    let keyed = types.keyed(name, list.iter())?;
    let all = list.iter().map(|item| Some((key_of(keyed, item).ok()?, item))).collect::<Option<_>>()?;
    Some(Items { all, whole: keyed.whole_items })
}

/// The element of an item, or the field that it lacks.
pub fn key_of(keyed: &Keyed, item: &Value) -> Result<Box<str>, &'static str> {
    let mut key = Map::new();
    for (field, otherwise) in keyed.identity {
        let value = match (item.get(*field), otherwise) {
            (Some(value), _) if !value.is_null() && !value.is_object() && !value.is_array() => value.clone(),
            (None | Some(Value::Null), Some(otherwise)) => Value::from(*otherwise),
            _ => return Err(field),
        };
        key.insert((*field).to_owned(), value);
    }
    Ok(format!("k:{}", Value::Object(key)).into())
}

/// An element that somebody wrote, in the one way we write it.
pub fn canonical(element: &str) -> Result<Box<str>, String> {
    let json = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| format!("{element:?}: {error}"));
    match element.split_at_checked(2) {
        Some(("f:", _)) => Ok(element.into()),
        Some(("k:", text)) => match json(text)? {
            Value::Object(key) => Ok(format!("k:{}", Value::Object(key)).into()),
            _ => Err(format!("{element:?} is no key")),
        },
        Some(("v:", text)) => Ok(format!("v:{}", json(text)?).into()),
        Some(("i:", text)) if text.parse::<u32>().is_ok() => Ok(element.into()),
        _ => Err(format!("{element:?} is no element of a path")),
    }
}

/// Adds an element to a path for people.
pub fn print(element: &str, path: &mut String) {
    let (kind, text) = element.split_at_checked(2).unwrap_or(("", element));
    match kind {
        "k:" => {
            let key: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
            let parts: Vec<String> = key.iter().map(|(field, value)| format!("{field}={value}")).collect();
            path.push_str(&format!("[{}]", parts.join(",")));
        }
        "v:" => path.push_str(&format!("[={text}]")),
        "i:" => path.push_str(&format!("[{text}]")),
        _ => path.push_str(&format!(".{text}")),
    }
}

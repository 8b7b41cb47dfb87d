//! `metadata.managedFields`: who manages which fields, read and written.

use serde_json::{Value, json};

use super::set::FieldSet;
use crate::problem::Problem;

/// Managers by writing that are told apart in one object; the oldest beyond that become one.
const UPDATERS: usize = 10;
/// What those become.
const ANCIENT: &str = "ancient-changes";
/// Bytes of a manager's name.
pub const NAME_LENGTH: usize = 128;

/// How somebody came to manage fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// He applies all he wants.
    Apply,
    /// He wrote them.
    Update,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who manages fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// His name.
    pub name: String,
    /// How he came to.
    pub operation: Operation,
    /// The version he speaks.
    pub api_version: String,
    /// The subresource he writes; empty: the object itself.
    pub subresource: String,
}

impl Manager {
    /// Whether both are the same: who applies is so in every version.
    fn is(&self, other: &Self) -> bool {
        let versions = self.operation == Operation::Apply || self.api_version == other.api_version;
        versions
            && (&self.name, self.operation, &self.subresource) == (&other.name, other.operation, &other.subresource)
    }

    /// As a conflict names him: `"m" with subresource "scale" using apps/v1`.
    pub(super) fn told(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// What somebody manages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub manager: Manager,
    /// Since when it is so; empty when nobody knows.
    pub time: String,
    /// Which fields.
    pub fields: FieldSet,
}

/// Who manages which fields of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Managers(pub(super) Vec<Entry>);

impl Managers {
    /// Those of an object; none when what stands there is not understood.
    pub fn of(object: &Value) -> Self {
        object.pointer("/metadata/managedFields").and_then(|list| Self::read(list).ok()).unwrap_or_default()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From a list as it stands in metadata, or what is wrong with it.
    pub fn read(list: &Value) -> Result<Self, Problem> {
        let mut managers = Self::default();
        for (index, entry) in list.as_array().into_iter().flatten().enumerate() {
            let entry = read_entry(&format!("metadata.managedFields[{index}]"), entry)?;
            if !entry.fields.is_empty() {
                let known = managers.place(&entry.manager);
                match known {
                    Some(place) => managers.0[place].fields.unite(&entry.fields),
                    None => managers.0.push(entry),
                }
            }
        }
        managers.sort();
        Ok(managers)
    }

    /// The list for metadata.
    pub fn write(&self) -> Value {
        self.0.iter().map(written).collect()
    }

    pub(super) fn get(&self, manager: &Manager) -> Option<&Entry> {
        self.place(manager).map(|place| &self.0[place])
    }

    /// Sets what somebody manages; nothing ends it.
    pub(super) fn set(&mut self, entry: Entry) {
        match self.place(&entry.manager) {
            Some(place) => self.0[place] = entry,
            None => self.0.push(entry),
        }
        self.tidy();
    }

    /// Changes what everybody but one manages.
    pub(super) fn each_but(&mut self, manager: &Manager, change: impl Fn(&mut FieldSet)) {
        for entry in self.0.iter_mut().filter(|entry| !entry.manager.is(manager)) {
            change(&mut entry.fields);
        }
        self.tidy();
    }

    /// All but one.
    pub(super) fn but<'m>(&'m self, manager: &'m Manager) -> impl Iterator<Item = &'m Entry> {
        self.0.iter().filter(|entry| !entry.manager.is(manager))
    }

    fn place(&self, manager: &Manager) -> Option<usize> {
        self.0.iter().position(|entry| entry.manager.is(manager))
    }

    /// Whether both say the same of the same people, whenever.
    pub fn say_what(&self, other: &Self) -> bool {
        let all = |managers: &Self| {
            let entries = managers.0.iter().map(|entry| (entry.manager.clone(), entry.fields.clone()));
            let mut entries: Vec<_> = entries.collect();
            entries.sort_by(|(one, _), (other, _)| rank(one).cmp(&rank(other)));
            entries
        };
        all(self) == all(other)
    }

    fn tidy(&mut self) {
        self.0.retain(|entry| !entry.fields.is_empty());
        self.sort();
    }

    /// In the order that clients are used to.
    fn sort(&mut self) {
        self.0.sort_by(|one, other| {
            let key = |entry: &Entry| (entry.manager.operation, entry.time.clone());
            key(one).cmp(&key(other)).then_with(|| rank(&one.manager).cmp(&rank(&other.manager)))
        });
    }

    /// The oldest of too many who wrote become one.
    pub(super) fn bound(&mut self) {
        loop {
            let updaters: Vec<usize> = self.updaters().collect();
            // They are in order of time.
            let (true, [first, second, ..]) = (updaters.len() > UPDATERS, updaters.as_slice()) else { return };
            let newer = self.0.remove(*second);
            let older = self.0.remove(*first);
            let mut fields = older.fields;
            fields.unite(&newer.fields);
            let manager = Manager {
                name: ANCIENT.to_owned(),
                operation: Operation::Update,
                api_version: newer.manager.api_version,
                subresource: String::new(),
            };
            if let Some(ancient) = self.get(&manager) {
                fields.unite(&ancient.fields);
            }
            self.set(Entry { manager, time: newer.time, fields });
        }
    }

    fn updaters(&self) -> impl Iterator<Item = usize> {
        let updates = |(place, entry): (usize, &Entry)| (entry.manager.operation == Operation::Update).then_some(place);
        self.0.iter().enumerate().filter_map(updates)
    }
}

fn rank(manager: &Manager) -> (Operation, &str, &str, &str) {
    (manager.operation, &manager.name, &manager.api_version, &manager.subresource)
}

fn read_entry(at: &str, entry: &Value) -> Result<Entry, Problem> {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let invalid = |field: &str, why: &str| Problem::invalid(format!("{at}.{field}"), text(field), why);
    let operation = match text("operation").as_str() {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err(invalid("operation", "must be `Apply` or `Update`")),
    };
    if !matches!(text("fieldsType").as_str(), "" | "FieldsV1") {
        return Err(invalid("fieldsType", "must be `FieldsV1`"));
    }
    let name = text("manager");
    if let Some(why) = name_problem(&name) {
        return Err(invalid("manager", why));
    }
    let fields = match entry.get("fieldsV1") {
        None | Some(Value::Null) => FieldSet::default(),
        Some(fields) => {
            FieldSet::from_json(fields).map_err(|why| Problem::invalid(format!("{at}.fieldsV1"), Value::Null, why))?
        }
    };
    let manager = Manager { name, operation, api_version: text("apiVersion"), subresource: text("subresource") };
    Ok(Entry { manager, time: text("time"), fields })
}

fn written(entry: &Entry) -> Value {
    let manager = &entry.manager;
    let mut value = json!({
        "manager": manager.name, "operation": manager.operation.word(), "apiVersion": manager.api_version,
        "fieldsType": "FieldsV1", "fieldsV1": entry.fields.to_json(),
    });
    if !entry.time.is_empty() {
        value["time"] = json!(entry.time);
    }
    if !manager.subresource.is_empty() {
        value["subresource"] = json!(manager.subresource);
    }
    value
}

/// Why nobody can be called so, or nothing.
pub fn name_problem(name: &str) -> Option<&'static str> {
    if name.len() > NAME_LENGTH {
        return Some("may not be more than 128 bytes");
    }
    let unprintable = name.chars().any(char::is_control);
    unprintable.then_some("should only contain printable characters")
}

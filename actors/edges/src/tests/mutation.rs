//! Inputs made from others: bytes turned, cut and spliced, and JSON whose parts change places.

use serde_json::{Map, Value, json};

/// Numbers that follow from a seed alone.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of so many.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count.max(1) as u64).unwrap_or(0)
    }

    pub fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Pieces that mean something to somebody.
const WORDS: &[&str] = &[
    "$patch",
    "delete",
    "replace",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/finalizers",
    "name",
    "containers",
    "ports",
    "containerPort",
    "metadata",
    "labels",
    "finalizers",
    "managedFields",
    "spec",
    "null",
    "op",
    "path",
    "add",
    "copy",
    "move",
    "test",
    "from",
    "/",
    "~0",
    "~1",
    "-",
    " in (",
    " notin (",
    "==",
    "!=",
    "!",
    ",",
    "(",
    ")",
    "%00",
    "%2F",
    "%ff",
    "?",
    "&",
    "=",
    "+",
    "---\n",
    "- ",
    ": ",
    "\n",
    "&a ",
    "*a",
    "!!binary ",
    "<<: ",
    "|\n",
    "\u{0}",
    "\u{feff}",
    "ä",
    "𝄞",
    "\"",
    "\\u0000",
    "9223372036854775808",
    "-1",
    "1e999",
    "0x10",
    "true",
    "~",
    "k8s\0",
];

/// The longest that comes of it.
const LONGEST: usize = 16 << 10;

/// Another input, made from `seed` and perhaps `other`.
pub fn mutated(dice: &mut Dice, seed: &[u8], other: &[u8]) -> Vec<u8> {
    if dice.below(10) < 7
        && let Ok(mut value) = serde_json::from_slice::<Value>(seed)
    {
        let other = serde_json::from_slice(other).unwrap_or(Value::Null);
        for _ in 0..=dice.below(3) {
            change(dice, &mut value, &other);
        }
        let text = value.to_string().into_bytes();
        return if text.len() > LONGEST { seed.to_vec() } else { text };
    }
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(4) {
        turn(dice, &mut bytes, other);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn turn(dice: &mut Dice, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = dice.below(bytes.len() + 1);
    match dice.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        1 if at < bytes.len() => bytes[at] = *dice.one(&[0, 1, 0x7f, 0x80, 0xff, b'{', b'[', b' ']),
        2 => bytes.truncate(at),
        3 => {
            let end = at + dice.below(bytes.len() - at + 1);
            bytes.drain(at..end);
        }
        4 => {
            let end = at + dice.below(bytes.len() - at + 1);
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        5 => {
            let from = dice.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {
            let word = dice.one(WORDS).as_bytes().to_vec();
            bytes.splice(at..at, word);
        }
    }
}

/// Changes something somewhere in a tree.
fn change(dice: &mut Dice, value: &mut Value, other: &Value) {
    let below = match value {
        Value::Object(fields) => fields.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    if below > 0 && dice.below(4) > 0 {
        let index = dice.below(below);
        let inner = match value {
            Value::Object(fields) => fields.iter_mut().nth(index).map(|(_, inner)| inner),
            Value::Array(items) => items.get_mut(index),
            _ => None,
        };
        if let Some(inner) = inner {
            return change(dice, inner, other);
        }
    }
    match (dice.below(6), &mut *value) {
        (0, Value::Object(fields)) => {
            let name = fields.keys().nth(dice.below(fields.len().max(1))).cloned().unwrap_or_default();
            let taken = fields.remove(&name);
            if dice.below(2) == 0 {
                fields.insert((*dice.one(WORDS)).to_owned(), taken.unwrap_or_default());
            }
        }
        (1, Value::Object(fields)) => {
            fields.insert((*dice.one(WORDS)).to_owned(), leaf(dice));
        }
        (0, Value::Array(items)) => {
            let index = dice.below(items.len() + 1);
            items.truncate(index);
        }
        (1, Value::Array(items)) => {
            let again = items.first().cloned().unwrap_or_else(|| leaf(dice));
            items.push(again);
        }
        (2, _) => *value = part(dice, other).clone(),
        (3, Value::String(text)) => text.push_str(dice.one::<&str>(WORDS)),
        (4, _) => {
            let held = std::mem::take(value);
            *value = if dice.below(2) == 0 { json!([held]) } else { json!({(*dice.one(WORDS)): held}) };
        }
        _ => *value = leaf(dice),
    }
}

fn leaf(dice: &mut Dice) -> Value {
    match dice.below(9) {
        0 => Value::Null,
        1 => json!(dice.below(2) == 0),
        2 => json!(*dice.one(&[0, 1, -1, i64::MAX, i64::MIN])),
        3 => json!(*dice.one(&[0.5, 1e300, -0.0])),
        4 => json!([]),
        5 => Value::Object(Map::new()),
        6 => json!("x".repeat(dice.below(70))),
        _ => json!(*dice.one(WORDS)),
    }
}

/// Any part of a tree.
fn part<'v>(dice: &mut Dice, mut value: &'v Value) -> &'v Value {
    loop {
        let inner = match value {
            Value::Object(fields) => fields.values().nth(dice.below(fields.len().max(1))),
            Value::Array(items) => items.get(dice.below(items.len().max(1))),
            _ => None,
        };
        match inner {
            Some(inner) if dice.below(3) > 0 => value = inner,
            _ => return value,
        }
    }
}

//! Reads templates.

use serde_json::Value;

use super::{Filter, Node, Operand, Operator, Path, Step};

/// Steps of a path at most, and templates inside one another.
const DEPTH: usize = 64;

/// Reads letter by letter.
pub(super) struct Parser {
    letters: Vec<char>,
    at: usize,
}

impl Parser {
    /// At the beginning of a text.
    pub(super) fn new(text: &str) -> Self {
        Self { letters: text.chars().collect(), at: 0 }
    }

    /// The whole text as a template.
    pub(super) fn whole(mut self) -> Result<Vec<Node>, String> {
        let nodes = self.nodes(0)?;
        if self.at < self.letters.len() { Err("{end} without {range …}".to_owned()) } else { Ok(nodes) }
    }

    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn takes(&mut self, text: &str) -> bool {
        let length = text.chars().count();
        let here =
            self.letters.get(self.at..self.at + length).is_some_and(|found| found.iter().copied().eq(text.chars()));
        if here {
            self.at += length;
        }
        here
    }

    fn spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        self.spaces();
        if self.takes(text) { Ok(()) } else { Err(self.odd(&format!("{text:?} is missing"))) }
    }

    fn odd(&self, why: &str) -> String {
        let rest: String = self.letters[self.at.min(self.letters.len())..].iter().take(20).collect();
        if rest.is_empty() { format!("{why} at the end") } else { format!("{why} before {rest:?}") }
    }

    /// Up to the end of the text, or the `{end}` of a range.
    fn nodes(&mut self, depth: usize) -> Result<Vec<Node>, String> {
        if depth > DEPTH {
            return Err("ranges are nested too deeply".to_owned());
        }
        let mut nodes = Vec::new();
        while let Some(letter) = self.peek() {
            if letter != '{' {
                let end = self.letters[self.at..].iter().position(|one| *one == '{');
                let end = end.map_or(self.letters.len(), |length| self.at + length);
                nodes.push(Node::Text(self.letters[self.at..end].iter().collect()));
                self.at = end;
                continue;
            }
            let before = self.at;
            self.at += 1;
            self.spaces();
            if self.word("end") {
                if depth == 0 {
                    self.at = before;
                    return Ok(nodes);
                }
                self.expect("}")?;
                return Ok(nodes);
            }
            if self.word("range") {
                self.spaces();
                let path = self.path()?;
                self.expect("}")?;
                let body = self.nodes(depth + 1)?;
                nodes.push(Node::Range(path, body));
                continue;
            }
            self.inside(&mut nodes)?;
        }
        if depth > 0 { Err("{range …} without {end}".to_owned()) } else { Ok(nodes) }
    }

    /// A word that ends there.
    fn word(&mut self, word: &str) -> bool {
        let before = self.at;
        if self.takes(word) && self.peek().is_none_or(|next| !next.is_alphanumeric()) {
            return true;
        }
        self.at = before;
        false
    }

    /// Texts in quotes and paths, up to the brace.
    fn inside(&mut self, nodes: &mut Vec<Node>) -> Result<(), String> {
        loop {
            self.spaces();
            match self.peek() {
                None => return Err("a { without its }".to_owned()),
                Some('}') => {
                    self.at += 1;
                    return Ok(());
                }
                Some('"' | '\'') => nodes.push(Node::Text(self.quoted()?)),
                Some(_) => nodes.push(Node::Path(self.path()?)),
            }
        }
    }

    fn path(&mut self) -> Result<Path, String> {
        let mut path = Path::default();
        let begin = self.at;
        match self.peek() {
            Some('$') => {
                path.rooted = true;
                self.at += 1;
            }
            Some('@') => self.at += 1,
            _ => {}
        }
        loop {
            if path.steps.len() > DEPTH {
                return Err("the path has too many steps".to_owned());
            }
            match self.peek() {
                Some('.') => {
                    self.at += 1;
                    if self.takes(".") {
                        path.steps.push(Step::Deep);
                        if self.peek() == Some('[') {
                            continue;
                        }
                    }
                    match self.peek() {
                        Some('*') => {
                            self.at += 1;
                            path.steps.push(Step::All);
                        }
                        // `{.}` is the value itself.
                        None | Some('}' | '[' | ')' | ' ') => {}
                        Some(_) => path.steps.push(Step::Fields(vec![self.field()?])),
                    }
                }
                Some('[') => {
                    self.at += 1;
                    let step = self.bracket()?;
                    path.steps.push(step);
                }
                // kubectl takes a first field without its point.
                Some(letter) if self.at == begin && is_of_field(letter) => {
                    path.steps.push(Step::Fields(vec![self.field()?]));
                }
                _ if self.at == begin => return Err(self.odd("a path is missing")),
                _ => return Ok(path),
            }
        }
    }

    /// A name; a backslash takes the meaning from the letter behind it, as in `.annotations.vkube\.io/x`.
    fn field(&mut self) -> Result<String, String> {
        let mut name = String::new();
        while let Some(letter) = self.peek() {
            if letter == '\\' {
                self.at += 1;
                name.push(self.peek().ok_or_else(|| self.odd("a letter is missing"))?);
            } else if is_of_field(letter) {
                name.push(letter);
            } else {
                break;
            }
            self.at += 1;
        }
        if name.is_empty() { Err(self.odd("a name is missing")) } else { Ok(name) }
    }

    fn bracket(&mut self) -> Result<Step, String> {
        self.spaces();
        match self.peek() {
            Some('*') => {
                self.at += 1;
                self.expect("]")?;
                Ok(Step::All)
            }
            Some('?') => {
                self.at += 1;
                self.expect("(")?;
                let filter = self.filter()?;
                self.expect(")")?;
                self.expect("]")?;
                Ok(Step::Filter(filter))
            }
            Some('"' | '\'') => {
                let mut names = vec![self.quoted()?];
                while self.comma() {
                    names.push(self.quoted()?);
                }
                self.expect("]")?;
                Ok(Step::Fields(names))
            }
            _ => self.numbers(),
        }
    }

    fn comma(&mut self) -> bool {
        self.spaces();
        let found = self.takes(",");
        self.spaces();
        found
    }

    fn numbers(&mut self) -> Result<Step, String> {
        let first = self.number()?;
        self.spaces();
        if self.takes(":") {
            let to = self.number()?;
            let step = if self.takes(":") { self.number()?.unwrap_or(1) } else { 1 };
            if step < 1 {
                return Err(self.odd("the step of a slice must be 1 or more"));
            }
            self.expect("]")?;
            return Ok(Step::Slice(first, to, step));
        }
        let mut all = vec![first.ok_or_else(|| self.odd("a number is missing"))?];
        while self.comma() {
            all.push(self.number()?.ok_or_else(|| self.odd("a number is missing"))?);
        }
        self.expect("]")?;
        Ok(Step::Indices(all))
    }

    fn number(&mut self) -> Result<Option<i64>, String> {
        self.spaces();
        let text: String =
            self.letters[self.at..].iter().take_while(|one| one.is_ascii_digit() || **one == '-').collect();
        self.at += text.len();
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| format!("{text:?} is no number"))
    }

    fn filter(&mut self) -> Result<Filter, String> {
        self.spaces();
        let left = self.path()?;
        self.spaces();
        let operators = [
            ("==", Operator::Equal),
            ("!=", Operator::Unequal),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let Some((_, operator)) = operators.into_iter().find(|(text, _)| self.takes(text)) else {
            return Ok(Filter { left, compared: None });
        };
        self.spaces();
        let operand = match self.peek() {
            Some('"' | '\'') => Operand::Literal(Value::String(self.quoted()?)),
            Some('@' | '$' | '.') => Operand::Path(self.path()?),
            _ => {
                let end = |one: &&char| !(one.is_whitespace() || **one == ')');
                let word: String = self.letters[self.at..].iter().take_while(end).collect();
                self.at += word.chars().count();
                Operand::Literal(
                    serde_json::from_str(&word)
                        .map_err(|_| format!("{word:?} is neither a number, nor true or false, nor in quotes"))?,
                )
            }
        };
        Ok(Filter { left, compared: Some((operator, operand)) })
    }

    fn quoted(&mut self) -> Result<String, String> {
        let quote =
            self.peek().filter(|one| ['"', '\''].contains(one)).ok_or_else(|| self.odd("a quote is missing"))?;
        self.at += 1;
        let mut text = String::new();
        loop {
            let letter = self.peek().ok_or_else(|| format!("a {quote} without its end"))?;
            self.at += 1;
            match letter {
                one if one == quote => return Ok(text),
                '\\' => {
                    let escaped = self.peek().ok_or_else(|| format!("a {quote} without its end"))?;
                    self.at += 1;
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        other => other,
                    });
                }
                other => text.push(other),
            }
        }
    }
}

fn is_of_field(letter: char) -> bool {
    letter.is_alphanumeric() || ['-', '_', '/'].contains(&letter)
}

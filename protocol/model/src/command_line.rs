//! RouterOS command lines: `cmd` and `entrypoint` are one string, split on white space, with double quotes for grouping.

/// A word that the splitting rule cannot give back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} cannot be expressed in a RouterOS command line ({why})")]
pub struct CannotExpress {
    /// The word.
    pub word: String,
    /// Why.
    pub why: &'static str,
}

/// One string that `split` gives back as the same words.
pub fn join(words: &[String]) -> Result<String, CannotExpress> {
    let mut line = String::new();
    for word in words {
        let refuse = |why| Err(CannotExpress { word: word.clone(), why });
        if word.contains('"') {
            return refuse("it contains a double quote");
        }
        if word.chars().any(|c| c.is_control() && c != '\t') {
            return refuse("it contains a line break or another control character");
        }
        if !line.is_empty() {
            line.push(' ');
        }
        if word.is_empty() || word.contains(char::is_whitespace) {
            line.push('"');
            line.push_str(word);
            line.push('"');
        } else {
            line.push_str(word);
        }
    }
    Ok(line)
}

/// The words of a command line. A quote that is never closed reaches to the end.
pub fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_group_words_with_blanks() {
        assert_eq!(split(r#"nats-server -js  --x "a b" "" c"d e""#), ["nats-server", "-js", "--x", "a b", "", "cd e"]);
        assert!(join(&["say \"hi\"".to_owned()]).is_err());
        assert!(join(&["two\nlines".to_owned()]).is_err());
    }

    proptest! {
        #[test]
        fn what_can_be_joined_splits_into_the_same_words(words in prop::collection::vec("[ -~äé\t]{0,12}", 0..6)) {
            if let Ok(line) = join(&words) {
                prop_assert_eq!(split(&line), words);
            }
        }
    }
}

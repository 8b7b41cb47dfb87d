//! `-o custom-columns=NAME:.metadata.name,…`: a table of what paths find in each object. Pure.

use serde_json::Value;

use super::columns::Columns;
use super::jsonpath::Template;

/// What stands where a path finds nothing.
const NOTHING: &str = "<none>";

/// Headings, and the path of each column.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomColumns(Vec<(String, Template)>);

impl CustomColumns {
    /// Reads `HEADING:PATH,…`.
    ///
    /// # Errors
    /// What cannot be understood, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let column = |part: &str| {
            let (heading, path) = part
                .split_once(':')
                .filter(|(heading, path)| !heading.is_empty() && !path.is_empty())
                .ok_or_else(|| format!("{part:?} is not HEADING:PATH, such as NAME:.metadata.name"))?;
            // kubectl does without the point at the beginning.
            let bare = !path.starts_with(['.', '{', '$', '[']);
            let path = if bare { format!(".{path}") } else { path.to_owned() };
            Ok((heading.to_owned(), Template::parse(&path)?))
        };
        text.split(',').map(column).collect::<Result<_, String>>().map(Self)
    }

    /// The lines of an object, or of each object of a list, below the headings.
    pub fn render(&self, value: &Value) -> String {
        let rows: Vec<Vec<String>> = match value["items"].as_array() {
            Some(items) => items.iter().map(|item| self.row(item)).collect(),
            None => vec![self.row(value)],
        };
        Columns::new(self.0.iter().map(|(heading, _)| heading.as_str()), false).whole(&rows) + "\n"
    }

    fn row(&self, object: &Value) -> Vec<String> {
        let cell = |(_, template): &(String, Template)| {
            let found = template.found(object);
            if found.is_empty() { NOTHING.to_owned() } else { found.join(",") }
        };
        self.0.iter().map(cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_object_is_a_line_and_what_is_not_there_is_none() {
        let columns = CustomColumns::parse("NAME:.metadata.name,IMAGES:spec.containers[*].image,IP:{.status.podIP}");
        let pod = |name: &str, images: &[&str]| {
            let containers: Vec<Value> = images.iter().map(|image| json!({"image": image})).collect();
            json!({"metadata": {"name": name}, "spec": {"containers": containers}})
        };
        let list = json!({"items": [pod("a", &["x:1", "y:2"]), pod("bbbbbb", &[])]});
        let columns = columns.expect("columns");
        assert_eq!(
            columns.render(&list),
            "NAME     IMAGES    IP\na        x:1,y:2   <none>\nbbbbbb   <none>    <none>\n"
        );
        assert_eq!(columns.render(&list["items"][1]), "NAME     IMAGES   IP\nbbbbbb   <none>   <none>\n");
        for bad in ["NAME", "NAME:", ":.a", "A:.b,", "A:.b["] {
            assert!(CustomColumns::parse(bad).is_err(), "{bad}");
        }
    }
}

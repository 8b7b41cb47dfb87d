//! On which node an object is at home: whose controller acts on it, where controllers of several devices share a store.

use serde_json::{Value, json};

use super::at;
use crate::metadata;

/// Names the node of an object that says it nowhere else.
pub const NODE_ANNOTATION: &str = "vkube.io/node";

/// Where an object of a kind says on which node it is at home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// It is everybody's.
    Everywhere,
    /// `spec.nodeName`.
    Spec,
    /// [`NODE_ANNOTATION`], which is written only where controllers share a store.
    Annotation,
}

impl Home {
    /// The node an object names; none: it names none, or is everybody's.
    pub fn of(self, object: &Value) -> Option<&str> {
        let named = match self {
            Self::Everywhere => None,
            Self::Spec => Some(at(object, "/spec/nodeName")),
            Self::Annotation => metadata::annotation(object, NODE_ANNOTATION),
        };
        named.filter(|node| !node.is_empty())
    }

    /// Whether the controller of a node acts on an object. Nobody does on one that has no node yet.
    pub fn is_at(self, object: &Value, node: &str) -> bool {
        self == Self::Everywhere || self.of(object) == Some(node)
    }

    /// Gives an object without a node this one.
    pub fn settle(self, object: &mut Value, node: &str) {
        if self.of(object).is_some() {
            return;
        }
        match self {
            Self::Everywhere => {}
            Self::Spec if object["spec"].is_object() => object["spec"]["nodeName"] = json!(node),
            Self::Spec => {}
            Self::Annotation => {
                let annotations = metadata::of_mut(object).entry("annotations").or_insert_with(|| json!({}));
                if !annotations.is_object() {
                    *annotations = json!({});
                }
                annotations[NODE_ANNOTATION] = json!(node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_stays_where_it_is_and_one_without_a_node_is_nobodys_until_it_gets_one() {
        let mut pod = json!({"spec": {}});
        assert!(!Home::Spec.is_at(&pod, "a"));
        Home::Spec.settle(&mut pod, "a");
        Home::Spec.settle(&mut pod, "b");
        assert!(Home::Spec.is_at(&pod, "a") && !Home::Spec.is_at(&pod, "b"));
        for metadata in [json!({}), json!({"annotations": null}), json!({"annotations": {"x": "y"}})] {
            let mut deployment = json!({"metadata": metadata});
            assert!(!Home::Annotation.is_at(&deployment, "a"));
            Home::Annotation.settle(&mut deployment, "a");
            Home::Annotation.settle(&mut deployment, "b");
            assert_eq!(Home::Annotation.of(&deployment), Some("a"));
        }
        let mut map = json!({"metadata": {}});
        Home::Everywhere.settle(&mut map, "a");
        assert_eq!(map, json!({"metadata": {}}));
        assert!(Home::Everywhere.is_at(&map, "a"));
    }
}

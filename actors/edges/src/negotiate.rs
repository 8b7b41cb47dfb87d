//! `Accept`: which form of an object a client wants first among those we have.

/// Forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The object or list.
    Plain,
    /// A table.
    Table,
    /// Metadata only.
    Partial,
    /// Aggregated discovery.
    Discovery,
    /// Nothing we have.
    None,
}

/// The first alternative of an `Accept` header that we have.
pub fn form(accept: Option<&str>) -> Form {
    let Some(accept) = accept.map(str::trim).filter(|accept| !accept.is_empty()) else { return Form::Plain };
    for alternative in accept.split(',') {
        let mut parts = alternative.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter =
            |name: &str| parameters.iter().find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim());
        let json = matches!(media.as_str(), "application/json" | "*/*" | "application/*");
        match (parameter("as"), parameter("v"), parameter("g")) {
            // Whoever asks for protobuf takes JSON labelled as such.
            (None, ..) if json || media == "application/vnd.kubernetes.protobuf" => return Form::Plain,
            (Some("Table"), Some("v1"), Some("meta.k8s.io")) if json => return Form::Table,
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1"), Some("meta.k8s.io")) if json => {
                return Form::Partial;
            }
            (Some("APIGroupDiscoveryList"), Some("v2"), Some("apidiscovery.k8s.io")) if json => return Form::Discovery,
            _ => {}
        }
    }
    Form::None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_we_have_is_chosen() {
        for (accept, expected) in [
            (None, Form::Plain),
            (Some("application/json"), Form::Plain),
            (Some("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), Form::Table),
            (Some("application/json; g=meta.k8s.io; v=v1; as=Table"), Form::Table),
            (Some("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"), Form::Plain),
            (Some("application/vnd.kubernetes.protobuf,application/json"), Form::Plain),
            (
                Some("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"),
                Form::Discovery,
            ),
            (Some("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"), Form::Partial),
            (Some("text/html"), Form::None),
            (Some("application/yaml"), Form::None),
            (Some("application/json;stream=watch"), Form::Plain),
            (Some("text/html, */*;q=0.1"), Form::Plain),
        ] {
            assert_eq!(form(accept), expected, "{accept:?}");
        }
    }
}

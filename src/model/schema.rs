//! The JSON Schema (2020-12) of the configuration, for editors.
//!
//! It is generated from the types of this module and their doc comments, so that it cannot
//! disagree with them. [`super::shape`] reads the same schema to say what is wrong with a file.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value;

use super::Config;

/// The schema as JSON. It names its dialect and carries no `$id`, so that a copy of it may lie
/// anywhere.
#[must_use]
pub fn json_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(Unwrap);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>();
    schema.insert("title".to_owned(), "Tidegate configuration".into());
    schema.to_value()
}

/// Joins the lines of descriptions. A doc comment breaks its lines for whoever reads the source;
/// an editor shows them at its own width. Paragraphs stay apart.
#[derive(Clone, Debug)]
struct Unwrap;

impl Transform for Unwrap {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::String(text)) = schema.get_mut("description") {
            let paragraphs: Vec<_> =
                text.split("\n\n").map(|lines| lines.replace('\n', " ")).collect();
            *text = paragraphs.join("\n\n");
        }
        transform_subschemas(self, schema);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property<'a>(schema: &'a Value, of: &str, name: &str) -> &'a Value {
        &schema["$defs"][of]["properties"][name]
    }

    #[test]
    fn the_schema_names_its_dialect_and_no_place() {
        let schema = json_schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["title"], "Tidegate configuration");
        assert_eq!(schema["additionalProperties"], false);
        assert!(!schema.to_string().contains("\"$id\""));
    }

    #[test]
    fn limits_of_routes_are_in_the_schema() {
        let schema = json_schema();
        assert_eq!(property(&schema, "Route", "name")["pattern"], "^[a-z0-9-]+$");
        assert_eq!(property(&schema, "Policies", "timeoutMs")["maximum"], 30_000);
        assert_eq!(property(&schema, "Policies", "retries")["maximum"], 2);
        let words = schema["$defs"]["RetryOn"]["enum"].as_array().unwrap();
        assert!(words.contains(&503.into()) && words.contains(&"timeout-connect".into()));
    }

    #[test]
    fn doc_comments_become_descriptions_without_line_breaks() {
        let schema = json_schema();
        assert_eq!(
            property(&schema, "Policies", "forwardCredentials")["description"],
            "Whether `Authorization`, `Cookie` and API keys reach the service. Not by default on \
             routes that authenticate; always on routes that do not."
        );
        assert!(property(&schema, "Redis", "url")["description"].is_string());
    }
}

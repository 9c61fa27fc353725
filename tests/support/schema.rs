//! An OpenAPI document, and what it says of answers: as much of JSON Schema as is in it; what isn't known here fails.

use serde_json::{Map, Value};

/// An OpenAPI 3.1 document.
pub struct Description(Value);

#[allow(dead_code, reason = "each test target uses a part")]
impl Description {
    pub fn of(json: &str) -> Self {
        let document: Value = serde_json::from_str(json).expect("JSON");
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")), "{}", document["openapi"]);
        Self(document)
    }

    /// Every method and path.
    pub fn operations(&self) -> Vec<(String, String)> {
        let paths = self.0["paths"].as_object().expect("paths").iter();
        paths
            .flat_map(|(path, methods)| methods.as_object().expect("methods").keys().map(|method| (method.to_uppercase(), path.clone())))
            .collect()
    }

    /// Holds an answer against what is said of it.
    pub fn check(&self, method: &str, path: &str, status: u16, kind: &str, body: &str) {
        let path = path.split('?').next().unwrap_or_default();
        let fits = |template: &str| {
            let (parts, of): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), template.split('/').collect());
            parts.len() == of.len() && parts.iter().zip(of).all(|(part, of)| *part == of || (of.starts_with('{') && !part.is_empty()))
        };
        let paths = self.0["paths"].as_object().expect("paths");
        let (_, methods) = paths.iter().find(|(template, _)| fits(template)).unwrap_or_else(|| panic!("{path} is not described"));
        let response = &methods[&method.to_lowercase()]["responses"][&status.to_string()];
        assert!(response.is_object(), "{method} {path} may not answer {status}: {body}");
        match response.get("content").and_then(|content| content.get(kind)) {
            None => {
                assert!(body.is_empty() && response.get("content").is_none(), "{method} {path}, {status}: {kind} is not described: {body}")
            }
            Some(content) => {
                let value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {body}"));
                self.validate(&content["schema"], &value).unwrap_or_else(|wrong| panic!("{method} {path}, {status}: {wrong} in {body}"));
            }
        }
    }

    /// Holds a value against a schema of the document's.
    pub fn check_schema(&self, name: &str, value: &Value) {
        let wrong = self.validate(&self.0["components"]["schemas"][name], value);
        wrong.unwrap_or_else(|wrong| panic!("{wrong} in {value}"));
    }

    fn validate(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = schema.as_object().ok_or_else(|| format!("no schema: {schema}"))?;
        for (keyword, rule) in schema {
            let holds = match keyword.as_str() {
                "$ref" => {
                    let name = rule.as_str().and_then(|reference| reference.strip_prefix("#/components/schemas/")).expect("a reference");
                    self.validate(&self.0["components"]["schemas"][name], value)?;
                    true
                }
                "type" => self.types(rule).iter().any(|kind| is_a(value, kind)),
                "enum" => rule.as_array().expect("values").contains(value),
                "minimum" => value.as_f64() >= rule.as_f64(),
                "maximum" => value.as_f64() <= rule.as_f64(),
                "items" => match value.as_array() {
                    Some(items) => items.iter().try_for_each(|item| self.validate(rule, item)).map(|()| true)?,
                    None => true,
                },
                "required" => rule.as_array().expect("names").iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
                "properties" => {
                    let properties = rule.as_object().expect("properties");
                    let present = |(name, rule): (&String, &Value)| value.get(name).map_or(Ok(()), |value| self.validate(rule, value));
                    properties.iter().try_for_each(present)?;
                    // Where nothing else may add to them there is nothing beside them.
                    schema.contains_key("allOf") || self.is_part(value, properties)
                }
                "oneOf" => rule.as_array().expect("schemas").iter().filter(|one| self.validate(one, value).is_ok()).count() == 1,
                "allOf" => rule.as_array().expect("schemas").iter().try_for_each(|one| self.validate(one, value)).map(|()| true)?,
                "description" | "format" | "title" | "deprecated" => true,
                other => return Err(format!("{other} is not known here")),
            };
            if !holds {
                return Err(format!("{keyword}: {rule} does not hold for {value}"));
            }
        }
        Ok(())
    }

    /// Whether a value has no member that isn't described; a flattened one has those of several schemas.
    fn is_part(&self, value: &Value, properties: &Map<String, Value>) -> bool {
        let is_flattened = properties.contains_key("kind") || properties.contains_key("room") && value.get("kind").is_some();
        is_flattened || value.as_object().is_none_or(|object| object.keys().all(|name| properties.contains_key(name)))
    }

    fn types<'a>(&self, rule: &'a Value) -> Vec<&'a str> {
        match rule {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect(),
        }
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => false,
    }
}

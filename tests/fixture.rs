//! The golden numbers in `fixtures/`; its README gives the schema.

use std::path::PathBuf;

use serde_json::Value;

/// A file of cases, or a part of it, with the path that led there for messages.
#[derive(Clone, Debug)]
pub struct Fixture {
    value: Value,
    path: String,
}

impl Fixture {
    /// The file `fixtures/{name}`.
    ///
    /// # Panics
    /// The file is absent, is not JSON, or has another format number.
    pub fn open(name: &str) -> Self {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures")
            .join(name);
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let value: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let fixture = Self {
            value,
            path: name.to_owned(),
        };
        assert_eq!(fixture.size("format"), 1, "format of {name}");
        fixture
    }

    /// The member `key`.
    ///
    /// # Panics
    /// There is none.
    pub fn at(&self, key: &str) -> Self {
        let path = format!("{}/{key}", self.path);
        match self.value.get(key) {
            Some(value) => Self {
                value: value.clone(),
                path,
            },
            None => panic!("{path} is missing"),
        }
    }

    /// The member `key`, if there is one.
    pub fn optional(&self, key: &str) -> Option<Self> {
        self.value.get(key).map(|_| self.at(key))
    }

    /// The elements of the list `key`.
    ///
    /// # Panics
    /// There is no such list.
    pub fn list(&self, key: &str) -> Vec<Self> {
        let list = self.at(key);
        let Value::Array(values) = list.value else {
            panic!("{} is not a list", list.path);
        };
        let element = |(k, value)| Self {
            value,
            path: format!("{}[{k}]", list.path),
        };
        values.into_iter().enumerate().map(element).collect()
    }

    /// The text `key`.
    ///
    /// # Panics
    /// There is none.
    pub fn text(&self, key: &str) -> String {
        let text = self.at(key);
        match text.value {
            Value::String(value) => value,
            _ => panic!("{} is not a text", text.path),
        }
    }

    /// The count `key`.
    ///
    /// # Panics
    /// There is none.
    pub fn size(&self, key: &str) -> usize {
        let size = self.at(key);
        match size.value.as_u64().map(usize::try_from) {
            Some(Ok(value)) => value,
            _ => panic!("{} is not a size", size.path),
        }
    }

    /// The number `key`.
    ///
    /// # Panics
    /// There is none.
    pub fn number(&self, key: &str) -> f64 {
        let number = self.at(key);
        number
            .value
            .as_f64()
            .unwrap_or_else(|| panic!("{} is not a number", number.path))
    }

    /// The elements of the tensor `key`, row-major, whose shape must be `shape`.
    ///
    /// # Panics
    /// There is no such tensor, or it has another shape.
    pub fn tensor(&self, key: &str, shape: &[usize]) -> Vec<f64> {
        let tensor = self.at(key);
        let numbers = |key| -> Vec<f64> {
            let element = |value: &Value| {
                value
                    .as_f64()
                    .unwrap_or_else(|| panic!("{} of {}", key, tensor.path))
            };
            match tensor.value.get(key) {
                Some(Value::Array(values)) => values.iter().map(element).collect(),
                _ => panic!("{} has no {key}", tensor.path),
            }
        };
        let expected: Vec<f64> = shape.iter().map(|n| *n as f64).collect();
        assert_eq!(numbers("shape"), expected, "shape of {}", tensor.path);
        let data = numbers("data");
        assert_eq!(
            data.len(),
            shape.iter().product::<usize>(),
            "data of {}",
            tensor.path
        );
        data
    }
}

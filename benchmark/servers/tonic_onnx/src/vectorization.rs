//! From the features of a row to the columns of the model's input, written the plain way.

use std::collections::HashMap;

use serde_json::Value;

use crate::hushar::{data_type, InputRow};

/// What a feature goes through.
enum Transform {
    Identity,
    /// `(value - low) / span` in float32.
    Scale32(f32, f32),
    /// The same in float64, then to float32.
    Scale64(f64, f64),
    /// One-hot encoding and embeddings alike: a word's columns.
    Table(HashMap<String, Vec<f32>>),
}

/// The features of a vectorization configuration, in its order.
pub struct Vectorization {
    features: Vec<(String, Transform)>,
}

impl Vectorization {
    /// Compiles a configuration. A wrong one is refused with what is wrong.
    pub fn new(configuration: &Value) -> Result<Self, String> {
        let order = configuration["feature_order"].as_array().ok_or("no feature_order")?;
        let features = order.iter().map(|name| {
            let name = name.as_str().ok_or("a feature's name is no string")?;
            let parameters = &configuration["feature_transformations"][name];
            Ok((name.to_owned(), transform(parameters)?))
        });
        Ok(Self { features: features.collect::<Result<_, String>>()? })
    }

    /// Appends a row's columns to `matrix`.
    pub fn row(&self, row: &InputRow, matrix: &mut Vec<f32>) -> Result<(), String> {
        for (name, transform) in &self.features {
            let value = row.features.get(name).and_then(|feature| feature.data_type.as_ref());
            let value = value.ok_or_else(|| format!("feature '{name}' is missing"))?;
            columns(transform, value, matrix).ok_or_else(|| format!("feature '{name}' has a bad value"))?;
        }
        Ok(())
    }
}

fn transform(parameters: &Value) -> Result<Transform, String> {
    let number = |name: &str| parameters[name].as_f64().ok_or(format!("{name} is no number"));
    let kind = parameters["type"].as_str().ok_or("no type")?;
    Ok(match kind {
        "identity" => Transform::Identity,
        "min_max_scaling32" => {
            let (low, high) = (number("min")? as f32, number("max")? as f32);
            Transform::Scale32(low, high - low)
        }
        "min_max_scaling64" => Transform::Scale64(number("min")?, number("max")? - number("min")?),
        "standardization32" => Transform::Scale32(number("mean")? as f32, number("std_dev")? as f32),
        "standardization64" => Transform::Scale64(number("mean")?, number("std_dev")?),
        "one_hot_encoding" => {
            let categories = parameters["categories"].as_array().ok_or("no categories")?;
            let rows = categories.iter().enumerate().map(|(place, category)| {
                let mut row = vec![0.0; categories.len()];
                row[place] = 1.0;
                (category.as_str().unwrap_or_default().to_owned(), row)
            });
            Transform::Table(rows.collect())
        }
        "embedding" => {
            let words = parameters["embeddings"].as_object().ok_or("no embeddings")?;
            let rows = words.iter().map(|(word, vector)| {
                let numbers = vector.as_array().map(Vec::as_slice).unwrap_or_default();
                (word.clone(), numbers.iter().filter_map(Value::as_f64).map(|each| each as f32).collect())
            });
            Transform::Table(rows.collect())
        }
        other => return Err(format!("unknown type {other}")),
    })
}

/// Appends the columns of one value; None for a kind or word that the transformation does not know.
fn columns(transform: &Transform, value: &data_type::DataType, matrix: &mut Vec<f32>) -> Option<()> {
    use data_type::DataType as Kind;
    match (transform, value) {
        (Transform::Table(table), Kind::StringValue(word)) => matrix.extend_from_slice(table.get(word)?),
        (Transform::Table(table), Kind::StringArray(words)) => {
            for word in &words.values {
                matrix.extend_from_slice(table.get(word)?);
            }
        }
        (Transform::Identity, Kind::StringValue(text)) => matrix.push(text.parse().ok()?),
        (Transform::Identity, Kind::StringArray(texts)) => {
            for text in &texts.values {
                matrix.push(text.parse().ok()?);
            }
        }
        (_, Kind::FloatValue(number)) => matrix.push(scaled32(transform, *number)?),
        (_, Kind::IntegerValue(number)) => matrix.push(scaled32(transform, *number as f32)?),
        (_, Kind::DoubleValue(number)) => matrix.push(scaled64(transform, *number)?),
        (_, Kind::LongValue(number)) => matrix.push(scaled64(transform, *number as f64)?),
        (_, Kind::FloatArray(array)) => {
            for number in &array.values {
                matrix.push(scaled32(transform, *number)?);
            }
        }
        (_, Kind::IntegerArray(array)) => {
            for number in &array.values {
                matrix.push(scaled32(transform, *number as f32)?);
            }
        }
        (_, Kind::DoubleArray(array)) => {
            for number in &array.values {
                matrix.push(scaled64(transform, *number)?);
            }
        }
        (_, Kind::LongArray(array)) => {
            for number in &array.values {
                matrix.push(scaled64(transform, *number as f64)?);
            }
        }
        _ => return None,
    }
    Some(())
}

fn scaled32(transform: &Transform, number: f32) -> Option<f32> {
    match transform {
        Transform::Identity => Some(number),
        Transform::Scale32(low, span) => Some((number - low) / span),
        _ => None,
    }
}

fn scaled64(transform: &Transform, number: f64) -> Option<f32> {
    match transform {
        Transform::Identity => Some(number as f32),
        Transform::Scale64(low, span) => Some(((number - low) / span) as f32),
        _ => None,
    }
}

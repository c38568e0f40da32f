//! Answers for people: lists as columns, things as lines.

use serde_json::Value;

/// Prints an answer.
pub fn show(value: &Value, json: bool) {
    if json {
        println!("{value:#}");
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Array(rows) if rows.iter().all(Value::is_object) && !rows.is_empty() => {
                        println!("{key}:");
                        table(rows);
                    }
                    value => println!("{key:<12} {}", text(value)),
                }
            }
        }
        Value::Array(rows) => table(rows),
        value => println!("{}", text(value)),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(map) => {
            let parts = map.iter().filter(|(_, value)| !matches!(value, Value::Array(items) if items.is_empty()));
            parts.map(|(key, value)| format!("{key}={}", text(value))).collect::<Vec<_>>().join(" ")
        }
        value => value.to_string(),
    }
}

fn table(rows: &[Value]) {
    let mut columns: Vec<&String> = Vec::new();
    for row in rows.iter().filter_map(Value::as_object) {
        row.keys().for_each(|key| {
            if !columns.contains(&key) {
                columns.push(key);
            }
        });
    }
    let cell = |row: &Value, column: &str| row.get(column).map_or_else(|| "-".to_owned(), text);
    let width = |column: &str| {
        let cells = rows.iter().map(|row| cell(row, column).chars().count());
        cells.chain([column.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().map(|column| width(column)).collect();
    let line = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(columns.iter().map(|column| column.to_uppercase()).collect());
    rows.iter().for_each(|row| line(columns.iter().map(|column| cell(row, column)).collect()));
}

//! Answers for people: lists as columns, things as lines.

use std::io::Write;

use serde_json::Value;

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints an answer.
pub fn show(value: &Value, json: bool) {
    let text = if json { format!("{value:#}\n") } else { words(value) };
    print(&text);
}

fn words(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Array(rows) if rows.iter().all(Value::is_object) && !rows.is_empty() => {
                        out += &format!("{key}:\n");
                        out += &table(rows);
                    }
                    value => out += &format!("{key:<12} {}\n", text(value)),
                }
            }
        }
        Value::Array(rows) => out += &table(rows),
        value => out += &format!("{}\n", text(value)),
    }
    out
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

fn table(rows: &[Value]) -> String {
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
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut out = line(columns.iter().map(|column| column.to_uppercase()).collect());
    rows.iter().for_each(|row| out += &line(columns.iter().map(|column| cell(row, column)).collect()));
    out
}

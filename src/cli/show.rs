//! Answers for people: lists as columns, things as lines. What somebody wrote stays in its place there: it ends no line, moves no
//! cursor and turns no text around.

use std::io::Write;

use serde_json::Value;
use strongroom_domain::is_hidden;

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints an answer.
pub fn show(value: &Value, json: bool) {
    let text = if json { format!("{}\n", json_text(&format!("{value:#}"))) } else { words(value) };
    print(&text);
}

/// Whether a terminal, or who looks at it, takes a character for something else than a sign of the text.
fn is_odd(c: char) -> bool {
    // Not all that may be in a path is seen: soft hyphens, the Arabic letter mark, the tags that only programs read.
    is_hidden(c) || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{e0000}'..='\u{e007f}')
}

/// A text on one line, in which what is not seen is spelled out.
pub fn inert(text: &str) -> String {
    text.chars().map(|c| if is_odd(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// The same of a text that may have lines of its own.
pub fn inert_lines(text: &str) -> String {
    text.lines().map(inert).collect::<Vec<_>>().join("\n")
}

/// JSON with the same values, of which nothing does anything to a terminal, and of whose strings nobody takes a part for a line.
pub fn json_text(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings a line ends as it always does; inside of them serde_json spells that out.
        if c == '\n' || !is_odd(c) {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text += &format!("\\u{unit:04x}"));
        }
    }
    text
}

fn words(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::Array(rows) if rows.iter().all(Value::is_object) && !rows.is_empty() => {
                        out += &format!("{}:\n", inert(key));
                        out += &table(rows);
                    }
                    value => out += &format!("{:<12} {}\n", inert(key), text(value)),
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
        Value::String(text) => inert(text),
        Value::Null => "-".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(map) => {
            let parts = map.iter().filter(|(_, value)| !matches!(value, Value::Array(items) if items.is_empty()));
            parts.map(|(key, value)| format!("{}={}", inert(key), text(value))).collect::<Vec<_>>().join(" ")
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
    let mut out = line(columns.iter().map(|column| inert(&column.to_uppercase())).collect());
    rows.iter().for_each(|row| out += &line(columns.iter().map(|column| cell(row, column)).collect()));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOSTILE: &str =
        "a\r\n\u{1b}[2J\u{7f}\u{85}\u{9b}31m\u{61c}\u{200b}\u{2028}\u{2029}\u{202e}\u{2066}\u{e0041}é";

    #[test]
    fn what_somebody_wrote_stays_in_its_place() {
        let shown =
            json!({HOSTILE: HOSTILE, "one": {HOSTILE: [HOSTILE]}, "rows": [{HOSTILE: HOSTILE}, {HOSTILE: HOSTILE}]});
        let text = words(&shown);
        // Two things, the list's name, its heading and its two rows.
        assert_eq!(text.split('\n').count(), 2 + 1 + 1 + 2 + 1);
        assert!(!text.chars().any(|c| c != '\n' && is_odd(c)), "{text:?}");
        assert!(text.contains("a\\r\\n\\u{1b}[2J\\u{7f}\\u{85}") && text.contains("\\u{e0041}é"));
        assert_eq!(inert_lines("a\r\nb\u{1b}\n"), "a\nb\\u{1b}");
    }

    #[test]
    fn json_keeps_its_values() {
        let value = json!({HOSTILE: [HOSTILE, "\u{e0041}"], "é中": "\"\\\u{10348}"});
        let (pretty, short) = (json_text(&format!("{value:#}")), json_text(&value.to_string()));
        for text in [&pretty, &short] {
            assert!(!text.chars().any(|c| c != '\n' && is_odd(c)), "{text:?}");
            assert_eq!(serde_json::from_str::<Value>(text).unwrap(), value);
        }
        assert_eq!(short.lines().count(), 1);
    }
}

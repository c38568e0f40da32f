//! RFC 5424: one line a record. The message is the record as JSON, in which no line ends and no control character stands.

use serde_json::Value;

use super::one_line;

/// Facility 13, log audit.
const FACILITY: u8 = 13;
/// Severity 1: somebody has to look at once.
const ALERT: u8 = 1;

/// One line.
pub fn line(record: &Value, origin: &str) -> String {
    let refused = matches!(record["outcome"].as_str(), Some("denied" | "malformed"));
    let severity = if refused { 4 } else { 6 };
    let text = |key: &str| record[key].as_str().unwrap_or_default();
    let elements =
        [("log", origin.to_owned()), ("record", record["record"].to_string()), ("outcome", text("outcome").to_owned())];
    // 32473 is the number that RFC 5612 keeps for examples: there is none of our own.
    let elements: String = elements.iter().map(|(name, value)| format!(" {name}=\"{}\"", value_text(value))).collect();
    format!(
        "<{}>1 {} - strongroom - {} [strongroom@32473{elements}] {}",
        FACILITY * 8 + severity,
        text("time"),
        word(text("action")),
        one_line(record)
    )
}

/// One line of an alert.
pub fn alert_line(alert: &Value) -> String {
    let text = |key: &str| alert[key].as_str().unwrap_or_default();
    let elements: String = [("id", text("id")), ("alert", text("alert"))]
        .iter()
        .map(|(name, value)| format!(" {name}=\"{}\"", value_text(value)))
        .collect();
    format!(
        "<{}>1 {} - strongroom - alert.{} [strongroom@32473{elements}] {}",
        FACILITY * 8 + ALERT,
        text("time"),
        word(text("alert")),
        one_line(alert)
    )
}

/// A MSGID: 1 to 32 printable characters of ASCII.
fn word(action: &str) -> String {
    let word: String = action.chars().filter(char::is_ascii_graphic).take(32).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

/// A PARAM-VALUE: `"`, `\` and `]` are escaped.
fn value_text(text: &str) -> String {
    let mut value = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\' | ']') {
            value.push('\\');
        }
        value.push(c);
    }
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hostile_text_stays_inside_its_place() {
        let record = json!({
            "action": "repo.read\n<0>1 - -", "outcome": "x\" ]\\\n", "time": "2026-11-24T12:00:00.000Z", "record": 7,
            "path": "a\r\n\u{1b}[31m\u{85}\u{2028}\"}]",
        });
        let line = line(&record, "strong]room");
        assert!(!line.chars().any(char::is_control) && line.lines().count() == 1);
        assert!(line.starts_with("<110>1 2026-11-24T12:00:00.000Z - strongroom - repo.read<0>1-- [strongroom@32473 "));
        assert!(line.contains(r#"log="strong\]room" record="7" outcome="x\" \]\\"] {"#));
        let body: Value = serde_json::from_str(&line[line.find("] {").unwrap() + 2..]).unwrap();
        assert_eq!(body, record);
    }
}

//! Cards: the YAML metadata at the head of a `README.md`, and what clients read of it.
//! (huggingface.co/docs/hub/model-cards#model-card-metadata)

use serde_json::{Map, Value};
use strongroom_protocol::RepoGrant;
use strongroom_storage::View;

use crate::refused::Refused;

/// Bytes of metadata that are kept: they lie in a sealed node of the directory, which every listing of it reads.
const FACTS_BYTES_MAX: usize = 16 * 1024;

/// The metadata of a card: what stands between its first two lines of three dashes. `None` where there is none.
///
/// # Errors
/// Why it is no metadata.
pub fn metadata(content: &str) -> Result<Option<Value>, String> {
    let content = content.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let Some(rest) = content.strip_prefix("---\n") else { return Ok(None) };
    let whole = format!("\n{rest}\n");
    let end = whole.find("\n---\n").ok_or("the metadata block is not closed by a line of three dashes")?;
    let yaml = &whole[..end];
    if yaml.trim().is_empty() {
        return Ok(None);
    }
    let value: Value = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
    match value {
        Value::Object(_) => Ok(Some(value)),
        _ => Err("the metadata is a mapping of names to values".to_owned()),
    }
}

/// What is kept of a card when it comes: its metadata.
pub fn facts(content: &str) -> Option<String> {
    let card = metadata(content).ok()??;
    Some(card.to_string()).filter(|text| text.len() <= FACTS_BYTES_MAX)
}

/// The card of a commit, for who may read its compartment. What it says is content of a file: a sealed share shows none of it.
///
/// # Errors
/// Whatever the catalogue says.
pub async fn of(repo: RepoGrant<'_>, view: &View<'_>) -> Result<Option<Value>, Refused> {
    if repo.parts().share.as_ref().is_some_and(|shared| shared.sealed) {
        return Ok(None);
    }
    let file = view.file(&"README.md".parse()?).await?;
    let facts = file.and_then(|(_, file)| file.facts);
    Ok(facts.and_then(|text| serde_json::from_str(&text).ok()))
}

/// One text or a list of them.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// Adds what a card says to a repository's description: `cardData`, `tags`, and the fields that stand beside them.
pub fn describe(card: Value, shown: &mut Value) {
    let Value::Object(map) = &card else { return };
    let mut tags = texts(map.get("tags"));
    let mut add = |prefix: &str, name: &str, map: &Map<String, Value>| {
        tags.extend(texts(map.get(name)).into_iter().map(|text| format!("{prefix}{text}")));
    };
    for (prefix, name) in [
        ("", "library_name"),
        ("", "pipeline_tag"),
        ("", "language"),
        ("language:", "language"),
        ("license:", "license"),
        ("dataset:", "datasets"),
        ("base_model:", "base_model"),
        ("task_categories:", "task_categories"),
        ("size_categories:", "size_categories"),
    ] {
        add(prefix, name, map);
    }
    tags.sort();
    tags.dedup();
    for name in ["library_name", "pipeline_tag"] {
        if let Some(text) = map.get(name).filter(|value| value.is_string()) {
            shown[name] = text.clone();
        }
    }
    if let Some(index) = map.get("model-index") {
        shown["model-index"] = index.clone();
    }
    shown["tags"] = tags.into();
    shown["cardData"] = card;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_stands_between_two_lines_of_dashes() {
        let card = metadata("---\nlicense: mit\ntags: [a, b]\n---\n# Title\n").unwrap().unwrap();
        assert_eq!(card["license"], "mit");
        assert_eq!(metadata("---\r\nlicense: mit\r\n---\r\n").unwrap().unwrap()["license"], "mit");
        assert_eq!(metadata("---\nlicense: mit\n---").unwrap().unwrap()["license"], "mit");
        for none in ["", "# Title", "---", "---\n---\n", "a\n---\nb\n---\n"] {
            assert_eq!(metadata(none), Ok(None), "{none:?}");
        }
        let bomb = "---\na: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n\
                    g: [*e,*e,*e,*e,*e,*e,*e,*e]\nh: [*e,*e,*e,*e,*e,*e,*e,*e]\n---\n";
        for bad in ["---\nlicense: mit\n", "---\n- a\n---\n", "---\na: [\n---\n", "---\ntext\n---\n", bomb] {
            assert!(metadata(bad).is_err(), "{bad:?}");
        }
    }
}

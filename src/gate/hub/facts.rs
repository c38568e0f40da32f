//! What is kept of a file, beside its entry, when it comes: enough that no later request has to open it.

use strongroom_domain::RepoPath;

use super::{card, git_rules};

/// Of a card its metadata as JSON, of `.gitattributes` and `.gitignore` their text; of anything else nothing.
pub fn of(path: &RepoPath, content: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(content).ok()?;
    match path.as_str() {
        "README.md" => card::facts(text),
        ".gitattributes" | ".gitignore" => Some(text.to_owned()).filter(|text| text.len() <= git_rules::BYTES_MAX),
        _ => None,
    }
}

//! `policies/compartments.toml`: the compartment rules as operators review them.

use serde::Deserialize;

use crate::compartment::{Compartment, CompartmentRules, RuleError};

/// Why the file is refused; the text names the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompartmentFileError {
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{0}")]
    Toml(String),
    /// A rule that cannot be.
    #[error("line {line}: {error}")]
    Rule {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        error: RuleError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rules: Vec<toml::Spanned<Rule>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    glob: String,
    compartment: String,
}

impl CompartmentRules {
    /// Reads the text of `compartments.toml`: `rules = [{ glob = "…", compartment = "…" }, …]`, in order.
    ///
    /// # Errors
    /// The first mistake, with its line. A file with a mistake gives no rules at all: half a policy is another policy.
    pub fn from_toml(text: &str) -> Result<Self, CompartmentFileError> {
        let file: File = toml::from_str(text).map_err(|error| CompartmentFileError::Toml(error.to_string()))?;
        let mut rules = Vec::with_capacity(file.rules.len());
        for rule in &file.rules {
            let line = text[..rule.span().start].matches('\n').count() + 1;
            let at_line = |error| CompartmentFileError::Rule { line, error };
            let compartment: Compartment = rule.get_ref().compartment.parse().map_err(at_line)?;
            // Checked one by one, so that the error has the line.
            Self::new([(rule.get_ref().glob.as_str(), compartment)]).map_err(at_line)?;
            rules.push((rule.get_ref().glob.as_str(), compartment));
        }
        let last = text.lines().count();
        Self::new(rules).map_err(|error| CompartmentFileError::Rule { line: last, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> CompartmentRules {
        CompartmentRules::from_toml(include_str!("../../policies/compartments.toml")).unwrap()
    }

    #[test]
    fn the_shipped_rules_sort_the_files_of_a_stock_model() {
        let cases = [
            ("README.md", Compartment::Docs),
            ("LICENSE", Compartment::Docs),
            (".gitattributes", Compartment::Config),
            ("config.json", Compartment::Config),
            ("tokenizer.json", Compartment::Config),
            ("model-00001-of-00002.safetensors", Compartment::Weights),
            ("model.safetensors.index.json", Compartment::Weights),
            ("onnx/model.onnx", Compartment::Weights),
            ("data/train-00000.parquet", Compartment::Data),
            ("modeling_llm.py", Compartment::Code),
            ("logs/train.jsonl", Compartment::Logs),
        ];
        for (path, compartment) in cases {
            assert_eq!(shipped().compartment_of(&path.parse().unwrap()), compartment, "{path}");
        }
    }

    #[test]
    fn the_shipped_rules_keep_the_unknown_and_the_disguised_in_the_strictest() {
        for path in ["dump.xyz", "Makefile", "logs/README.md", "eval/LOGS/x.png", "runs/1/config.json"] {
            assert_eq!(shipped().compartment_of(&path.parse().unwrap()), Compartment::STRICTEST, "{path}");
        }
    }

    #[test]
    fn a_mistake_in_the_file_is_refused_with_its_line() {
        let error = |text: &str| CompartmentRules::from_toml(text).unwrap_err().to_string();
        let good = "{ glob = \"*.md\", compartment = \"docs\" }";
        assert!(
            error(&format!("rules = [\n{good},\n{{ glob = \"a**\", compartment = \"docs\" }}]")).starts_with("line 3:")
        );
        assert!(error("rules = [\n\n{ glob = \"*\", compartment = \"dox\" }]").starts_with("line 3:"));
        assert!(error("rules = [\n{ glob = \"*\", compartment = \"docs\", allow = 1 }]").contains("line 2"));
        assert!(error(&format!("rules = [{good}]\nrulez = []")).contains("line 2"));
        assert!(error("").contains("rules"));
    }
}

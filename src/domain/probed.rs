//! Names of files for which stock clients ask whether they are there or not. A decoy of such a name would be touched by everybody.

/// Of a file, whatever its directory.
const NAMES: &[&str] = &[
    ".gitattributes",
    ".gitignore",
    ".huggingface.yaml",
    "README.md",
    "adapter_config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "config_sentence_transformers.json",
    "dataset_info.json",
    "dataset_infos.json",
    "feature_extractor.json",
    "generate.py",
    "generation_config.json",
    "merges.txt",
    "model_index.json",
    "modules.json",
    "open_clip_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "state.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
    "vocab.txt",
];
/// Beginnings of names of weights, each with what may follow: `.safetensors`, `.bin`, `.index.json`, a variant.
const WEIGHTS: &[&str] =
    &["model.", "pytorch_model.", "adapter_model.", "tf_model.", "flax_model.", "diffusion_pytorch_model."];

/// Whether clients ask for a path of their own accord.
pub fn is_probed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let any = |names: &[&str], fits: fn(&str, &str) -> bool| names.iter().any(|known| fits(name, known));
    let script = path.rsplit_once('/').is_none() && name.to_ascii_lowercase().ends_with(".py");
    script
        || any(NAMES, |name, known| name.eq_ignore_ascii_case(known))
        || any(WEIGHTS, |name, known| name.to_ascii_lowercase().starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_ask_for_by_themselves_is_known() {
        for path in ["config.json", "unet/config.json", "Model.safetensors", "pytorch_model.bin.index.json", "llm.py"] {
            assert!(is_probed(path), "{path}");
        }
        for path in ["secrets/prod-keys.json", "data/customers-2023.csv", "weights/final-unreleased.safetensors"] {
            assert!(!is_probed(path), "{path}");
        }
    }
}

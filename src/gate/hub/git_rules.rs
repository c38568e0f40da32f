//! What a repository's own `.gitattributes` and `.gitignore` say of a path (gitattributes(5), gitignore(5)).

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use strongroom_domain::RepoPath;

/// Bytes of such a file that are heeded.
pub const BYTES_MAX: usize = 16 * 1024;

/// What the `.gitattributes` of a new repository says: the Hub's own, shortened to what our clients use.
pub const NEW_ATTRIBUTES: &str = include_str!("gitattributes.txt");

/// Patterns of which the last that fits decides.
pub struct Rules(Gitignore);

impl Rules {
    /// From the text of a `.gitignore`. Lines that are no pattern say nothing, as in git.
    pub fn ignoring(text: &str) -> Self {
        Self::of(text.lines().map(str::to_owned))
    }

    /// From the text of a `.gitattributes`: the paths whose `filter` is `lfs`. The patterns are those of `.gitignore`,
    /// but that none is negative and that one for a directory says nothing of the files in it.
    pub fn large(text: &str) -> Self {
        Self::of(text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let pattern = words.next().filter(|pattern| !pattern.starts_with(['#', '!', '"', '[']))?;
            let filter =
                words.rfind(|word| matches!(word.trim_start_matches(['-', '!']).split('=').next(), Some("filter")))?;
            Some(if filter == "filter=lfs" { pattern.to_owned() } else { format!("!{pattern}") })
        }))
    }

    fn of(lines: impl Iterator<Item = String>) -> Self {
        let mut rules = GitignoreBuilder::new("");
        for line in lines {
            // Not a pattern: says nothing.
            let _ = rules.add_line(None, &line);
        }
        Self(rules.build().unwrap_or_else(|_| Gitignore::empty()))
    }

    /// Whether the path itself fits.
    pub fn fit(&self, path: &RepoPath) -> bool {
        self.0.matched(path.as_str(), false).is_ignore()
    }

    /// Whether the path or a directory above it fits.
    pub fn fit_below(&self, path: &RepoPath) -> bool {
        self.0.matched_path_or_any_parents(path.as_str(), false).is_ignore()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_attribute_that_fits_decides_what_is_large() {
        let rules = Rules::large(
            "# kinds\n*.bin filter=lfs diff=lfs merge=lfs -text\n/data/** filter=lfs\nsmall.bin -filter\nkept/*.bin !filter\n\
             *.md text\ndir/ filter=lfs\n",
        );
        for (name, large) in [
            ("a.bin", true),
            ("deep/er/a.bin", true),
            ("small.bin", false),
            ("kept/a.bin", false),
            ("data/x/y.txt", true),
            ("other/data/y.txt", false),
            ("a.md", false),
            ("dir/a.txt", false),
        ] {
            assert_eq!(rules.fit(&path(name)), large, "{name}");
        }
        assert!(Rules::large(NEW_ATTRIBUTES).fit(&path("model.safetensors")));
    }

    #[test]
    fn what_lies_in_an_ignored_directory_is_ignored() {
        let rules = Rules::ignoring("*.tmp\n!keep.tmp\nbuild/\n[\n");
        for (name, ignored) in
            [("a.tmp", true), ("keep.tmp", false), ("x/build/out.o", true), ("build", false), ("a.txt", false)]
        {
            assert_eq!(rules.fit_below(&path(name)), ignored, "{name}");
        }
    }
}

//! A template folder, as far as a build on this machine needs it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::stack::Problem;

/// The folder `template/<lang>` beside a stack file.
#[derive(Debug, Clone)]
pub struct Template {
    /// The folder.
    pub folder: PathBuf,
    /// Where the handler goes inside the build context.
    pub handler_folder: PathBuf,
    /// Process a watchdog would start; empty without one.
    pub fprocess: String,
    /// Which `target` folders its `.dockerignore` keeps out of the build context.
    pub ignored: IgnoredTargets,
}

/// What a template's `.dockerignore` says of folders called `target`: the only part of it that
/// matters here, for they can be huge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IgnoredTargets {
    everywhere: bool,
    except_in_src: bool,
}

impl IgnoredTargets {
    fn parse(rules: &str) -> Self {
        let has = |wanted: &str| {
            rules
                .lines()
                .any(|rule| rule.trim().trim_end_matches('/') == wanted)
        };
        Self {
            everywhere: has("**/target"),
            except_in_src: has("!**/src/**/target"),
        }
    }

    /// Whether `path`, relative to the build context, is left out.
    pub fn ignores(self, path: &Path) -> bool {
        self.everywhere
            && path.file_name().is_some_and(|name| name == "target")
            && !(self.except_in_src && path.iter().any(|part| part == "src"))
    }
}

/// The keys of `template.yml` that matter here; the others are for `faas-cli` alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateFile {
    fprocess: String,
    handler_folder: String,
}

impl Template {
    /// Reads the template that functions of language `lang` are built with.
    ///
    /// # Errors
    /// [`Problem::NoTemplate`] or [`Problem::Template`].
    pub fn load(stack_folder: &Path, lang: &str) -> Result<Self, Problem> {
        let folder = stack_folder.join("template").join(lang);
        let file = folder.join("template.yml");
        if !folder.is_dir() {
            return Err(Problem::NoTemplate(lang.to_owned()));
        }
        let refused = |reason| Problem::Template {
            file: file.clone(),
            reason,
        };
        let text = std::fs::read_to_string(&file).map_err(|error| refused(error.to_string()))?;
        let parsed: TemplateFile =
            serde_norway::from_str(&text).map_err(|error| refused(error.to_string()))?;
        let handler_folder = match parsed.handler_folder.as_str() {
            "" => "function",
            named => named,
        };
        Ok(Self {
            handler_folder: PathBuf::from(handler_folder),
            fprocess: parsed.fprocess,
            ignored: IgnoredTargets::parse(
                &std::fs::read_to_string(folder.join(".dockerignore")).unwrap_or_default(),
            ),
            folder,
        })
    }
}

/// Whether a function of this language can run here: `rust-farm`, or a pinned `rust-farm@v1.2.3`.
pub(crate) fn is_rust_farm(lang: &str) -> bool {
    lang.split('@').next() == Some("rust-farm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_targets_that_docker_would_drop_are_left_out() {
        let ignores =
            |rules: &str, path: &str| IgnoredTargets::parse(rules).ignores(Path::new(path));
        assert!(!ignores("", "function/target"));
        assert!(ignores("# x\n**/target/\n", "function/target"));
        assert!(!ignores("**/target", "function/targets"));
        assert!(ignores("**/target", "function/src/target"));
        assert!(!ignores(
            "**/target\n!**/src/**/target",
            "function/src/deep/target"
        ));
    }
}

//! The stack file: which functions there are.
//!
//! Read as `faas-cli` reads it (environment variables replaced over the whole file, unknown keys
//! not refused), but an unknown key is reported, and what cannot run here is refused with its reason.

mod check;
mod error;
mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use farm_core::gateway::{FunctionDeployment, FunctionResources, Metadata};

pub use error::{Disagreement, Problem, StackError};

use crate::program::{Program, ReadyMade};
use crate::substitution::substitute;
use crate::template::Template;

/// The language of an image that is built from a Dockerfile of its own.
const DOCKERFILE: &str = "dockerfile";

/// A stack file whose functions can run here.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The file.
    pub file: PathBuf,
    /// The folder it lies in: `template`, `build` and handlers are looked up from here.
    pub folder: PathBuf,
    /// All its functions, by name.
    pub functions: BTreeMap<String, StackFunction>,
    /// `configuration.copy`: extra paths for every build context, relative to the folder.
    pub copy: Vec<PathBuf>,
    /// What nothing reads, one line each.
    pub warnings: Vec<String>,
}

/// One function of a stack.
#[derive(Debug, Clone, Default)]
pub struct StackFunction {
    /// Its name.
    pub name: String,
    /// The folder under `template/` it is built with.
    pub lang: String,
    /// Folder of its crate, relative to the stack file.
    pub handler: PathBuf,
    /// Its image; functions with one image run one executable.
    pub image: String,
    /// Process for a watchdog; empty without one.
    pub fprocess: String,
    /// Namespace asked for; empty for the default one.
    pub namespace: String,
    /// True if another function builds its image.
    pub skip_build: bool,
    /// Whether its root filesystem is read-only on a cluster.
    pub readonly_root_filesystem: bool,
    /// Its environment; what an environment file says wins.
    pub environment: BTreeMap<String, String>,
    /// Names of the secrets it reads.
    pub secrets: Vec<String>,
    /// Placement constraints.
    pub constraints: Vec<String>,
    /// Its labels.
    pub labels: Metadata,
    /// Its annotations.
    pub annotations: Metadata,
    /// Most it may use on a cluster.
    pub limits: Option<FunctionResources>,
    /// What it needs to be placed on a cluster.
    pub requests: Option<FunctionResources>,
}

impl Stack {
    /// The stack file of `folder`: `stack.yaml`, else `stack.yml`.
    ///
    /// # Errors
    /// [`StackError::Missing`] if there is neither.
    pub fn find(folder: &Path) -> Result<PathBuf, StackError> {
        ["stack.yaml", "stack.yml"]
            .map(|name| folder.join(name))
            .into_iter()
            .find(|file| file.is_file())
            .ok_or_else(|| StackError::Missing(folder.to_owned()))
    }

    /// Reads `file` with the variables of this process.
    ///
    /// # Errors
    /// [`StackError`] names the file and what to change.
    pub fn load(file: &Path) -> Result<Self, StackError> {
        Self::load_with(file, |name| std::env::var(name).ok())
    }

    /// Reads `file` with the variables that `lookup` gives.
    ///
    /// # Errors
    /// [`StackError`] names the file and what to change.
    pub fn load_with(
        file: &Path,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, StackError> {
        let unreadable = |source| StackError::Unreadable {
            file: file.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        let absolute = std::path::absolute(file).map_err(unreadable)?;
        let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Self::parse(file, folder, &text, lookup)
    }

    /// Reads the `text` of `file`, whose folder is `folder`.
    pub(crate) fn parse(
        file: &Path,
        folder: PathBuf,
        text: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, StackError> {
        let text = substitute(text, lookup).map_err(|source| StackError::Substitution {
            file: file.to_owned(),
            source,
        })?;
        let (parsed, unknown): (file::File, _) =
            file::read(&text).map_err(|source| StackError::Yaml {
                file: file.to_owned(),
                source,
            })?;
        check::outside_functions(file, &parsed)?;

        let mut functions = BTreeMap::new();
        for (name, function) in parsed.functions {
            let function = StackFunction::read(name.clone(), function.unwrap_or_default(), &folder)
                .map_err(|problem| function_error(file, &name, problem))?;
            functions.insert(name, function);
        }
        let shown = file.display();
        Ok(Self {
            file: file.to_owned(),
            folder,
            functions,
            copy: parsed
                .configuration
                .copy
                .into_iter()
                .map(PathBuf::from)
                .collect(),
            warnings: unknown
                .iter()
                .map(|key| format!("{shown}: nothing reads the key {key}"))
                .collect(),
        })
    }

    /// The names of the functions that `patterns` choose (`*` stands for any text); all of them
    /// if there is no pattern.
    ///
    /// # Errors
    /// A pattern that matches no function.
    pub fn select(&self, patterns: &[String]) -> Result<Vec<String>, StackError> {
        let unmatched = patterns
            .iter()
            .find(|pattern| !self.functions.keys().any(|name| matches(pattern, name)));
        if let Some(pattern) = unmatched {
            let known: Vec<_> = self.functions.keys().map(String::as_str).collect();
            return Err(StackError::Unusable {
                file: self.file.clone(),
                problem: format!(
                    "no function matches {pattern:?}: it has {}",
                    known.join(", ")
                ),
            });
        }
        let chosen = |name: &&String| {
            patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name))
        };
        Ok(self.functions.keys().filter(chosen).cloned().collect())
    }

    /// Checks that the functions named can run together on this platform, where these programs
    /// stand in for images.
    ///
    /// # Errors
    /// The first thing that is wrong, with the function it is wrong with.
    pub fn check(&self, names: &[String], ready_made: &ReadyMade) -> Result<(), StackError> {
        check::functions(self, names, ready_made)
    }

    /// The program that stands in for the image of `function`: only for an image that is made
    /// elsewhere, from a Dockerfile.
    pub fn stand_in<'a>(
        &self,
        function: &StackFunction,
        ready_made: &'a ReadyMade,
    ) -> Option<&'a Program> {
        let source = self.source_of(function);
        let made_elsewhere = source.skip_build && source.lang == DOCKERFILE;
        ready_made
            .get(source.image_name())
            .filter(|_| made_elsewhere)
    }

    /// The function whose crate gives `function` its executable: another one with the same image
    /// if it has `skip_build`, else itself.
    pub fn source_of<'a>(&'a self, function: &'a StackFunction) -> &'a StackFunction {
        let builds_image =
            |other: &&StackFunction| !other.skip_build && other.image == function.image;
        match function.skip_build && !function.image.is_empty() {
            true => self
                .functions
                .values()
                .find(builds_image)
                .unwrap_or(function),
            false => function,
        }
    }

    /// The template of a function.
    ///
    /// # Errors
    /// A template that is missing or cannot be read.
    pub fn template_of(&self, function: &StackFunction) -> Result<Template, StackError> {
        Template::load(&self.folder, &function.lang)
            .map_err(|problem| function_error(&self.file, &function.name, problem))
    }
}

impl StackFunction {
    fn read(name: String, function: file::Function, folder: &Path) -> Result<Self, Problem> {
        let mut environment = function.environment;
        for file in function.environment_file {
            let file = folder.join(file);
            let refused = |reason| Problem::EnvironmentFile {
                file: file.clone(),
                reason,
            };
            let text =
                std::fs::read_to_string(&file).map_err(|error| refused(error.to_string()))?;
            let (parsed, _): (file::EnvironmentFile, _) =
                file::read(&text).map_err(|error| refused(error.to_string()))?;
            environment.extend(parsed.environment);
        }
        let lang = match function.lang.as_str() {
            "Dockerfile" => DOCKERFILE.to_owned(),
            _ => function.lang,
        };
        Ok(Self {
            name,
            lang,
            handler: PathBuf::from(function.handler),
            image: function.image,
            fprocess: function.fprocess,
            namespace: function.namespace,
            skip_build: function.skip_build,
            readonly_root_filesystem: function.readonly_root_filesystem,
            environment,
            secrets: function.secrets,
            constraints: function.constraints,
            labels: function.labels.unwrap_or_default(),
            annotations: function.annotations.unwrap_or_default(),
            limits: function.limits.map(Into::into),
            requests: function.requests.map(Into::into),
        })
    }

    /// The farm it belongs to: `FARM_NAME`, else its own name.
    pub fn farm(&self) -> &str {
        self.environment
            .get("FARM_NAME")
            .map_or(&self.name, |farm| farm)
    }

    /// The last part of its image, without registry, tag and digest.
    ///
    /// ```
    /// let image = "registry:5000/me/shrink:1.0@sha256:77af".to_owned();
    /// let function = farm_local::StackFunction { image, ..Default::default() };
    /// assert_eq!(function.image_name(), "shrink");
    /// ```
    pub fn image_name(&self) -> &str {
        let last = self.image.rsplit('/').next().unwrap_or_default();
        last.split(['@', ':']).next().unwrap_or_default()
    }

    /// What `faas-cli deploy` would send for it.
    pub fn deployment(&self) -> FunctionDeployment {
        FunctionDeployment {
            service: self.name.clone(),
            image: self.image.clone(),
            namespace: self.namespace.clone(),
            env_process: self.fprocess.clone(),
            env_vars: self.environment.clone(),
            constraints: self.constraints.clone(),
            secrets: self.secrets.clone(),
            labels: Some(self.labels.clone()),
            annotations: Some(self.annotations.clone()),
            limits: self.limits.clone(),
            requests: self.requests.clone(),
            read_only_root_filesystem: self.readonly_root_filesystem,
        }
    }
}

fn function_error(file: &Path, function: &str, problem: Problem) -> StackError {
    StackError::Function {
        file: file.to_owned(),
        function: function.to_owned(),
        problem,
    }
}

/// Whether `pattern`, in which `*` stands for any text, describes the whole of `name`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len())
                .any(|skipped| tail.get(skipped..).is_some_and(|tail| matches(rest, tail)))
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

//! The keys of a stack file, as `faas-cli` defines them.

use std::collections::BTreeMap;

use farm_core::gateway::{FunctionResources, Metadata};
use serde::{Deserialize, Deserializer};

/// A whole stack file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "the keys of a stack file")]
pub(super) struct File {
    pub version: String,
    pub provider: Provider,
    #[serde(deserialize_with = "null_as_default")]
    pub functions: BTreeMap<String, Option<Function>>,
    #[serde(deserialize_with = "null_as_default")]
    pub configuration: Configuration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "a provider with a name")]
pub(super) struct Provider {
    pub name: String,
    #[serde(rename = "gateway")]
    pub _gateway: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "templates and copy")]
pub(super) struct Configuration {
    #[serde(rename = "templates")]
    pub _templates: Option<Vec<TemplateSource>>,
    #[serde(deserialize_with = "null_as_default")]
    pub copy: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "a template with name and source")]
pub(super) struct TemplateSource {
    #[serde(rename = "name")]
    pub _name: String,
    #[serde(rename = "source")]
    pub _source: String,
}

/// One entry under `functions:`. What only Docker can do is read and has no effect here.
#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "the keys of a function")]
pub(super) struct Function {
    pub lang: String,
    pub handler: String,
    pub image: String,
    pub fprocess: String,
    pub namespace: String,
    pub skip_build: bool,
    pub readonly_root_filesystem: bool,
    #[serde(deserialize_with = "null_as_default")]
    pub environment: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_as_default")]
    pub environment_file: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub secrets: Vec<String>,
    #[serde(deserialize_with = "null_as_default")]
    pub constraints: Vec<String>,
    pub labels: Option<Metadata>,
    pub annotations: Option<Metadata>,
    pub limits: Option<Resources>,
    pub requests: Option<Resources>,
    #[serde(rename = "build_options")]
    pub _build_options: Option<Vec<String>>,
    #[serde(rename = "build_args")]
    pub _build_args: Option<BTreeMap<String, String>>,
    #[serde(rename = "build_secrets")]
    pub _build_secrets: Option<BTreeMap<String, String>>,
    #[serde(rename = "platforms")]
    pub _platforms: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "memory and cpu")]
pub(super) struct Resources {
    pub memory: String,
    pub cpu: String,
}

impl From<Resources> for FunctionResources {
    fn from(resources: Resources) -> Self {
        Self {
            memory: resources.memory,
            cpu: resources.cpu,
            ..Self::default()
        }
    }
}

/// A file named by `environment_file:`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, expecting = "a mapping with the key environment")]
pub(super) struct EnvironmentFile {
    #[serde(deserialize_with = "null_as_default")]
    pub environment: BTreeMap<String, String>,
}

/// Reads YAML without refusing unknown keys, and names those that nothing reads.
pub(super) fn read<'de, T: Deserialize<'de>>(
    text: &'de str,
) -> Result<(T, Vec<String>), serde_norway::Error> {
    let mut unknown = Vec::new();
    let parsed = serde_ignored::deserialize(serde_norway::Deserializer::from_str(text), |path| {
        unknown.push(path.to_string().replace("?.", ""));
    })?;
    Ok((parsed, unknown))
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

//! What must hold before anything is built or started.

use std::path::Path;

use farm_core::FarmName;
use farm_core::gateway::NAMESPACE;
use farm_core::quantity::parse_duration;

use super::file::File;
use super::{Disagreement, Problem, Stack, StackError, StackFunction, function_error};
use crate::program::ReadyMade;
use crate::template::{Template, is_rust_farm};

/// Settings that every function of a farm must agree on, because they shape its streams.
const FARM_WIDE: [&str; 9] = [
    "FARM_ACK_WAIT",
    "FARM_DEADLINE",
    "FARM_MAX_ATTEMPTS",
    "FARM_MAX_DELIVERIES",
    "FARM_QUEUE_MAX_BYTES",
    "FARM_QUEUE_MAX_TASKS",
    "FARM_REPLICAS",
    "FARM_RESULT_TTL",
    "FARM_STORAGE",
];

pub(super) fn outside_functions(file: &Path, parsed: &File) -> Result<(), StackError> {
    let refused = |problem: String| {
        Err(StackError::Unusable {
            file: file.to_owned(),
            problem,
        })
    };
    if parsed.provider.name != "openfaas" {
        return refused(format!(
            "provider.name must be openfaas, not {:?}",
            parsed.provider.name
        ));
    }
    if !matches!(parsed.version.as_str(), "" | "1.0") {
        return refused(format!("version must be 1.0, not {:?}", parsed.version));
    }
    if parsed.functions.is_empty() {
        return refused(
            "it has no functions: add one with `faas-cli new --lang rust-farm --append`".into(),
        );
    }
    Ok(())
}

pub(super) fn functions(
    stack: &Stack,
    names: &[String],
    ready_made: &ReadyMade,
) -> Result<(), StackError> {
    let chosen = names.iter().filter_map(|name| stack.functions.get(name));
    let chosen: Vec<&StackFunction> = chosen.collect();
    for function in &chosen {
        self::function(stack, function, ready_made)
            .map_err(|problem| function_error(&stack.file, &function.name, problem))?;
    }
    agreement(stack, &chosen)
}

fn function(
    stack: &Stack,
    function: &StackFunction,
    ready_made: &ReadyMade,
) -> Result<(), Problem> {
    if !is_function_name(&function.name) {
        return Err(Problem::Name);
    }
    if !matches!(function.namespace.as_str(), "" | NAMESPACE) {
        return Err(Problem::Namespace(function.namespace.clone()));
    }
    if stack.stand_in(function, ready_made).is_none() {
        source(stack, stack.source_of(function))?;
    }
    settings(function)
}

/// Checks the crate that `function` is built from.
fn source(stack: &Stack, function: &StackFunction) -> Result<(), Problem> {
    let without_handler = function.handler.as_os_str().is_empty();
    if function.skip_build && without_handler {
        return Err(Problem::NothingToRun(function.image.clone()));
    }
    if function.lang.is_empty() {
        return Err(Problem::NoLanguage);
    }
    if !is_rust_farm(&function.lang) {
        return Err(Problem::Language(function.lang.clone()));
    }
    Template::load(&stack.folder, &function.lang)?;
    if without_handler {
        return Err(Problem::NoHandler);
    }
    match stack.folder.join(&function.handler).is_dir() {
        true => Ok(()),
        false => Err(Problem::MissingHandler(function.handler.clone())),
    }
}

fn settings(function: &StackFunction) -> Result<(), Problem> {
    if let Some(grace) = function.environment.get("FARM_GRACE_PERIOD") {
        parse_duration(grace).map_err(|error| Problem::Setting {
            key: "FARM_GRACE_PERIOD",
            reason: error.to_string(),
        })?;
    }
    FarmName::new(function.farm()).map_err(|error| Problem::Setting {
        key: "FARM_NAME",
        reason: error.to_string(),
    })?;
    Ok(())
}

/// Functions that share a farm must share what shapes it.
fn agreement(stack: &Stack, functions: &[&StackFunction]) -> Result<(), StackError> {
    for (index, second) in functions.iter().enumerate() {
        let Some(first) = functions[..index]
            .iter()
            .find(|first| first.farm() == second.farm())
        else {
            continue;
        };
        let value = |function: &StackFunction, key: &str| {
            function
                .environment
                .get(key)
                .map(|value| value.trim().to_owned())
        };
        let differing = FARM_WIDE
            .into_iter()
            .find(|key| value(first, key) != value(second, key));
        if let Some(key) = differing {
            let disagreement = Disagreement {
                farm: first.farm().to_owned(),
                key,
                functions: (first.name.clone(), second.name.clone()),
                values: (value(first, key), value(second, key)),
            };
            return Err(StackError::Disagreement {
                file: stack.file.clone(),
                disagreement: Box::new(disagreement),
            });
        }
    }
    Ok(())
}

/// The rule of OpenFaaS, with the length that Kubernetes allows.
pub(crate) fn is_function_name(name: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(inside)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

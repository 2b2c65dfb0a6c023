//! Where the SDK's source is, as long as no registry has it.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The checkout this program was built in.
const BUILT_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Finds the folder of the `farm-sdk` crate: in the checkout `chosen`, which may also be that
/// folder itself, else in the checkout this program was built in.
///
/// # Errors
/// It is not there.
pub fn find(chosen: Option<&Path>) -> Result<PathBuf, Failure> {
    let checkout = chosen.unwrap_or(Path::new(BUILT_IN));
    let candidates = [checkout.join("farm-sdk"), checkout.to_owned()];
    let found = candidates
        .iter()
        .find(|folder| is_sdk(folder))
        .and_then(|folder| folder.canonicalize().ok());
    found.ok_or_else(|| {
        let next = match chosen {
            Some(_) => "give the folder of a rust-farm checkout",
            None => "give a rust-farm checkout with --sdk or FARM_SDK",
        };
        Failure::Failed(format!("no farm-sdk in {}: {next}", checkout.display()))
    })
}

/// The cargo configuration that replaces the registry's SDK by the one in `folder`.
pub fn patch(folder: &Path) -> String {
    // A TOML basic string has the escapes of a JSON string.
    let path = serde_json::Value::from(folder.to_string_lossy());
    format!("patch.crates-io.farm-sdk.path={path}")
}

fn is_sdk(folder: &Path) -> bool {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    manifest
        .lines()
        .any(|line| line.trim() == "name = \"farm-sdk\"")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_sdk_is_found_in_a_checkout_or_as_itself() {
        let built_in = find(None).unwrap();
        assert!(built_in.ends_with("farm-sdk"));
        assert_eq!(find(Some(&built_in)).unwrap(), built_in);
        assert_eq!(find(built_in.parent()).unwrap(), built_in);
    }

    #[test]
    fn another_folder_is_no_sdk() {
        let folder = tempfile::tempdir().unwrap();
        let refused = find(Some(folder.path())).unwrap_err().to_string();
        assert!(refused.contains("checkout"), "{refused}");
    }

    #[test]
    fn a_path_is_quoted_for_cargo() {
        assert_eq!(
            patch(Path::new("/a \"b\"")),
            r#"patch.crates-io.farm-sdk.path="/a \"b\"""#
        );
    }
}

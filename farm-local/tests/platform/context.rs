//! The build context is what the real `faas-cli` leaves, file by file, but for Cargo's output.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use farm_local::{BuildContext, Stack};

use crate::harness::{Fixture, function, stack_of, tool};

/// Every file below `folder` with its mode and contents, except below folders called `target`.
fn files(folder: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_entry(|entry| entry.file_name() != "target");
    let files = entries
        .map(Result::unwrap)
        .filter(|entry| !entry.file_type().is_dir());
    files
        .map(|entry| {
            let name = entry
                .path()
                .strip_prefix(folder)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let mode = entry.metadata().unwrap().permissions().mode();
            (name, (mode, fs::read(entry.path()).unwrap()))
        })
        .collect()
}

fn awkward_stack() -> Fixture {
    let fixture = Fixture::new(&format!(
        "{}configuration:\n  copy: [common, ./notes/a.txt]\n",
        stack_of(&function("work", ""))
    ));
    for (path, text) in [
        ("template/rust-farm/meta.json", "{}"),
        ("template/rust-farm/function/src/main.rs", "overwritten"),
        ("template/rust-farm/function/.hidden", "kept"),
        ("work/.cargo/config.toml", "[build]\n"),
        ("work/build/skipped", "top-level build"),
        ("work/template/skipped", "top-level template"),
        ("work/src/build/kept", "deeper build"),
        ("work/target/release/huge", "cargo's"),
        ("work/script.sh", "#!/bin/sh\n"),
        ("common/shared/data.txt", "shared"),
        ("notes/a.txt", "a"),
        ("notes/b.txt", "not copied"),
        ("build/work/stale", "of an earlier build"),
    ] {
        fixture.write(path, text);
    }
    fs::set_permissions(
        fixture.path("work/script.sh"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    symlink("src/main.rs", fixture.path("work/link.rs")).unwrap();
    symlink("src", fixture.path("work/linked")).unwrap();
    fixture
}

#[test]
fn the_context_is_the_one_faas_cli_writes() {
    let fixture = awkward_stack();
    let status = Command::new(tool("FAAS_CLI", "bin/faas-cli"))
        .args(["build", "--shrinkwrap", "-f", "stack.yml"])
        .current_dir(fixture.path(""))
        .output()
        .unwrap();
    assert!(
        status.status.success(),
        "{}",
        String::from_utf8_lossy(&status.stderr)
    );
    let expected = files(&fixture.path("build/work"));
    assert!(expected.contains_key("function/common/shared/data.txt"));

    let stack = Stack::load(&fixture.path("stack.yml")).unwrap();
    let work = &stack.functions["work"];
    let context = BuildContext::write(&stack, work, &stack.template_of(work).unwrap()).unwrap();
    assert_eq!(context.handler, fixture.path("build/work/function"));
    let actual = files(&context.folder);
    assert_eq!(
        actual.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    assert!(actual == expected, "a file differs in mode or contents");
    assert!(
        !context.handler.join("target").exists(),
        "Docker would not see it either"
    );
}

#[test]
fn cargos_output_is_copied_if_the_template_does_not_ignore_it() {
    let fixture = awkward_stack();
    fixture.write("template/rust-farm/.dockerignore", "");
    let stack = Stack::load(&fixture.path("stack.yml")).unwrap();
    let work = &stack.functions["work"];
    let context = BuildContext::write(&stack, work, &stack.template_of(work).unwrap()).unwrap();
    assert!(context.handler.join("target/release/huge").is_file());
}

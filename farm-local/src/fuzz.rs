//! Bad input to the local platform: stack files.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::stack::Stack;
use crate::substitution::substitute;

const STACKS: &[&[u8]] = &[
    include_bytes!("../../stack.yml"),
    b"version: 1.0\nprovider: {name: openfaas, gateway: http://127.0.0.1:8080}\nfunctions:\n  f:\n    lang: rust-farm\n    handler: ./f\n    image: a/f:1\n    skip_build: true\n    environment: {FARM_NAME: f, N: 1, B: true, X: null}\n    annotations: &a {farm.policy: queue}\n    labels: *a\n    secrets: [s]\n    limits: {memory: 1Gi, cpu: 100m}\nconfiguration:\n  copy: [./x]\n",
    b"provider: {name: openfaas}\nfunctions: {a: {lang: dockerfile, handler: ., image: '${A:-b}'}}\n",
];
const TEMPLATES: &[&[u8]] = &[
    b"${A}/b:${C:-${D:-e}}",
    b"$${A} \\/ ${B:?no}",
    b"${A:=${B:+c}}",
];

proptest! {
    #[test]
    fn stack_files(text in farm_fuzz::text(STACKS)) {
        // Files that it names are not read here: whoever writes a stack file may name any.
        prop_assume!(!text.contains("environment_file"));
        let file = Path::new("stack.yml");
        let lookup = |name: &str| (name.len() == 1).then(|| "value".to_owned());
        match Stack::parse(file, PathBuf::from("/"), &text, lookup) {
            Ok(stack) => {
                for name in stack.select(&[]).unwrap() {
                    let _ = stack.functions[&name].deployment();
                }
            }
            Err(error) => prop_assert!(error.to_string().contains("stack.yml"), "{}", error),
        }
    }

    #[test]
    fn substitutions(text in farm_fuzz::text(TEMPLATES)) {
        let lookup = |name: &str| (name.len() == 1).then(|| "0123456789".to_owned());
        if let Ok(output) = substitute(&text, lookup) {
            // "${A}" gives ten bytes.
            prop_assert!(output.len() <= 10 * text.len());
        }
    }
}

mod fixed {
    use super::*;

    #[test]
    fn a_few_bytes_do_not_become_gigabytes() {
        let mut text = "functions: {}\na0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..30 {
            let below = format!("*a{}", level - 1);
            let items = vec![below; 9].join(",");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        let read = Stack::parse(Path::new("stack.yml"), PathBuf::from("/"), &text, |_| None);
        // Refused, or not expanded: whichever, it is over at once.
        if let Err(error) = read {
            assert!(error.to_string().contains("stack.yml"));
        }
    }
}

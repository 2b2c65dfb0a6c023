//! Bad input to a function's environment: read, or refused naming the variable.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::config::{Config, KEYS, Strings};

const VALUES: &[&[u8]] = &[
    b"shrink",
    b"worker,emitter",
    b"nats://a:4222",
    b"30s",
    b"250ms",
    b"64MiB",
    b"1",
    b"10000",
    b"100/s",
    b"file",
    b"127.0.0.1",
    b"::",
    b"debug,farm_sdk=info",
    b"json",
    b"-1",
    b"1e99",
];

struct Table(BTreeMap<&'static str, String>);

impl Strings for Table {
    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }
}

proptest! {
    #[test]
    fn environments(
        values in proptest::collection::btree_map(
            proptest::sample::select(KEYS), farm_fuzz::text(VALUES), 0..12,
        ),
    ) {
        match Config::read(&Table(values)) {
            Ok(config) => prop_assert!(config.slots >= 1 && config.max_task_bytes > 0),
            Err(error) => {
                let text = error.to_string();
                prop_assert!(KEYS.iter().any(|key| text.contains(key)), "{}", text);
            }
        }
    }
}

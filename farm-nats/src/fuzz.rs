//! Bad input to a connection: its URL, its creds file, and what a server denies.

use std::path::Path;

use proptest::prelude::*;

use crate::access::Access;
use crate::identity::creds;
use crate::link::Denial;

/// Nothing that damage makes up by itself.
const PASSWORD: &str = "hunter2-and-more";
const BEFORE: &[&[u8]] = &[b"nats://me", b"tls://a:4222,nats://me", b"me", b"ws://me"];
const AFTER: &[&[u8]] = &[b"@a:4222", b"@a,nats://b:4222", b"@[::1]:4222", b"@a%40b"];
const CREDS: &[&[u8]] = &[
    b"-----BEGIN NATS USER JWT-----\ne30.e30.e30\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\nSUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n------END USER NKEY SEED------\n",
];
const DENIALS: &[&[u8]] = &[
    b"Permissions Violation for Publish to \"$JS.API.INFO\"",
    b"Permissions Violation for Subscription to \"farm.*.task.>\" using queue \"q\"",
];

proptest! {
    /// Read or refused, the password is not shown.
    #[test]
    fn urls(before in farm_fuzz::text(BEFORE), after in farm_fuzz::text(AFTER)) {
        let url = format!("{before}:{PASSWORD}@{after}");
        let shown = match Access::read(&url, Path::new("/no/such/folder")) {
            Ok(access) => format!("{access:?} {} {:?}", access.url(), access.servers()),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!shown.contains(PASSWORD), "{}", shown);
    }

    #[test]
    fn creds_files(text in farm_fuzz::text(CREDS)) {
        match creds(&text, "file".to_owned()) {
            Ok(identity) => {
                let auth = identity.auth(b"nonce");
                let signature = auth.ok().and_then(|auth| auth.signature);
                prop_assert_eq!(signature.map(|signature| signature.len()), Some(64));
            }
            Err(error) => prop_assert!(error.to_string().starts_with("file: ")),
        }
    }

    #[test]
    fn denials(text in farm_fuzz::text(DENIALS)) {
        if let Some(denial) = Denial::read(&text) {
            let quoted = format!("to \"{}\"", denial.subject);
            prop_assert!(text.contains(&quoted));
        }
    }
}

//! Servers that let only some in: by key, by creds file, by certificate, by list of users.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::build::binary;
use crate::nats_server::Access;

/// Part of a server's configuration, and the files with which its clients get in.
#[derive(Debug, Clone)]
pub struct Guarded {
    configuration: String,
    secrets: Vec<(String, String)>,
    /// Certificates of the server, for as long as somebody may start it.
    _files: Option<Arc<TempDir>>,
}

impl Guarded {
    /// Configuration and secret files as a test wants them.
    pub fn new(configuration: impl Into<String>, secrets: &[(&str, &str)]) -> Self {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Self {
            configuration: configuration.into(),
            secrets: secrets.iter().map(owned).collect(),
            _files: None,
        }
    }

    pub(crate) fn configuration(&self) -> &str {
        &self.configuration
    }

    pub(crate) fn write_secrets(&self, folder: &Path) {
        for (name, text) in &self.secrets {
            std::fs::write(folder.join(name), text).expect("a secret can be written");
        }
    }
}

/// A user's key whose public half the server knows.
pub fn nkey() -> Access {
    let pair = KeyPair::new_user();
    let public = pair.public_key();
    let configuration = format!("authorization {{ users: [ {{ nkey: {public} }} ] }}");
    let seed = pair.seed().expect("a new pair has a seed");
    Access::Guarded(Guarded::new(configuration, &[("farm-nats-nkey", &seed)]))
}

/// An operator, an account and a user, as `nsc` makes them; the server knows the first two.
pub fn creds() -> Access {
    let (operator, account, system) = (
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_account(),
    );
    let unlimited = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let plain = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1,
    });
    let of_account = |limits: Value| json!({"limits": limits, "type": "account", "version": 2});
    let operator_jwt = jwt(
        &operator,
        &operator,
        json!({"type": "operator", "version": 2}),
    );
    let configuration = format!(
        "operator: {operator_jwt}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n{account}: {account_jwt}\n{system}: {system_jwt}\n}}",
        account_jwt = jwt(&operator, &account, of_account(unlimited)),
        system_jwt = jwt(&operator, &system, of_account(plain)),
        account = account.public_key(),
        system = system.public_key(),
    );
    let secrets = [("farm-nats-creds", &*creds_file(&account))];
    Access::Guarded(Guarded::new(configuration, &secrets))
}

/// The creds file of a new user of `account`.
pub fn creds_file(account: &KeyPair) -> String {
    let user = KeyPair::new_user();
    let claims = json!({
        "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2,
    });
    format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         ************************* IMPORTANT *************************\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        jwt(account, &user, claims),
        user.seed().expect("a new pair has a seed"),
    )
}

fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let claims = part(json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "iss": issuer.public_key(),
        "name": "farm-tests", "sub": subject.public_key(), "nats": nats,
    }));
    let signed = format!("{header}.{claims}");
    let signature = issuer.sign(signed.as_bytes()).expect("a new pair can sign");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Certificates that an authority of their own signed; made anew each time.
pub struct Authority {
    folder: Arc<TempDir>,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// If there is no `openssl`.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = "[req]\ndistinguished_name = name\n[name]\n";
        std::fs::write(folder.path().join("openssl.cnf"), settings).expect("a file");
        let authority = Self {
            folder: Arc::new(folder),
        };
        authority.make("ca", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        authority
    }

    /// Signs a certificate; `name.pem` and `name.key` are in the folder then.
    pub fn sign(&self, name: &str, extension: &str) {
        let arguments = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", extension];
        self.make(name, &arguments);
    }

    /// The text of one of its files.
    pub fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(file)).expect("a file it has made")
    }

    fn make(&self, name: &str, arguments: &[&str]) {
        let made = Command::new("openssl")
            .current_dir(self.folder.path())
            .args([
                "req",
                "-x509",
                "-config",
                "openssl.cnf",
                "-days",
                "2",
                "-nodes",
            ])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-subj", &format!("/CN=farm-tests {name}")])
            .args([
                "-keyout",
                &format!("{name}.key"),
                "-out",
                &format!("{name}.pem"),
            ])
            .args(arguments)
            .output()
            .expect("openssl can be run");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "openssl: {said}");
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A server with a certificate; with `mutual`, it asks its clients for theirs.
pub fn tls(mutual: bool) -> Access {
    let authority = Authority::new();
    authority.sign("server", "subjectAltName=IP:127.0.0.1");
    let path = |file: &str| authority.folder.path().join(file);
    let mut configuration = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}",
        path("server.pem"),
        path("server.key")
    );
    let ca = authority.text("ca.pem");
    let mut secrets = vec![("farm-nats-ca.pem".to_owned(), ca)];
    if mutual {
        authority.sign("client", "extendedKeyUsage=clientAuth");
        // Writing into a String cannot fail.
        let _ = write!(
            configuration,
            ", ca_file: {:?}, verify: true",
            path("ca.pem")
        );
        secrets.push((
            "farm-nats-cert.pem".to_owned(),
            authority.text("client.pem"),
        ));
        secrets.push(("farm-nats-key.pem".to_owned(), authority.text("client.key")));
    }
    configuration.push_str(" }");
    Access::Guarded(Guarded {
        configuration,
        secrets,
        _files: Some(authority.folder),
    })
}

/// The password of a user that [`permissions`] made.
pub fn password(user: &str) -> String {
    format!("password-of-{user}")
}

/// A server with the users that `farm permissions` prints for `arguments`, as it prints them, and
/// one who may do everything: the test itself.
pub fn permissions(arguments: &[&str]) -> Access {
    let mut command = Command::new(binary("farm-cli"));
    let printed = crate::farm_up::run(command.arg("permissions").args(arguments));
    let mut configuration = String::new();
    for line in printed.lines() {
        let Some((_, rest)) = line.split_once("user: \"") else {
            continue;
        };
        let (user, variable) = rest.split_once("\", password: $").expect("a variable");
        let _ = writeln!(configuration, "{variable}: {:?}", password(user));
    }
    let all = r#"{ user: "test", password: "all" }"#;
    configuration += &printed.replacen("users = [", &format!("users = [\n{all}"), 1);
    let secrets = [("farm-nats-user", "test"), ("farm-nats-password", "all")];
    Access::Guarded(Guarded::new(configuration, &secrets))
}

/// A folder with the secrets of one user that [`permissions`] made.
pub fn secrets_of(user: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in [
        ("farm-nats-user", user.to_owned()),
        ("farm-nats-password", password(user)),
    ] {
        std::fs::write(folder.path().join(name), text).expect("a secret can be written");
    }
    folder
}

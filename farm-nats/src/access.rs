//! Who we are and whom we trust: the URL and the secrets folder, checked before connecting.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::{AuthError, ConnectOptions, ServerAddr};

use crate::identity::{self, Identity};
use crate::tls::Tls;
use crate::url;

/// What is wrong with the URL or the secret files; names the file, never what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The URL cannot be used.
    #[error("FARM_NATS_URL: {0}")]
    Url(String),
    /// A secret file cannot be read.
    #[error("{file}: {cause}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        cause: String,
    },
    /// A secret file holds something else than its name says.
    #[error("{file}: {expected}")]
    Malformed {
        /// The file.
        file: String,
        /// What should be in it.
        expected: String,
    },
    /// Several ways to say who we are.
    #[error("{folder}: {found} say different things of who connects to NATS: keep one of them")]
    Ambiguous {
        /// The secrets folder.
        folder: String,
        /// What is there.
        found: String,
    },
    /// One of two files that come together is missing.
    #[error("{folder}: {present} needs {missing} beside it")]
    Incomplete {
        /// The secrets folder.
        folder: String,
        /// The file that is there.
        present: &'static str,
        /// The file that is not.
        missing: &'static str,
    },
}

/// Where NATS is, who connects to it, and how it is encrypted.
///
/// | file in the secrets folder | meaning |
/// |---|---|
/// | `farm-nats-creds` | a creds file: user JWT and seed |
/// | `farm-nats-nkey` | the seed of a user nkey |
/// | `farm-nats-token` | a token |
/// | `farm-nats-user`, `farm-nats-password` | user and password |
/// | `farm-nats-ca.pem` | the authorities to trust instead of the system's; asks for TLS |
/// | `farm-nats-cert.pem`, `farm-nats-key.pem` | our own certificate and its key; asks for TLS |
///
/// One of the first four, or `user:password@` (or `token@`) in the URL, or none.
///
/// The default one has no servers: it stands in where reading failed.
#[derive(Clone, Default)]
pub struct Access {
    folder: PathBuf,
    servers: Vec<ServerAddr>,
    in_url: Option<Arc<Identity>>,
    printable: String,
}

/// Without the credentials that the URL may have held.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("url", &self.printable)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// Reads `url`, one server or several joined by commas, and checks what is in `folder`.
    ///
    /// # Errors
    /// [`AccessError`], in one line, if they cannot be used or contradict each other.
    pub fn read(url: &str, folder: &Path) -> Result<Self, AccessError> {
        let url::Servers { addresses, login } = url::parse(url)?;
        let access = Self {
            printable: url::printable(url),
            servers: addresses,
            in_url: login.map(Arc::new),
            folder: folder.to_owned(),
        };
        access.identity()?;
        Tls::read(folder)?;
        Ok(access)
    }

    /// The servers, without credentials.
    pub fn servers(&self) -> Vec<ServerAddr> {
        self.servers.clone()
    }

    /// The URL as it may be shown.
    pub fn url(&self) -> &str {
        &self.printable
    }

    /// Warns in the log if who we are stands in the URL.
    pub fn warn(&self) {
        if self.in_url.is_some() {
            tracing::warn!(
                "whoever sees the environment sees the credentials in FARM_NATS_URL: put them into secrets"
            );
        }
    }

    fn identity(&self) -> Result<Identity, AccessError> {
        identity::read(&self.folder, self.in_url.as_deref())
    }

    /// Options to connect with. The secret files are read again at every connection.
    ///
    /// # Errors
    /// [`AccessError`] if the files cannot be used any more.
    pub fn options(&self) -> Result<ConnectOptions, AccessError> {
        let access = self.clone();
        let options = ConnectOptions::with_auth_callback(move |nonce| {
            let auth = access.identity().and_then(|identity| identity.auth(&nonce));
            std::future::ready(auth.map_err(AuthError::new))
        });
        // The client asks each address for itself, and addresses it hears from servers never ask.
        let by_url = self.servers.iter().any(ServerAddr::tls_required);
        let options = options.require_tls(by_url);
        Ok(Tls::read(&self.folder)?.apply(options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn complaint(url: &str, files: &[(&str, &str)]) -> String {
        let folder = folder(files);
        let said = Access::read(url, folder.path()).unwrap_err().to_string();
        assert!(!said.contains('\n'), "{said}");
        for (_, text) in files {
            assert!(!said.contains(text), "{said}");
        }
        said
    }

    const URL: &str = "nats://a:4222,nats://b:4222";

    #[test]
    fn nobody_needs_to_be_anybody() {
        let access = Access::read(URL, folder(&[]).path()).unwrap();
        assert_eq!(access.servers().len(), 2);
        assert_eq!(access.url(), URL);
        assert!(Access::read(URL, Path::new("/no/such/folder")).is_ok());
    }

    #[test]
    fn two_ways_to_say_who_we_are_are_refused() {
        let two = [("farm-nats-token", "t0ken"), ("farm-nats-user", "me5")];
        let said = complaint(URL, &two);
        assert!(
            said.contains("farm-nats-token and farm-nats-user"),
            "{said}"
        );
        let said = complaint("nats://me5:pa55@a", &[("farm-nats-token", "t0ken")]);
        assert!(said.contains("FARM_NATS_URL"), "{said}");
        assert!(!said.contains("pa55"), "{said}");
    }

    #[test]
    fn half_of_a_pair_is_refused() {
        for (present, missing) in [
            ("farm-nats-user", "farm-nats-password"),
            ("farm-nats-password", "farm-nats-user"),
        ] {
            let said = complaint(URL, &[(present, "hunter2")]);
            assert!(said.contains(&format!("needs {missing}")), "{said}");
        }
    }

    #[test]
    fn a_file_with_something_else_in_it_is_named() {
        for file in ["farm-nats-creds", "farm-nats-nkey", "farm-nats-ca.pem"] {
            let said = complaint(URL, &[(file, "hunter2")]);
            assert!(said.contains(file), "{said}");
        }
    }

    #[test]
    fn a_mount_of_certificates_that_is_broken_is_no_absence_of_tls() {
        for file in [
            "farm-nats-ca.pem",
            "farm-nats-cert.pem",
            "farm-nats-key.pem",
        ] {
            let folder = folder(&[]);
            std::os::unix::fs::symlink("/no/such/file", folder.path().join(file)).unwrap();
            let said = Access::read(URL, folder.path()).unwrap_err().to_string();
            assert!(said.contains(file), "{said}");
        }
    }

    #[test]
    fn one_server_by_tls_asks_all_for_it() {
        let required = |url: &str| {
            let access = Access::read(url, folder(&[]).path()).unwrap();
            format!("{:?}", access.options().unwrap()).contains("\"tls_required\": true")
        };
        assert!(!required(URL));
        assert!(required("nats://a:4222,tls://b:4222"));
    }

    #[test]
    fn a_bad_url_is_not_repeated() {
        for url in [
            "http://me:hunter2@a",
            "nats://me:hunter2@a b",
            "me:hunter2@:x:y",
        ] {
            let said = complaint(url, &[]);
            assert!(!said.contains("hunter2"), "{said}");
        }
        let two = "nats://me:hunter2@a,nats://you:hunter2@b";
        assert!(complaint(two, &[]).contains("same"));
    }

    #[test]
    fn what_is_in_the_url_is_not_shown() {
        let access = Access::read("nats://me:hunter2@a:1", folder(&[]).path()).unwrap();
        assert!(access.in_url.is_some());
        assert_eq!(access.url(), "nats://a:1");
        assert!(!format!("{access:?}{:?}", access.servers()).contains("hunter2"));
    }
}

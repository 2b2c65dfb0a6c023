//! Who we are to NATS: a creds file, an nkey, a token, or user and password.

use std::path::Path;

use async_nats::Auth;
use nkeys::KeyPair;

use crate::access::AccessError;
use crate::secret::read_secret;

/// One way to say who connects.
#[derive(Clone)]
pub(crate) enum Identity {
    Nobody,
    Creds {
        jwt: String,
        seed: String,
        file: String,
    },
    Nkey {
        seed: String,
        file: String,
    },
    Token(String),
    Password {
        user: String,
        password: String,
    },
}

/// The one identity that `folder` or the URL gives us.
pub(crate) fn read(folder: &Path, in_url: Option<&Identity>) -> Result<Identity, AccessError> {
    // An empty file says nothing of who we are; the server then refuses us if it must.
    let secret = |name: &str| {
        let text = read_secret(&folder.join(name))?;
        Ok(text.filter(|text| !text.is_empty()))
    };
    let shown = |name: &str| folder.join(name).display().to_string();
    let mut found: Vec<(&str, Identity)> = Vec::new();
    if let Some(text) = secret("farm-nats-creds")? {
        found.push(("farm-nats-creds", creds(&text, shown("farm-nats-creds"))?));
    }
    if let Some(seed) = secret("farm-nats-nkey")? {
        let file = shown("farm-nats-nkey");
        pair(&seed, &file)?;
        found.push(("farm-nats-nkey", Identity::Nkey { seed, file }));
    }
    if let Some(token) = secret("farm-nats-token")? {
        found.push(("farm-nats-token", Identity::Token(token)));
    }
    let (user, password) = (secret("farm-nats-user")?, secret("farm-nats-password")?);
    if user.is_some() || password.is_some() {
        found.push(("farm-nats-user", Identity::Nobody));
    }
    if let Some(login) = in_url {
        found.push(("the user in FARM_NATS_URL", login.clone()));
    }
    if found.len() > 1 {
        let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
        return Err(AccessError::Ambiguous {
            folder: folder.display().to_string(),
            found: names.join(" and "),
        });
    }
    let half = |present, missing| AccessError::Incomplete {
        folder: folder.display().to_string(),
        present,
        missing,
    };
    match (user, password) {
        (Some(user), Some(password)) => Ok(Identity::Password { user, password }),
        (Some(_), None) => Err(half("farm-nats-user", "farm-nats-password")),
        (None, Some(_)) => Err(half("farm-nats-password", "farm-nats-user")),
        (None, None) => Ok(found
            .pop()
            .map_or(Identity::Nobody, |(_, identity)| identity)),
    }
}

/// A creds file holds two blocks between lines of dashes: the user's JWT and its seed.
pub(crate) fn creds(text: &str, file: String) -> Result<Identity, AccessError> {
    let block = |title: &str| {
        let mut lines = text.lines().map(str::trim);
        lines.find(|line| line.starts_with("---") && line.contains(title))?;
        let value = lines.find(|line| !line.is_empty())?;
        (!value.starts_with('-')).then(|| value.to_owned())
    };
    let (Some(jwt), Some(seed)) = (block("USER JWT"), block("NKEY SEED")) else {
        return Err(AccessError::Malformed {
            file,
            expected: "no creds file: it needs a user JWT and an nkey seed, as nsc writes them"
                .to_owned(),
        });
    };
    pair(&seed, &file)?;
    Ok(Identity::Creds { jwt, seed, file })
}

/// The key pair of a seed. What the library says may hold parts of it, so it is not repeated.
fn pair(seed: &str, file: &str) -> Result<KeyPair, AccessError> {
    KeyPair::from_seed(seed).map_err(|_| AccessError::Malformed {
        file: file.to_owned(),
        expected: "no seed of a user nkey: it begins with SU, as nsc or nk write it".to_owned(),
    })
}

impl Identity {
    /// What is sent to a server that challenges with `nonce`.
    pub fn auth(self, nonce: &[u8]) -> Result<Auth, AccessError> {
        let mut auth = Auth::new();
        match self {
            Identity::Nobody => {}
            Identity::Token(token) => auth.token = Some(token),
            Identity::Password { user, password } => {
                auth.username = Some(user);
                auth.password = Some(password);
            }
            Identity::Nkey { seed, file } => {
                let pair = pair(&seed, &file)?;
                auth.nkey = Some(pair.public_key());
                auth.signature = Some(sign(&pair, nonce, file)?);
            }
            Identity::Creds { jwt, seed, file } => {
                auth.jwt = Some(jwt);
                auth.signature = Some(sign(&pair(&seed, &file)?, nonce, file)?);
            }
        }
        Ok(auth)
    }
}

fn sign(pair: &KeyPair, nonce: &[u8], file: String) -> Result<Vec<u8>, AccessError> {
    pair.sign(nonce).map_err(|_| AccessError::Malformed {
        file,
        expected: "its key cannot sign".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_creds_file_is_read_as_nsc_writes_it() {
        let seed = KeyPair::new_user().seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\r\ne30.e30.e30\r\n------END NATS USER JWT------\r\n\r\n\
             ************************* IMPORTANT *************************\r\n\
             -----BEGIN USER NKEY SEED-----\r\n{seed}\r\n------END USER NKEY SEED------\r\n"
        );
        let auth = creds(&text, "file".to_owned()).and_then(|creds| creds.auth(b"nonce"));
        let auth = auth.unwrap();
        assert_eq!(auth.jwt.as_deref(), Some("e30.e30.e30"));
        assert_eq!(auth.signature.map(|signature| signature.len()), Some(64));
    }
}

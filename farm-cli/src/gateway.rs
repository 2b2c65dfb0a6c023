//! Which OpenFaaS gateway a command talks to, and the password for its system API.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::Url;
use serde::Deserialize;

use crate::failure::Failure;

const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// What `farm up` leaves in the folder it was started in.
const UP_RECORD: &str = ".farm/up.json";
const UP_PASSWORD: &str = ".farm/gateway-password";
const SECRET_MAX_BYTES: u64 = 4096;

/// Which gateway to use.
#[derive(clap::Args, Debug, Default)]
pub struct GatewayArgs {
    /// OpenFaaS gateway [default: the one `farm up` serves here, else http://127.0.0.1:8080]
    #[arg(long, env = "OPENFAAS_URL", value_name = "URL", hide_env_values = true)]
    gateway: Option<String>,
    /// File with the gateway's password [default: the one `farm up` wrote]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// File with the token of the farm function, if it wants one (its secret farm-http-token)
    #[arg(long, env = "FARM_HTTP_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A gateway, and where its address came from.
#[derive(Debug, Clone)]
pub struct Gateway {
    url: Url,
    found: &'static str,
    password_file: Option<PathBuf>,
    token: Option<Token>,
}

/// What a protected farm function wants to see. Never shown.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token itself, for a request.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[derive(Deserialize)]
struct UpRecord {
    gateway_url: String,
}

impl GatewayArgs {
    /// Finds the gateway: option or environment, else what `farm up` left in this folder or in
    /// one above it, else the default address.
    ///
    /// # Errors
    /// An address that is no `http` or `https` URL, or a token file that cannot be read.
    pub fn find(&self) -> Result<Gateway, Failure> {
        let here = std::env::current_dir()
            .map_err(|e| Failure::Failed(format!("cannot tell the current folder: {e}")))?;
        self.find_from(&here)
    }

    fn find_from(&self, folder: &Path) -> Result<Gateway, Failure> {
        let up = up_folder(folder);
        let up_url = up.and_then(up_url);
        let (url, found) = match (&self.gateway, &up_url) {
            (Some(url), _) => (parse_url(url)?, "--gateway or OPENFAAS_URL"),
            (None, Some(url)) => (parse_url(url)?, UP_RECORD),
            (None, None) => (parse_url(DEFAULT_URL)?, "the default"),
        };
        // The password of one gateway is never shown to another.
        let is_up = up_url.is_some_and(|up_url| parse_url(&up_url).is_ok_and(|up| up == url));
        let up_password = up.filter(|_| is_up).map(|up| up.join(UP_PASSWORD));
        let password_file = self
            .password_file
            .clone()
            .or_else(|| up_password.filter(|file| file.is_file()));
        Ok(Gateway {
            url,
            found,
            password_file,
            token: self.token_file.as_deref().map(read_token).transpose()?,
        })
    }
}

/// Reads the token of a farm function.
///
/// # Errors
/// The file cannot be read, is empty, or is too large to be a token.
pub fn read_token(file: &Path) -> Result<Token, Failure> {
    match read_secret("token", file)? {
        text if text.is_empty() => Err(Failure::Failed(format!(
            "the token file {} is empty",
            file.display()
        ))),
        text => Ok(Token(text)),
    }
}

/// Reads a file that holds one word nobody else may know.
fn read_secret(what: &str, file: &Path) -> Result<String, Failure> {
    let unreadable = |why: String| {
        Failure::Failed(format!(
            "cannot read the {what} file {}: {why}",
            file.display()
        ))
    };
    let size_bytes = fs::metadata(file)
        .map_err(|e| unreadable(e.to_string()))?
        .len();
    if size_bytes > SECRET_MAX_BYTES {
        return Err(unreadable("it is too large".to_owned()));
    }
    let text = fs::read_to_string(file).map_err(|e| unreadable(e.to_string()))?;
    Ok(text.trim().to_owned())
}

fn up_folder(folder: &Path) -> Option<&Path> {
    folder
        .ancestors()
        .find(|folder| folder.join(UP_RECORD).is_file())
}

fn up_url(folder: &Path) -> Option<String> {
    let text = fs::read(folder.join(UP_RECORD)).ok()?;
    let record: UpRecord = serde_json::from_slice(&text).ok()?;
    Some(record.gateway_url)
}

fn parse_url(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| {
        Failure::Usage(format!(
            "{text:?} is no gateway address: write it like {DEFAULT_URL}"
        ))
    })
}

impl Gateway {
    /// The address of `path` on the gateway.
    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url.as_str().trim_end_matches('/'))
    }

    /// Whether the gateway is on this machine, where no proxy can help.
    pub fn is_local(&self) -> bool {
        matches!(
            self.url.host_str(),
            Some("localhost" | "127.0.0.1" | "[::1]")
        )
    }

    /// The password of user `admin`, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or is too large to be a password.
    pub fn password(&self) -> Result<Option<String>, Failure> {
        let file = self.password_file.as_deref();
        file.map(|file| read_secret("password", file)).transpose()
    }

    /// The token of the farm function, if one was given.
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(Token::reveal)
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.address(""), self.found)
    }
}

/// The name of a function, with its namespace if it has one: `thumbnails.openfaas-fn`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionName(String);

impl FunctionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FunctionName {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let usable = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        // A name of dots alone would climb out of /function/.
        if usable && name.bytes().any(|b| b.is_ascii_alphanumeric()) {
            Ok(Self(name.to_owned()))
        } else {
            Err("use ASCII letters, digits, '-', '_' and '.' only".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn up(folder: &Path, gateway_url: &str) {
        fs::create_dir_all(folder.join(".farm")).unwrap();
        let record = serde_json::json!({ "gateway_url": gateway_url, "pid": 1 });
        fs::write(folder.join(UP_RECORD), record.to_string()).unwrap();
        fs::write(folder.join(UP_PASSWORD), "secret\n").unwrap();
    }

    fn given(url: &str) -> GatewayArgs {
        GatewayArgs {
            gateway: Some(url.to_owned()),
            ..GatewayArgs::default()
        }
    }

    #[test]
    fn a_token_comes_from_its_file_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let args = GatewayArgs {
            token_file: Some(file.clone()),
            ..GatewayArgs::default()
        };
        let find = || args.find_from(folder.path());
        assert!(find().is_err(), "no such file");
        fs::write(&file, "\n").unwrap();
        assert!(find().is_err(), "an empty file");
        fs::write(&file, "s3cret\n").unwrap();
        let gateway = find().unwrap();
        assert_eq!(gateway.token(), Some("s3cret"));
        assert!(!format!("{gateway:?}").contains("s3cret"));
    }

    #[test]
    fn the_record_of_a_folder_above_is_found_with_its_password() {
        let folder = tempfile::tempdir().unwrap();
        up(folder.path(), "http://127.0.0.1:9090/");
        let below = folder.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        let gateway = GatewayArgs::default().find_from(&below).unwrap();
        assert_eq!(
            gateway.address("/function/f/"),
            "http://127.0.0.1:9090/function/f/"
        );
        assert_eq!(gateway.password().unwrap().as_deref(), Some("secret"));
    }

    #[test]
    fn without_a_record_the_default_is_used_and_no_password() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = GatewayArgs::default().find_from(folder.path()).unwrap();
        assert_eq!(gateway.address(""), DEFAULT_URL);
        assert_eq!(gateway.password().unwrap(), None);
    }

    #[test]
    fn a_gateway_named_by_hand_never_gets_the_password_of_another() {
        let folder = tempfile::tempdir().unwrap();
        up(folder.path(), "http://127.0.0.1:9090");
        let other = given("https://farm.example")
            .find_from(folder.path())
            .unwrap();
        assert_eq!(other.address(""), "https://farm.example");
        assert_eq!(other.password().unwrap(), None);
        let same = given("http://127.0.0.1:9090")
            .find_from(folder.path())
            .unwrap();
        assert_eq!(same.password().unwrap().as_deref(), Some("secret"));
    }

    #[test]
    fn an_address_without_a_scheme_is_a_usage_error() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["localhost:8080", "ftp://x", ""] {
            let refused = given(bad).find_from(folder.path());
            assert!(matches!(refused, Err(Failure::Usage(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_function_name_cannot_climb_out_of_its_path() {
        for bad in ["", ".", "..", "a/b", "a?b", "a b"] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad:?}");
        }
        assert!("thumbs_2.openfaas-fn".parse::<FunctionName>().is_ok());
    }
}

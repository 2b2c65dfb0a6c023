//! Configuration: environment variables with units, read once, every bad one reported at once.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use farm_core::gateway::NAMESPACE;
use farm_core::quantity::{format_duration, parse_duration};
use farm_nats::{Access, secrets_folder};
use reqwest::Url;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::error::Error;

/// Shortest time between two looks at a farm.
pub(crate) const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);
/// Longest: beyond it nothing is controlled.
pub(crate) const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Name of this replica: the pod's, or a random one.
    pub replica: String,
    pub gateway_url: Url,
    pub nats: Access,
    pub secrets_dir: PathBuf,
    /// Where the files of trained policies are that are not built in.
    pub model_dir: PathBuf,
    pub namespace: String,
    /// How often functions are listed; the control interval of a farm that declares none.
    pub interval: Duration,
    pub bind_address: IpAddr,
    pub http_port: u16,
    pub metrics_port: u16,
    pub log: Targets,
    pub log_format: LogFormat,
}

/// Keys under `FARM_` that the autoscaler reads; any other is reported as misspelt.
const KEYS: &[&str] = &[
    "FARM_GATEWAY_URL",
    "FARM_NATS_URL",
    "FARM_SECRETS_DIR",
    "FARM_MODEL_DIR",
    "FARM_NAMESPACE",
    "FARM_SCALER_INTERVAL",
    "FARM_BIND_ADDRESS",
    "FARM_HTTP_PORT",
    "FARM_METRICS_PORT",
    "FARM_LOG",
    "FARM_LOG_FORMAT",
];

const DEFAULT_GATEWAY: &str = "http://gateway.openfaas.svc.cluster.local:8080";

/// Where OpenFaaS mounts a function's secrets.
const SECRETS: &str = "/var/openfaas/secrets";

/// Looks a variable up: in the process environment, or in a table of a test.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

struct Reader<'a> {
    lookup: Lookup<'a>,
    bad: Vec<String>,
}

impl Reader<'_> {
    fn text(&self, key: &str, default: &str) -> String {
        (self.lookup)(key).unwrap_or_else(|| default.to_owned())
    }

    /// The value of `key`, or `default` if it is unset or bad; a bad one is noted.
    fn read<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        match (self.lookup)(key).map(|text| parse(text.trim())) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(reason)) => {
                self.bad.push(format!("{key}: {reason}"));
                default
            }
        }
    }

    /// Where NATS is and who we are to it; what is wrong with either is noted.
    fn nats(&mut self, secrets_dir: &Path) -> Access {
        let url = self.text("FARM_NATS_URL", "nats://127.0.0.1:4222");
        Access::read(&url, secrets_dir).unwrap_or_else(|error| {
            self.bad.push(error.to_string());
            Access::default()
        })
    }

    fn port(&mut self, key: &str, default: u16) -> u16 {
        self.read(key, default, |text| match text.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("{text:?} is not a whole number from 1 to 65535")),
        })
    }
}

fn url(text: &str) -> Result<Url, String> {
    // Not with the text: there may be a password in it.
    let url = Url::parse(text).map_err(|error| format!("no URL of a gateway: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a user or a password in it would be shown: put them into the secrets basic-auth-user and basic-auth-password"
                .to_owned(),
        );
    }
    let explain = |cause: &str| format!("{text:?} is no URL of a gateway: {cause}");
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(explain("write it like http://gateway.openfaas:8080")),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    match (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
        true => Ok(interval),
        false => Err(format!(
            "{text:?} is not between {} and {}",
            format_duration(SHORTEST_INTERVAL),
            format_duration(LONGEST_INTERVAL)
        )),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is not one of text, json")),
    }
}

impl Config {
    /// Reads the environment of this process. An empty value counts as unset.
    pub fn from_environment() -> Result<Self, Error> {
        Self::read(&|key| std::env::var(key).ok().filter(|value| !value.is_empty()))
    }

    /// Reads every key, then reports all bad ones together.
    pub fn read(lookup: Lookup) -> Result<Self, Error> {
        let mut reader = Reader {
            lookup,
            bad: Vec::new(),
        };
        let default_gateway =
            Url::parse(DEFAULT_GATEWAY).map_err(|error| Error::Runtime(error.to_string()))?;
        let secrets_dir = reader.read("FARM_SECRETS_DIR", SECRETS.into(), secrets_folder);
        let config = Self {
            replica: lookup("HOSTNAME").unwrap_or_else(random_name),
            gateway_url: reader.read("FARM_GATEWAY_URL", default_gateway, url),
            nats: reader.nats(&secrets_dir),
            secrets_dir,
            // On OpenFaaS CE a function is given no other files.
            model_dir: reader.text("FARM_MODEL_DIR", SECRETS).into(),
            namespace: reader.text("FARM_NAMESPACE", NAMESPACE),
            interval: reader.read("FARM_SCALER_INTERVAL", Duration::from_secs(2), interval),
            bind_address: reader.read("FARM_BIND_ADDRESS", Ipv4Addr::UNSPECIFIED.into(), |text| {
                text.parse().map_err(|_| {
                    format!("{text:?} is no IP address: write it like 127.0.0.1 or ::")
                })
            }),
            http_port: reader.port("FARM_HTTP_PORT", 8080),
            metrics_port: reader.port("FARM_METRICS_PORT", 8081),
            log: reader.read(
                "FARM_LOG",
                Targets::new().with_default(LevelFilter::INFO),
                |text| text.parse::<Targets>().map_err(|error| error.to_string()),
            ),
            log_format: reader.read("FARM_LOG_FORMAT", LogFormat::Text, log_format),
        };
        match reader.bad.is_empty() {
            true => Ok(config),
            false => Err(Error::Configuration(reader.bad)),
        }
    }
}

fn random_name() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("autoscaler-{}", &id[..8])
}

/// Keys under `FARM_` in `present` that nothing reads.
pub(crate) fn unknown_keys(present: impl Iterator<Item = String>) -> Vec<String> {
    present
        .filter(|key| key.starts_with("FARM_") && !KEYS.contains(&key.as_str()))
        // Kubernetes injects these for any Service whose name starts with "farm-".
        .filter(|key| {
            !key.ends_with("_HOST")
                && !key.ends_with("_PORT")
                && !key.contains("_PORT_")
                && !key.contains("_SERVICE_")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, Error> {
        let table: BTreeMap<_, _> = pairs.iter().copied().collect();
        Config::read(&|key| table.get(key).map(|value| (*value).to_owned()))
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let config = read(&[]).unwrap();
        assert_eq!(config.interval, Duration::from_secs(2));
        assert_eq!(config.namespace, "openfaas-fn");
        assert_eq!(config.model_dir, Path::new("/var/openfaas/secrets"));
        assert!(config.replica.starts_with("autoscaler-"));
    }

    #[test]
    fn every_bad_key_is_reported_at_once() {
        let pairs = [
            ("FARM_GATEWAY_URL", "ftp://gateway"),
            ("FARM_SCALER_INTERVAL", "2"),
            ("FARM_BIND_ADDRESS", "here"),
            ("FARM_HTTP_PORT", "0"),
            ("FARM_METRICS_PORT", "70000"),
            ("FARM_LOG_FORMAT", "xml"),
            ("FARM_NATS_URL", "http://me:hunter2@nats"),
            ("FARM_SECRETS_DIR", "/no/such/folder"),
        ];
        let message = read(&pairs).unwrap_err().to_string();
        for (key, _) in pairs {
            assert!(message.contains(&format!("{key}: ")), "{key} in {message}");
        }
        assert!(!message.contains('\n') && !message.contains("hunter2"));
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        for url in [
            "http://admin:hunter2@gateway",
            "http://admin:hunter2@gate way",
            "http://admin@gateway",
        ] {
            let message = read(&[("FARM_GATEWAY_URL", url)]).unwrap_err().to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
        let url = [("FARM_GATEWAY_URL", "http://admin:hunter2@gateway")];
        let message = read(&url).unwrap_err().to_string();
        assert!(message.contains("basic-auth-password"), "{message}");
    }

    #[test]
    fn a_password_in_the_url_of_nats_is_not_shown() {
        let config = read(&[("FARM_NATS_URL", "nats://me:hunter2@nats:4222")]);
        let shown = format!("{:?}", config.unwrap());
        assert!(shown.contains("nats:4222") && !shown.contains("hunter2"));
    }

    #[test]
    fn an_interval_is_bounded() {
        assert!(read(&[("FARM_SCALER_INTERVAL", "1h")]).is_ok());
        assert!(read(&[("FARM_SCALER_INTERVAL", "61m")]).is_err());
    }

    #[test]
    fn a_misspelt_key_is_noticed() {
        let present = ["FARM_SCALER_INTERVALL", "FARM_LOG", "FARM_AUTOSCALER_PORT"];
        assert_eq!(
            unknown_keys(present.into_iter().map(String::from)),
            ["FARM_SCALER_INTERVALL"]
        );
    }
}

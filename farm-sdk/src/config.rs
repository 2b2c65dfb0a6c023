//! Configuration: environment variables with units, read once, every bad one reported at once.

mod reader;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

use farm_core::control::MAX_SLOTS;
use farm_core::quantity::{parse_bytes, parse_duration, parse_rate};
use farm_core::{Codec, FarmName, Roles};
use farm_nats::{Access, secrets_folder};

use crate::error::Error;
use crate::granularity::Granularity;
use crate::verdict::RetryPolicy;
use reader::{Environment, Reader};
pub(crate) use reader::{Setting, Strings};

/// Where the tasks and results of a farm are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    File,
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub farm: FarmName,
    pub roles: Roles,
    /// Name of this replica: the pod's, or a random one.
    pub replica: String,
    /// The function that this is a replica of, if the platform tells.
    pub function: Option<String>,
    pub nats: Access,
    pub secrets_dir: PathBuf,
    pub connect_timeout: Duration,
    /// Slots until somebody orders others.
    pub slots: u32,
    pub telemetry_interval: Duration,
    pub granularity: Granularity,
    pub ack_wait: Setting<Duration>,
    pub retry: RetryPolicy,
    pub deadline: Option<Duration>,
    /// In which the tasks are encoded that are submitted in JSON or made by the emitter function.
    pub codec: Codec,
    pub result_ttl: Setting<Duration>,
    pub queue_max_tasks: Setting<i64>,
    pub queue_max_bytes: Setting<i64>,
    pub storage: Setting<Storage>,
    pub replicas: Setting<usize>,
    pub grace_period: Duration,
    pub bind_address: IpAddr,
    pub http_port: u16,
    pub metrics_port: u16,
    pub max_body_bytes: u64,
    pub max_task_bytes: u64,
    pub http: HttpLimits,
    pub log: Targets,
    pub log_format: LogFormat,
    pub otlp_endpoint: Option<String>,
}

/// What the clients of the HTTP face may hold, beside the sizes of bodies and tasks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HttpLimits {
    pub header_bytes: u64,
    pub header_timeout: Duration,
    /// How long a body may stand still, on its way in or out.
    pub body_timeout: Duration,
    pub connections: usize,
    /// Requests worked on at once.
    pub requests: usize,
    /// Requests that wait for a job to end, or stream, at once.
    pub streams: usize,
    pub requests_per_second: Option<f64>,
}

impl Reader<'_> {
    /// Where NATS is and who we are to it; what is wrong with either is noted.
    fn nats(&mut self, secrets_dir: &Path) -> Access {
        let url = self.strings.get("FARM_NATS_URL");
        let url = url.as_deref().unwrap_or("nats://127.0.0.1:4222");
        Access::read(url, secrets_dir).unwrap_or_else(|error| {
            self.bad.push(error.to_string());
            Access::default()
        })
    }

    fn http_limits(&mut self) -> HttpLimits {
        const SECOND: Duration = Duration::from_secs(1);
        HttpLimits {
            header_bytes: self.header_bytes(),
            header_timeout: self
                .duration("FARM_HEADER_TIMEOUT", 10 * SECOND, SECOND / 10)
                .value,
            body_timeout: self
                .duration("FARM_BODY_TIMEOUT", 60 * SECOND, SECOND / 10)
                .value,
            connections: self.number("FARM_MAX_CONNECTIONS", 1024, 1, 1 << 20).value,
            requests: self.number("FARM_MAX_REQUESTS", 256, 1, 1 << 20).value,
            streams: self.number("FARM_MAX_STREAMS", 256, 1, 1 << 20).value,
            requests_per_second: self
                .read("FARM_MAX_REQUEST_RATE", None, |text| {
                    parse_rate(text).map(Some).map_err(|e| e.to_string())
                })
                .value,
        }
    }

    fn header_bytes(&mut self) -> u64 {
        // Less holds no ordinary request; the connection's buffer does not grow beyond the most.
        const RANGE: std::ops::RangeInclusive<u64> = 1 << 10..=256 << 10;
        self.read("FARM_MAX_HEADER", 32 << 10, |text| {
            let bytes = parse_bytes(text).map_err(|e| e.to_string())?;
            if RANGE.contains(&bytes) {
                return Ok(bytes);
            }
            Err(format!("{text:?} is not between 1KiB and 256KiB"))
        })
        .value
    }
}

/// The function's name out of a Kubernetes pod name, `<name>-<template hash>-<5 characters>`.
fn deployment_of(pod: &str) -> Option<&str> {
    let (rest, suffix) = pod.rsplit_once('-')?;
    let (name, hash) = rest.rsplit_once('-')?;
    let plausible = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
    };
    let is_pod =
        suffix.len() == 5 && (5..=10).contains(&hash.len()) && plausible(suffix) && plausible(hash);
    is_pod.then_some(name)
}

fn function_name(strings: &dyn Strings) -> Option<String> {
    let host = strings.get("HOSTNAME");
    strings
        .get("OPENFAAS_NAME")
        .or_else(|| host.as_deref().and_then(deployment_of).map(str::to_owned))
}

fn farm_name(reader: &mut Reader) -> Option<FarmName> {
    let strings = reader.strings;
    let name = strings.get("FARM_NAME").or_else(|| function_name(strings));
    let Some(name) = name else {
        reader.bad.push(
            "FARM_NAME: not set; give the farm a name, for instance the function's".to_owned(),
        );
        return None;
    };
    match FarmName::new(name.trim()) {
        Ok(name) => Some(name),
        Err(error) => {
            reader.bad.push(format!("FARM_NAME: {error}"));
            None
        }
    }
}

/// Keys under `FARM_` that this version reads; any other is reported as misspelt.
pub(crate) const KEYS: &[&str] = &[
    "FARM_NAME",
    "FARM_ROLE",
    "FARM_NATS_URL",
    "FARM_SECRETS_DIR",
    "FARM_CONNECT_TIMEOUT",
    "FARM_SLOTS",
    "FARM_TELEMETRY_INTERVAL",
    "FARM_GRANULARITY",
    "FARM_ACK_WAIT",
    "FARM_MAX_ATTEMPTS",
    "FARM_MAX_DELIVERIES",
    "FARM_BACKOFF",
    "FARM_BACKOFF_MAX",
    "FARM_DEADLINE",
    "FARM_CODEC",
    "FARM_RESULT_TTL",
    "FARM_QUEUE_MAX_TASKS",
    "FARM_QUEUE_MAX_BYTES",
    "FARM_STORAGE",
    "FARM_REPLICAS",
    "FARM_GRACE_PERIOD",
    "FARM_BIND_ADDRESS",
    "FARM_HTTP_PORT",
    "FARM_METRICS_PORT",
    "FARM_MAX_BODY",
    "FARM_MAX_TASK",
    "FARM_MAX_HEADER",
    "FARM_MAX_CONNECTIONS",
    "FARM_MAX_REQUESTS",
    "FARM_MAX_REQUEST_RATE",
    "FARM_MAX_STREAMS",
    "FARM_HEADER_TIMEOUT",
    "FARM_BODY_TIMEOUT",
    "FARM_LOG",
    "FARM_LOG_FORMAT",
];

/// Keys under `FARM_` in the environment that no version reads, closest known key beside each.
pub(crate) fn unknown_keys(present: impl Iterator<Item = String>) -> Vec<String> {
    present
        .filter(|key| key.starts_with("FARM_") && !KEYS.contains(&key.as_str()))
        // Kubernetes injects these for any Service whose name starts with "farm-".
        .filter(|key| {
            !key.ends_with("_HOST") && !key.contains("_PORT_") && !key.contains("_SERVICE_")
        })
        .collect()
}

impl Config {
    /// Reads the environment of this process.
    pub fn from_environment() -> Result<Self, Error> {
        Self::read(&Environment)
    }

    /// Reads every key, then reports all bad ones together.
    pub fn read(strings: &dyn Strings) -> Result<Self, Error> {
        const SECOND: Duration = Duration::from_secs(1);
        const MILLISECOND: Duration = Duration::from_millis(1);
        let mut reader = Reader {
            strings,
            bad: Vec::new(),
        };
        let farm = farm_name(&mut reader);
        // Never seen: only there so that all other keys are read, and reported, too.
        let stand_in =
            FarmName::new("unnamed").map_err(|e| Error::Configuration(vec![e.to_string()]))?;
        let roles = reader.read("FARM_ROLE", Roles::ALL, |text| {
            text.parse()
                .map_err(|e: farm_core::InvalidRole| e.to_string())
        });
        let retry = RetryPolicy {
            max_attempts: reader.number("FARM_MAX_ATTEMPTS", 5, 1, 1_000).value,
            max_deliveries: reader.number("FARM_MAX_DELIVERIES", 20, 1, 10_000).value,
            backoff: reader
                .duration("FARM_BACKOFF", SECOND, Duration::ZERO)
                .value,
            backoff_max: reader
                .duration("FARM_BACKOFF_MAX", 60 * SECOND, Duration::ZERO)
                .value,
        };
        let default = PathBuf::from("/var/openfaas/secrets");
        let secrets_dir = reader.read("FARM_SECRETS_DIR", default, secrets_folder);
        let secrets_dir = secrets_dir.value;
        let config = Config {
            farm: farm.clone().unwrap_or(stand_in),
            roles: roles.value,
            replica: replica_name(strings),
            function: function_name(strings),
            nats: reader.nats(&secrets_dir),
            secrets_dir,
            connect_timeout: reader
                .duration("FARM_CONNECT_TIMEOUT", 30 * SECOND, MILLISECOND)
                .value,
            slots: reader.number("FARM_SLOTS", 1, 1, MAX_SLOTS).value,
            telemetry_interval: reader
                .duration("FARM_TELEMETRY_INTERVAL", SECOND, 50 * MILLISECOND)
                .value,
            granularity: reader
                .read("FARM_GRANULARITY", Granularity::Auto, Granularity::parse)
                .value,
            ack_wait: reader.duration("FARM_ACK_WAIT", 30 * SECOND, SECOND / 10),
            retry,
            codec: reader
                .word(
                    "FARM_CODEC",
                    Codec::Json,
                    &[Codec::Json, Codec::MessagePack].map(|codec| (codec.as_str(), codec)),
                )
                .value,
            deadline: reader
                .read("FARM_DEADLINE", None, |text| {
                    parse_duration(text).map(Some).map_err(|e| e.to_string())
                })
                .value,
            result_ttl: reader.duration("FARM_RESULT_TTL", 86_400 * SECOND, SECOND),
            queue_max_tasks: reader.number("FARM_QUEUE_MAX_TASKS", 1_000_000, 1, i64::MAX),
            queue_max_bytes: signed(reader.bytes("FARM_QUEUE_MAX_BYTES", 4 << 30)),
            storage: reader.word(
                "FARM_STORAGE",
                Storage::File,
                &[("file", Storage::File), ("memory", Storage::Memory)],
            ),
            replicas: reader.number("FARM_REPLICAS", 1, 1, 5),
            grace_period: reader
                .duration("FARM_GRACE_PERIOD", 25 * SECOND, Duration::ZERO)
                .value,
            bind_address: reader
                .read("FARM_BIND_ADDRESS", Ipv4Addr::UNSPECIFIED.into(), |text| {
                    let example = "127.0.0.1 or ::";
                    text.parse()
                        .map_err(|_| format!("{text:?} is no IP address: write it like {example}"))
                })
                .value,
            http_port: reader.number("FARM_HTTP_PORT", 8080, 1, u16::MAX).value,
            metrics_port: reader.number("FARM_METRICS_PORT", 8081, 1, u16::MAX).value,
            max_body_bytes: reader.bytes("FARM_MAX_BODY", 1 << 30).value,
            max_task_bytes: reader.bytes("FARM_MAX_TASK", 8 << 20).value,
            http: reader.http_limits(),
            log: reader
                .read(
                    "FARM_LOG",
                    Targets::new().with_default(LevelFilter::INFO),
                    |text| text.parse::<Targets>().map_err(|error| error.to_string()),
                )
                .value,
            log_format: reader
                .word(
                    "FARM_LOG_FORMAT",
                    LogFormat::Text,
                    &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                )
                .value,
            otlp_endpoint: strings
                .get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
                .or_else(|| strings.get("OTEL_EXPORTER_OTLP_ENDPOINT")),
        };
        match (farm, reader.bad.is_empty()) {
            (Some(_), true) => Ok(config),
            _ => Err(Error::Configuration(reader.bad)),
        }
    }
}

fn signed(setting: Setting<u64>) -> Setting<i64> {
    Setting {
        value: i64::try_from(setting.value).unwrap_or(i64::MAX),
        explicit: setting.explicit,
    }
}

fn replica_name(strings: &dyn Strings) -> String {
    strings.get("HOSTNAME").unwrap_or_else(|| {
        let id = uuid::Uuid::new_v4().simple().to_string();
        format!("replica-{}", &id[..8])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    impl Strings for HashMap<&str, &str> {
        fn get(&self, key: &str) -> Option<String> {
            HashMap::get(self, key).map(|value| (*value).to_owned())
        }
    }

    #[test]
    fn a_name_is_all_it_takes() {
        let config = Config::read(&HashMap::from([("FARM_NAME", "f")])).unwrap();
        assert_eq!(config.roles, Roles::ALL);
        assert_eq!(
            config.ack_wait,
            Setting {
                value: Duration::from_secs(30),
                explicit: false
            }
        );
    }

    #[test]
    fn a_function_is_known_by_the_platform_or_the_pod() {
        let pod = ("HOSTNAME", "shrink-worker-6d4cf56db6-x7k2p");
        let name = ("FARM_NAME", "shrink");
        let function = |pairs: &[(&'static str, &'static str)]| {
            let strings: HashMap<_, _> = pairs.iter().copied().collect();
            Config::read(&strings).unwrap().function
        };
        assert_eq!(function(&[name, pod]).as_deref(), Some("shrink-worker"));
        let told = ("OPENFAAS_NAME", "other");
        assert_eq!(function(&[name, pod, told]).as_deref(), Some("other"));
        assert_eq!(function(&[name, ("HOSTNAME", "sleeper-worker-3")]), None);
    }

    #[test]
    fn a_pod_name_names_the_farm() {
        let pod = HashMap::from([("HOSTNAME", "fn-2-go-6d4cf56db6-x7k2p")]);
        assert_eq!(Config::read(&pod).unwrap().farm.as_str(), "fn-2-go");
        let host = HashMap::from([("HOSTNAME", "my-laptop")]);
        assert!(
            Config::read(&host)
                .unwrap_err()
                .to_string()
                .contains("FARM_NAME: not set")
        );
    }

    #[test]
    fn every_bad_key_is_reported_at_once() {
        let strings = HashMap::from([
            ("FARM_NAME", "No Good"),
            ("FARM_ROLE", "boss"),
            ("FARM_ACK_WAIT", "30"),
            ("FARM_SLOTS", "0"),
            ("FARM_TELEMETRY_INTERVAL", "0s"),
            ("FARM_STORAGE", "tape"),
            ("FARM_GRANULARITY", "fine"),
            ("FARM_CODEC", "raw"),
            ("FARM_QUEUE_MAX_BYTES", "1"),
            ("FARM_MAX_HEADER", "1MiB"),
            ("FARM_MAX_REQUEST_RATE", "100"),
            ("FARM_MAX_CONNECTIONS", "0"),
            ("FARM_NATS_URL", "http://me:hunter2@nats"),
            ("FARM_SECRETS_DIR", "/no/such/folder"),
        ]);
        let message = Config::read(&strings).unwrap_err().to_string();
        for key in strings.keys() {
            assert!(message.contains(&format!("{key}: ")), "{key} in {message}");
        }
        assert!(!message.contains('\n') && !message.contains("hunter2"));
    }

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        let strings = HashMap::from([
            ("FARM_NAME", "f"),
            ("FARM_NATS_URL", "nats://me:hunter2@nats:4222"),
        ]);
        let shown = format!("{:?}", Config::read(&strings).unwrap());
        assert!(shown.contains("nats:4222") && !shown.contains("hunter2"));
    }

    #[test]
    fn a_misspelt_key_is_noticed() {
        let present = [
            "FARM_SLOT",
            "FARM_SLOTS",
            "FARM_UI_SERVICE_HOST",
            "FARM_UI_PORT_80_TCP",
            "PATH",
        ];
        assert_eq!(
            unknown_keys(present.into_iter().map(String::from)),
            ["FARM_SLOT"]
        );
    }
}

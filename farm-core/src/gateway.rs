//! The OpenFaaS gateway REST API: bodies of `/system/*`.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /system/functions` | | list of [`FunctionStatus`] |
//! | `POST`, `PUT /system/functions` | [`FunctionDeployment`] | empty |
//! | `DELETE /system/functions` | [`DeleteFunction`] | empty |
//! | `GET /system/function/{name}` | | [`FunctionStatus`] |
//! | `POST /system/scale-function/{name}` | [`ScaleRequest`] | empty |
//! | `GET /system/info` | | [`SystemInfo`] |
//! | `GET /system/logs?name=` | | [`LogLine`], one per line |
//! | `GET /system/namespaces` | | list of names |
//! | `GET /system/secrets` | | list of [`Secret`] without values |
//! | `POST`, `PUT`, `DELETE /system/secrets` | [`Secret`] | empty |
//!
//! The other side is written in Go: a field marked `omitempty` there is left out when it is
//! zero or empty, and an absent collection may also arrive as `null`. Both are honoured here,
//! when writing and when reading.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The one namespace of OpenFaaS CE and of a farm on one machine.
pub const NAMESPACE: &str = "openfaas-fn";
/// Header that names one invocation through gateway, function and callback.
pub const CALL_ID_HEADER: &str = "x-call-id";
/// Label: replicas to start with when a function is deployed.
pub const SCALE_MIN_LABEL: &str = "com.openfaas.scale.min";
/// Label: most replicas the gateway's own scaler asks for.
pub const SCALE_MAX_LABEL: &str = "com.openfaas.scale.max";

/// Labels or annotations.
pub type Metadata = BTreeMap<String, String>;

/// What to run: the body of a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FunctionDeployment {
    /// Name of the function.
    pub service: String,
    /// Container image, fully qualified.
    pub image: String,
    /// Namespace; empty for the default one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Process a watchdog starts (`fprocess`); empty without a watchdog.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub env_process: String,
    /// Environment of the function.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub env_vars: BTreeMap<String, String>,
    /// Placement constraints; OpenFaaS CE ignores them.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub constraints: Vec<String>,
    /// Names of the secrets the function reads.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub secrets: Vec<String>,
    /// Labels; the scaler reads them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Metadata>,
    /// Annotations: free text beside the labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Metadata>,
    /// Most it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<FunctionResources>,
    /// What it needs to be placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<FunctionResources>,
    /// Whether its root filesystem is read-only.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only_root_filesystem: bool,
}

/// A deployed function and how it is.
///
/// Go leaves `replicas` and `availableReplicas` out when they are 0:
///
/// ```
/// use farm_core::gateway::FunctionStatus;
/// let status: FunctionStatus =
///     serde_json::from_str(r#"{"name":"shrink","image":"shrink:1","labels":null}"#)?;
/// assert_eq!((status.replicas, status.available_replicas), (0, 0));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FunctionStatus {
    /// Name of the function.
    pub name: String,
    /// Container image, fully qualified.
    pub image: String,
    /// Namespace it runs in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Process a watchdog starts (`fprocess`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub env_process: String,
    /// Environment of the function; OpenFaaS CE never tells it.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub env_vars: BTreeMap<String, String>,
    /// Placement constraints; OpenFaaS CE never tells them.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub constraints: Vec<String>,
    /// Names of the secrets the function reads.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub secrets: Vec<String>,
    /// Labels; the platform may have added some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Metadata>,
    /// Annotations; the platform may have added some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Metadata>,
    /// Most it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<FunctionResources>,
    /// What it needs to be placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<FunctionResources>,
    /// Whether its root filesystem is read-only.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only_root_filesystem: bool,
    /// Requests the gateway passed to it.
    #[serde(skip_serializing_if = "is_zero_f64", serialize_with = "go_number")]
    pub invocation_count: f64,
    /// Replicas that were asked for.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub replicas: u64,
    /// Replicas that answer their health probe.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub available_replicas: u64,
    /// When it was created, as an RFC 3339 time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// What all its replicas use together, where the platform measures it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<FunctionUsage>,
}

impl FunctionStatus {
    /// The value of a label, if the function has it.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// The value of an annotation, if the function has it.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// Resource quantities in Kubernetes notation, such as `128Mi` and `500m`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FunctionResources {
    /// Memory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub memory: String,
    /// Processor share.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cpu: String,
    /// Any other resource, such as `nvidia.com/gpu`.
    #[serde(flatten)]
    pub other: BTreeMap<String, String>,
}

/// What all replicas of a function use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FunctionUsage {
    /// Processor use, in thousandths of a core.
    #[serde(skip_serializing_if = "is_zero_f64", serialize_with = "go_number")]
    pub cpu: f64,
    /// Memory, in bytes.
    #[serde(skip_serializing_if = "is_zero_f64", serialize_with = "go_number")]
    pub total_memory_bytes: f64,
}

/// Which function to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteFunction {
    /// Name of the function.
    pub function_name: String,
    /// Its namespace; OpenFaaS CE reads the query instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// How many replicas a function is to have.
///
/// Kubernetes platforms read the name from the path and the namespace from the query; faasd
/// reads both from this body. Send both forms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleRequest {
    /// Name of the function.
    pub service_name: String,
    /// Replicas asked for.
    pub replicas: u64,
    /// Its namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// What gateway and provider are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemInfo {
    /// What runs the functions.
    #[serde(default)]
    pub provider: Option<ProviderInfo>,
    /// Version of the gateway.
    #[serde(default)]
    pub version: Option<VersionInfo>,
    /// Processor architecture of the gateway.
    #[serde(default)]
    pub arch: String,
}

/// What runs the functions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderInfo {
    /// Its name, such as `faas-netes-ce`.
    #[serde(rename = "provider", default)]
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: Option<VersionInfo>,
    /// What it places functions on, such as `kubernetes`.
    #[serde(default)]
    pub orchestration: String,
}

/// Version of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionInfo {
    /// Message of the commit it was built from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub commit_message: String,
    /// The commit it was built from.
    pub sha: String,
    /// Its release number.
    pub release: String,
}

/// One line a replica wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogLine {
    /// Name of the function.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The replica.
    pub instance: String,
    /// When the line was read, as an RFC 3339 time.
    pub timestamp: String,
    /// The line, without its end.
    pub text: String,
}

/// A secret: with its value on the way in, without on the way out.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// Name of the secret.
    pub name: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The value, if it is text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// The value as base64 text, if it is not; counts only when `value` is empty.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub raw_value: String,
}

impl fmt::Debug for Secret {
    /// Never shows the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Go writes a float without a fraction as an integer.
fn go_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    const EXACT: f64 = (1u64 << f64::MANTISSA_DIGITS) as f64;
    if number.fract() == 0.0 && (0.0..EXACT).contains(number) {
        return serializer.serialize_u64(*number as u64);
    }
    serializer.serialize_f64(*number)
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero_u64(number: &u64) -> bool {
    *number == 0
}

fn is_zero_f64(number: &f64) -> bool {
    *number == 0.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn empty_fields_are_left_out_as_go_leaves_them_out() {
        let deployment = FunctionDeployment {
            service: "shrink".into(),
            image: "shrink:1".into(),
            ..Default::default()
        };
        assert_eq!(
            serde_json::to_value(&deployment).unwrap(),
            json!({"service": "shrink", "image": "shrink:1"})
        );
        let status = FunctionStatus {
            name: "shrink".into(),
            ..Default::default()
        };
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            json!({"name": "shrink", "image": ""})
        );
    }

    #[test]
    fn an_empty_map_behind_a_pointer_is_kept_as_go_keeps_it() {
        let deployment = FunctionDeployment {
            labels: Some(Metadata::new()),
            ..Default::default()
        };
        let text = serde_json::to_string(&deployment).unwrap();
        assert_eq!(text, r#"{"service":"","image":"","labels":{}}"#);
        assert_eq!(
            serde_json::from_str::<FunctionDeployment>(&text).unwrap(),
            deployment
        );
    }

    #[test]
    fn null_and_unknown_fields_are_read() {
        let status: FunctionStatus = serde_json::from_value(json!({
            "name": "shrink", "image": "i", "envVars": null, "secrets": null, "labels": null,
            "limits": {"memory": "64Mi", "nvidia.com/gpu": "1"}, "novelty": [1],
            "createdAt": "2026-01-02T03:04:05+01:00", "invocationCount": 3
        }))
        .unwrap();
        assert_eq!(status.invocation_count, 3.0);
        let limits = status.limits.unwrap();
        assert_eq!(limits.memory, "64Mi");
        assert_eq!(limits.other["nvidia.com/gpu"], "1");
    }

    #[test]
    fn a_whole_float_is_written_as_go_writes_it() {
        let status = FunctionStatus {
            invocation_count: 3.0,
            usage: Some(FunctionUsage {
                cpu: 1.5,
                total_memory_bytes: 0.0,
            }),
            ..Default::default()
        };
        assert_eq!(
            serde_json::to_string(&status).unwrap(),
            r#"{"name":"","image":"","invocationCount":3,"usage":{"cpu":1.5}}"#
        );
    }

    #[test]
    fn system_info_reads_what_a_gateway_sends() {
        let info: SystemInfo = serde_json::from_value(json!({
            "provider": {"provider": "faas-netes-ce", "version": {"sha": "s", "release": "0.18.17"},
                         "orchestration": "kubernetes"},
            "version": {"sha": "t", "release": "0.27.13"}, "arch": "x86_64"
        }))
        .unwrap();
        assert_eq!(info.provider.unwrap().name, "faas-netes-ce");
        assert_eq!(info.version.unwrap().release, "0.27.13");
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret {
            name: "db".into(),
            value: "hunter2".into(),
            raw_value: "aHVudGVyMg==".into(),
            ..Default::default()
        };
        let shown = format!("{secret:?}");
        assert!(shown.contains("db") && !shown.contains("unter") && !shown.contains("aHV"));
    }
}

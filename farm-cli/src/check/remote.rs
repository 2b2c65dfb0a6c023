//! A function that runs elsewhere: what HTTP shows of it.

use std::time::Instant;

use reqwest::{StatusCode, Url};

use super::finding::{Fault, Report};
use super::probe::{Face, client, seen_as};
use super::{metrics, name};
use crate::failure::Failure;

/// Addresses of a running function.
pub struct Remote {
    /// Its HTTP face, directly or behind a gateway.
    pub url: Url,
    /// Its metrics, if they can be reached.
    pub metrics_url: Option<Url>,
    /// Its token, if it wants one.
    pub token: Option<String>,
}

impl Remote {
    /// Checks what can be seen; says why the rest cannot.
    ///
    /// # Errors
    /// Nothing answers there.
    pub async fn check(self) -> Result<Report, Failure> {
        let is_local = matches!(
            self.url.host_str(),
            Some("localhost" | "127.0.0.1" | "[::1]")
        );
        let face = Face::new(client(!is_local)?, self.url.as_str(), self.token.clone());
        let mut report = Report::default();
        for (check, path) in [(name::HEALTH, "/_/health"), (name::READINESS, "/_/ready")] {
            let started = Instant::now();
            let seen = face.probe(path).await;
            if let Err(cause) = &seen {
                return Err(Failure::Unreachable(format!(
                    "{} cannot be reached: {cause}; start the function, or correct the address",
                    self.url
                )));
            }
            if check == name::HEALTH && seen == Ok(StatusCode::NOT_FOUND) {
                return Err(Failure::Unreachable(format!(
                    "{} answers 404 to GET {path}: deploy the function, or correct the address",
                    self.url
                )));
            }
            let judgement = match seen == Ok(StatusCode::OK) {
                true => Ok(format!(
                    "GET {path} answers 200 now; an outage was not tried"
                )),
                false => Err(Fault::new(
                    format!("GET {path} {}", seen_as(&seen)),
                    "see the function's log, and whether NATS is there",
                )),
            };
            report.record(check, started, judgement);
        }
        let started = Instant::now();
        report.record(name::STATUS, started, face.farm_status().await);
        self.metrics(!is_local, &mut report).await?;
        let elsewhere = "it would stop or restart the function: check its image or its crate";
        for check in [name::DRAIN, name::JOB, name::BAD_VALUE, name::NATS_URL] {
            report.skip(check, elsewhere);
        }
        let unseen = "HTTP does not show it: check its image";
        for check in [name::USER, name::ROOT, name::LOG] {
            report.skip(check, unseen);
        }
        Ok(report)
    }

    async fn metrics(&self, proxy: bool, report: &mut Report) -> Result<(), Failure> {
        let Some(url) = &self.metrics_url else {
            let why = "no gateway passes the metrics port on: give its address with --metrics-url";
            report.skip(name::METRICS, why);
            return Ok(());
        };
        let started = Instant::now();
        let face = Face::new(client(proxy)?, url.as_str(), None);
        let judgement = match face.read("").await {
            Ok((StatusCode::OK, body)) => metrics::judge(&String::from_utf8_lossy(&body)),
            other => Err(Fault::new(
                format!("{url} {}", seen_as(&other.map(|(status, _)| status))),
                "give the address of /metrics on port 8081 of a replica",
            )),
        };
        report.record(name::METRICS, started, judgement);
        Ok(())
    }
}

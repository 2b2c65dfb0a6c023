//! One trace per task across the queue: submit, attempts, collect. Off unless an OTLP endpoint is
//! configured; a trace context that comes with a task is passed on all the same.

use std::collections::HashMap;
use std::sync::Arc;

use farm_core::TaskId;
use farm_core::envelope::TRACEPARENT;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span as _, SpanKind, Status, TraceContextExt, Tracer as _, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan};

use crate::config::Config;

/// Starts the spans of a replica.
#[derive(Clone)]
pub(crate) struct Tracer(Option<Arc<Exporting>>);

struct Exporting {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// A span under way, or the trace context that is only passed on.
pub(crate) enum Span {
    Recorded(Box<SdkSpan>),
    Passed(Option<String>),
}

impl Tracer {
    /// Exports over OTLP/HTTP if the standard `OTEL_EXPORTER_OTLP_*` variables name an endpoint.
    ///
    /// # Errors
    /// What the exporter says of those variables.
    pub fn start(config: &Config) -> Result<Self, String> {
        if config.otlp_endpoint.is_none() {
            return Ok(Self(None));
        }
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .build()
            .map_err(|error| error.to_string())?;
        let resource = Resource::builder()
            .with_service_name(config.farm.to_string())
            .with_attribute(KeyValue::new("service.instance.id", config.replica.clone()))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("farm-sdk");
        Ok(Self(Some(Arc::new(Exporting { provider, tracer }))))
    }

    /// Whether spans are exported.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The task is put into the queue; `parent` is the trace of the request, if it had one.
    /// Who the task is matters only if spans are exported.
    pub fn submit(&self, parent: Option<&str>, task: impl FnOnce() -> TaskId) -> Span {
        if !self.is_on() {
            return Span::Passed(parent.map(str::to_owned));
        }
        self.span("farm.submit", SpanKind::Producer, &task(), parent, None)
    }

    /// A worker takes the task up.
    pub fn attempt(&self, task: &TaskId, attempt: u64, parent: Option<&str>) -> Span {
        self.span(
            "farm.attempt",
            SpanKind::Consumer,
            task,
            parent,
            Some(attempt),
        )
    }

    /// The collector counts the outcome.
    pub fn collect(&self, task: &TaskId, parent: Option<&str>) -> Span {
        self.span("farm.collect", SpanKind::Consumer, task, parent, None)
    }

    fn span(
        &self,
        name: &'static str,
        kind: SpanKind,
        task: &TaskId,
        parent: Option<&str>,
        attempt: Option<u64>,
    ) -> Span {
        let Some(exporting) = &self.0 else {
            return Span::Passed(parent.map(str::to_owned));
        };
        let mut attributes = vec![
            KeyValue::new("farm.job", task.job.to_string()),
            KeyValue::new("farm.task", task.key.to_string()),
        ];
        if let Some(attempt) = attempt {
            attributes.push(KeyValue::new(
                "farm.attempt",
                i64::try_from(attempt).unwrap_or(i64::MAX),
            ));
        }
        let span = exporting
            .tracer
            .span_builder(name)
            .with_kind(kind)
            .with_attributes(attributes)
            .start_with_context(&exporting.tracer, &context_of(parent));
        Span::Recorded(Box::new(span))
    }

    /// Sends what was not sent yet. Blocks: the exporter has a thread of its own.
    pub fn stop(&self) {
        if let Some(exporting) = &self.0
            && let Err(error) = exporting.provider.shutdown()
        {
            tracing::warn!(%error, "some spans were not exported");
        }
    }
}

fn context_of(traceparent: Option<&str>) -> Context {
    let carrier: HashMap<String, String> = traceparent
        .map(|text| (TRACEPARENT.to_owned(), text.to_owned()))
        .into_iter()
        .collect();
    // A fresh context: whatever span is current on this thread has nothing to do with the task.
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

impl Span {
    /// The context to send along with the task.
    pub fn traceparent(&self) -> Option<String> {
        match self {
            Span::Passed(traceparent) => traceparent.clone(),
            Span::Recorded(span) => {
                let context = Context::new().with_remote_span_context(span.span_context().clone());
                let mut carrier = HashMap::new();
                TraceContextPropagator::new().inject_context(&context, &mut carrier);
                carrier.remove(TRACEPARENT)
            }
        }
    }

    /// Ends the span, as failed if there is a `failure`.
    pub fn end(self, failure: Option<&str>) {
        if let Span::Recorded(mut span) = self {
            if let Some(failure) = failure {
                span.set_status(Status::error(failure.to_owned()));
            }
            span.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_exporter_a_trace_context_is_passed_on() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let task = "j.0".parse().unwrap();
        let span = Tracer(None).attempt(&task, 1, Some(parent));
        assert_eq!(span.traceparent().as_deref(), Some(parent));
    }

    #[test]
    fn an_attempt_belongs_to_the_trace_of_its_submit() {
        let provider = SdkTracerProvider::builder().build();
        let tracer = provider.tracer("test");
        let tracer = Tracer(Some(Arc::new(Exporting { provider, tracer })));
        let task: TaskId = "j.0".parse().unwrap();
        let submit = tracer.submit(None, || task.clone()).traceparent().unwrap();
        let attempt = tracer
            .attempt(&task, 1, Some(&submit))
            .traceparent()
            .unwrap();
        let trace_id = |text: &str| text.split('-').nth(1).unwrap().to_owned();
        assert_eq!(trace_id(&submit), trace_id(&attempt));
        assert_ne!(submit, attempt);
    }
}

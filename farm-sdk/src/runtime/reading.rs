//! Reads a stream from some place on, and leaves nothing behind at the server.
//!
//! The server keeps an abandoned consumer for half a minute and a stream takes about a thousand of
//! them: a farm asked some dozen times a second would soon be refused.

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;
use tokio::runtime::Handle;

use crate::task_error::chain;

/// The messages of a stream in their order, as they come.
pub(crate) struct Reading {
    messages: pull::Ordered,
    stream: Stream,
    consumer: String,
    waiting: u64,
}

impl Reading {
    pub async fn start(stream: &Stream, config: pull::OrderedConfig) -> Result<Self, String> {
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| chain(&error))?;
        let info = consumer.cached_info();
        let (name, waiting) = (info.name.clone(), info.num_pending);
        let messages = consumer.messages().await;
        Ok(Self {
            messages: messages.map_err(|error| chain(&error))?,
            stream: stream.clone(),
            consumer: name,
            waiting,
        })
    }

    /// How many messages were stored already when the reading began.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    pub async fn next(&mut self) -> Option<Result<Message, String>> {
        let message = self.messages.next().await?;
        Some(message.map_err(|error| chain(&error)))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let (stream, consumer) = (self.stream.clone(), std::mem::take(&mut self.consumer));
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                // One that was replaced meanwhile, or is missed here, the server forgets by itself.
                let _ = stream.delete_consumer(&consumer).await;
            });
        }
    }
}

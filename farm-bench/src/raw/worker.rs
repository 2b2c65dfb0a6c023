//! A raw worker.

use std::collections::VecDeque;

use async_nats::Subject;
use bytes::Bytes;
use futures_util::StreamExt;

use super::emitter::{join, parts};
use super::publisher::Publisher;
use super::streams::tasks;
use super::{Load, connect, say, told};
use crate::error::Error;
use crate::task::{Task, spin};

/// Computes tasks until the benchmark is gone.
pub(crate) async fn work(load: Load) -> Result<(), Error> {
    let client = connect(&load).await?;
    let mut tasks = tasks(client.clone()).await?;
    let mut results = Publisher::new(&client).await?;
    let mut unfinished: VecDeque<Subject> = VecDeque::new();
    say("ready")?;
    let gone = told();
    tokio::pin!(gone);
    loop {
        tokio::select! {
            task = tasks.next(), if !results.is_full() => {
                let Some(task) = task else { return Ok(()) };
                let task = task.map_err(Error::broker("pull tasks"))?;
                let result = compute(&load, &task.payload);
                results.publish(load.safety.once.result(&task, result)).await?;
                unfinished.extend(task.reply.clone());
            }
            stored = results.acknowledged(), if results.outstanding() > 0 => {
                stored?;
                // The result is stored: the task is done with.
                if let Some(reply) = unfinished.pop_front() {
                    let done = client.publish(reply, Bytes::from_static(b"+ACK")).await;
                    done.map_err(Error::broker("acknowledge a task"))?;
                }
            }
            _ = &mut gone => return Ok(()),
        }
    }
}

fn compute(load: &Load, body: &Bytes) -> Bytes {
    let one = |task: &[u8]| {
        std::hint::black_box(spin(load.work.spin_rounds));
        body.slice_ref(Task::intended_text(task))
    };
    if load.chunk == 1 {
        return one(body);
    }
    let results: Vec<Bytes> = parts(body).map(one).collect();
    join(results.iter().map(Bytes::as_ref))
}

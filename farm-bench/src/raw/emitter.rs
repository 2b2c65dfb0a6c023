//! The raw emitter.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;

use super::publisher::Publisher;
use super::{Load, connect, orders, say};
use crate::error::Error;
use crate::task::{Task, Work};

/// Tasks made and not yet published.
const QUEUED: usize = 1024;

/// Publishes the tasks of each job once told to, and says when they are stored.
pub(crate) async fn emit(load: Load) -> Result<(), Error> {
    let client = connect(&load).await?;
    let mut publisher = Publisher::new(&client).await?;
    let mut orders = orders();
    say("ready")?;
    for numbers in load.jobs() {
        if orders.recv().await.is_none() {
            return Ok(());
        }
        match load.work.rate_per_second {
            Some(_) => emit_timed(&load, &mut publisher).await?,
            None => emit_all(&load, numbers, &mut publisher).await?,
        }
        while publisher.outstanding() > 0 {
            publisher.acknowledged().await?;
        }
        say("stored")?;
    }
    std::future::pending().await
}

/// As fast as can be: all tasks are alike, so one body serves them all.
async fn emit_all(
    load: &Load,
    numbers: Range<u64>,
    publisher: &mut Publisher,
) -> Result<(), Error> {
    let chunk = u64::from(load.chunk);
    let task = encode(&Task::of_size(
        0,
        load.work.spin_rounds,
        load.work.task_bytes,
    ));
    let body = |count: u64| match chunk {
        1 => task.clone(),
        _ => join((0..count).map(|_| task.as_ref())),
    };
    let full = body(chunk);
    let mut first = numbers.start;
    while first < numbers.end {
        while publisher.is_full() {
            publisher.acknowledged().await?;
        }
        let count = chunk.min(numbers.end - first);
        let body = match count == chunk {
            true => full.clone(),
            false => body(count),
        };
        publisher
            .publish(load.safety.once.task(first, body))
            .await?;
        first += count;
    }
    Ok(())
}

/// Each task at its time: a thread of its own keeps the time.
async fn emit_timed(load: &Load, publisher: &mut Publisher) -> Result<(), Error> {
    let (sender, mut tasks) = mpsc::channel(QUEUED);
    let work: Work = load.work;
    std::thread::spawn(move || {
        for task in work.tasks() {
            if sender.blocking_send(encode(&task)).is_err() {
                return;
            }
        }
    });
    let mut sequence = 0_u64;
    while let Some(body) = tasks.recv().await {
        while publisher.is_full() {
            publisher.acknowledged().await?;
        }
        publisher
            .publish(load.safety.once.task(sequence, body))
            .await?;
        while publisher.is_acknowledged()? {}
        sequence += 1;
    }
    Ok(())
}

fn encode(task: &Task) -> Bytes {
    // Numbers and text can always be written.
    Bytes::from(serde_json::to_vec(task).unwrap_or_default())
}

/// Many bodies in one: before each its length, four bytes.
pub(super) fn join<'a>(bodies: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut joined = BytesMut::new();
    for body in bodies {
        joined.put_u32_le(body.len() as u32);
        joined.put_slice(body);
    }
    joined.freeze()
}

/// The bodies that [`join`] put together.
pub(super) fn parts(mut joined: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = joined.split_first_chunk::<4>()?;
        let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        joined = rest;
        Some(body)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_joined_comes_apart() {
        let bodies: [&[u8]; 3] = [b"one", b"", b"three"];
        let joined = join(bodies.into_iter());
        assert_eq!(parts(&joined).collect::<Vec<_>>(), bodies);
        assert_eq!(parts(&joined[..5]).count(), 0);
    }
}

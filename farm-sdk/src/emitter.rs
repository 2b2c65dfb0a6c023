//! The emitter: what turns one job into tasks.

use std::any::TypeId;
use std::marker::PhantomData;

use bytes::Bytes;
use farm_core::Codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, Encoded, Mismatch, Unwritable};

/// Splits a job into tasks of type `In`.
///
/// Functions `fn(Job) -> impl IntoIterator<Item = In>` become one by
/// [`Farm::emitter`](crate::Farm::emitter).
pub trait Emitter<In>: Send + Sync + 'static {
    /// What is submitted.
    type Job: Serialize + DeserializeOwned + 'static;

    /// The tasks of `job`, in order; drawn lazily, so a job may have more than fit in memory.
    fn split(&self, job: Self::Job) -> impl Iterator<Item = In> + 'static;
}

/// The emitter of a farm without one: the job is the task.
pub struct Direct;

impl<In: Serialize + DeserializeOwned + 'static> Emitter<In> for Direct {
    type Job = In;
    fn split(&self, job: In) -> impl Iterator<Item = In> + 'static {
        std::iter::once(job)
    }
}

/// A function as an [`Emitter`].
pub struct Split<F, Signature> {
    function: F,
    signature: PhantomData<fn() -> Signature>,
}

impl<F, Signature> Split<F, Signature> {
    pub(crate) fn new(function: F) -> Self {
        Self {
            function,
            signature: PhantomData,
        }
    }
}

impl<F, Job, Tasks, In> Emitter<In> for Split<F, fn(Job) -> Tasks>
where
    F: Fn(Job) -> Tasks + Send + Sync + 'static,
    Job: Serialize + DeserializeOwned + 'static,
    Tasks: IntoIterator<Item = In> + 'static,
    Tasks::IntoIter: 'static,
{
    type Job = Job;
    fn split(&self, job: Job) -> impl Iterator<Item = In> + 'static {
        (self.function)(job).into_iter()
    }
}

/// Why a submitted value gave no tasks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SplitError {
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error("task {sequence} of the job {error}")]
    Encode { sequence: u64, error: Unwritable },
}

/// An emitter whose types are bytes: what the HTTP face handles.
pub(crate) trait ErasedEmitter: Send + Sync {
    /// Whether a job may be submitted as raw bytes.
    fn takes_raw(&self) -> bool;

    /// The codec of the tasks of jobs submitted in `submitted`, where `wished` is the farm's.
    fn task_codec(&self, submitted: Codec, wished: Codec) -> Codec;

    /// Decodes `value` and gives the body of each of its tasks, in the codec
    /// [`task_codec`](Self::task_codec) tells of, to `sink` until that says stop.
    fn split(
        &self,
        value: Encoded,
        tasks_in: Codec,
        sink: &mut dyn FnMut(Bytes) -> bool,
    ) -> Result<(), SplitError>;
}

pub(crate) struct Typed<E, In> {
    emitter: E,
    input: PhantomData<fn() -> In>,
}

impl<E, In> Typed<E, In> {
    pub fn new(emitter: E) -> Self {
        Self {
            emitter,
            input: PhantomData,
        }
    }
}

/// Whether a farm has no emitter function.
fn is_direct<E: 'static>() -> bool {
    TypeId::of::<E>() == TypeId::of::<Direct>()
}

impl<In, E> ErasedEmitter for Typed<E, In>
where
    In: Serialize + 'static,
    E: Emitter<In>,
{
    fn takes_raw(&self) -> bool {
        codec::is_raw::<E::Job>()
    }

    fn task_codec(&self, submitted: Codec, wished: Codec) -> Codec {
        codec::fitting::<In>(match submitted {
            // What no emitter function has looked at stays as compact as it came.
            Codec::MessagePack if is_direct::<E>() => submitted,
            _ => wished,
        })
    }

    fn split(
        &self,
        value: Encoded,
        tasks_in: Codec,
        sink: &mut dyn FnMut(Bytes) -> bool,
    ) -> Result<(), SplitError> {
        let job: E::Job = codec::decode(&value)?;
        if is_direct::<E>() && value.codec == tasks_in {
            // It fits, and the worker decodes it to the same type.
            sink(compact(value));
            return Ok(());
        }
        for (sequence, task) in (0..).zip(self.emitter.split(job)) {
            let task = codec::encode(&task, tasks_in);
            let task = task.map_err(|error| SplitError::Encode { sequence, error })?;
            if !sink(task.bytes) {
                break;
            }
        }
        Ok(())
    }
}

/// The bytes of a submitted value, without what is around them.
fn compact(value: Encoded) -> Bytes {
    match value.codec {
        // It is cut out of a piece of the body, which it would keep in memory.
        Codec::Json => Bytes::copy_from_slice(value.bytes.trim_ascii()),
        Codec::MessagePack | Codec::Raw => value.bytes,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::Raw;

    /// Where serde fills in, renames and ignores.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Photo {
        #[serde(alias = "file")]
        path: String,
        #[serde(default = "hundred")]
        width_pixels: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    }

    fn hundred() -> u32 {
        100
    }

    fn tasks<E: Emitter<In>, In: Serialize + 'static>(
        emitter: E,
        value: &Encoded,
        wished: Codec,
    ) -> Result<Vec<Encoded>, SplitError> {
        let emitter = Typed::<E, In>::new(emitter);
        let codec = emitter.task_codec(value.codec, wished);
        let mut tasks = Vec::new();
        emitter.split(value.clone(), codec, &mut |bytes| {
            tasks.push(Encoded { codec, bytes });
            true
        })?;
        Ok(tasks)
    }

    fn direct<In: Serialize + serde::de::DeserializeOwned + 'static>(value: &Encoded) -> Encoded {
        let mut tasks = tasks::<_, In>(Direct, value, Codec::Json).unwrap();
        assert_eq!(tasks.len(), 1);
        tasks.remove(0)
    }

    /// What the worker of a farm without an emitter function was given when each value was decoded
    /// and encoded again.
    fn encoded_again(value: &Encoded) -> Encoded {
        let split = Split::new(|photo: Photo| [photo]);
        tasks::<_, Photo>(split, value, Codec::Json)
            .unwrap()
            .remove(0)
    }

    proptest! {
        #[test]
        fn a_value_passed_on_as_it_came_is_the_same_to_the_worker(
            path in any::<String>(),
            name in prop_oneof!["path", "file"],
            width in proptest::option::of(any::<u32>()),
            note in proptest::option::of(any::<Option<String>>()),
            unknown in any::<bool>(),
        ) {
            let mut json = serde_json::json!({ name: path });
            let fields = json.as_object_mut().unwrap();
            fields.extend(width.map(|width| ("widthPixels".to_owned(), width.into())));
            fields.extend(note.map(|note| ("note".to_owned(), note.into())));
            fields.extend(unknown.then(|| ("unknown".to_owned(), serde_json::json!([1, {}]))));
            let value = Encoded::json(format!(" {json:#}\r\n"));
            let passed_on = direct::<Photo>(&value);
            prop_assert_eq!(passed_on.codec, Codec::Json);
            prop_assert_eq!(
                codec::decode::<Photo>(&passed_on).unwrap(),
                codec::decode::<Photo>(&encoded_again(&value)).unwrap()
            );
        }
    }

    #[test]
    fn a_value_is_passed_on_as_it_came_without_what_is_around_it() {
        let value = Encoded::json(&b" {\"file\": \"a\", \"x\": 1}\r\n"[..]);
        assert_eq!(
            direct::<Photo>(&value).bytes,
            &b"{\"file\": \"a\", \"x\": 1}"[..]
        );
    }

    #[test]
    fn a_value_that_does_not_fit_is_not_passed_on() {
        let value = Encoded::json(&br#"{"path": "a", "widthPixels": -1}"#[..]);
        match tasks::<_, Photo>(Direct, &value, Codec::Json) {
            Err(SplitError::Mismatch(mismatch)) => assert_eq!(mismatch.path, "widthPixels"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_farms_codec_is_for_what_comes_in_json() {
        let json = Encoded::json(&b"7"[..]);
        let task = &tasks::<_, u8>(Direct, &json, Codec::MessagePack).unwrap()[0];
        assert_eq!(
            (task.codec, &task.bytes[..]),
            (Codec::MessagePack, &[7][..])
        );
        let split = || Split::new(|n: u8| 0..n);
        let two = codec::encode(&2_u8, Codec::MessagePack).unwrap();
        for codec in [Codec::Json, Codec::MessagePack] {
            let tasks = tasks::<_, u8>(split(), &two, codec).unwrap();
            assert_eq!(tasks.len(), 2);
            assert!(tasks.iter().all(|task| task.codec == codec));
        }
        let task = direct::<u8>(&two);
        assert_eq!(task, two, "the client knows best");
    }

    #[test]
    fn raw_tasks_are_raw_however_they_came() {
        let bytes = Raw::from(vec![0xff, 0]);
        let as_json = Encoded::json(&br#""/wA=""#[..]);
        let as_they_are = codec::encode(&bytes, Codec::Json).unwrap();
        for value in [as_json, as_they_are.clone()] {
            assert_eq!(direct::<Raw>(&value), as_they_are);
        }
        assert!(Typed::<_, Raw>::new(Direct).takes_raw());
        assert!(!Typed::<_, Photo>::new(Direct).takes_raw());
    }

    #[test]
    fn an_emitter_function_may_split_raw_bytes() {
        let words = |text: Raw| -> Vec<String> {
            let text = String::from_utf8_lossy(&text).into_owned();
            text.split(' ').map(str::to_owned).collect()
        };
        let value = codec::encode(&Raw::from(b"a b".to_vec()), Codec::Json).unwrap();
        let tasks = tasks::<_, String>(Split::new(words), &value, Codec::Json).unwrap();
        assert_eq!(
            tasks,
            [Encoded::json(&b"\"a\""[..]), Encoded::json(&b"\"b\""[..])]
        );
    }
}

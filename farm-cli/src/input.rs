//! What `farm submit` sends: a file, a folder, standard input or a literal value, as a stream.

mod folder;
mod spool;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use clap::ValueEnum;
use farm_core::http::NDJSON;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::Body;
use serde_json::value::RawValue;
use tokio_util::io::ReaderStream;

use crate::failure::Failure;
use folder::FileTasks;
use spool::Spool;

const JSON: &str = "application/json";

/// Where the tasks come from.
#[derive(clap::Args, Debug)]
pub struct InputArgs {
    /// A .json or .ndjson file; a folder, of which each file becomes one task; or - for NDJSON on
    /// standard input, which is also read if nothing is given
    #[arg(value_name = "INPUT")]
    input: Option<PathBuf>,
    /// The input itself: one JSON value, or an array of values for one task each
    #[arg(long, value_name = "JSON", conflicts_with_all = ["input", "files", "format"], value_parser = parse_json)]
    value: Option<String>,
    /// Take INPUT, a file or a folder, as content: each file becomes the task
    /// `{"name": "<path>", "bytes_base64": "<content>"}`
    #[arg(long, requires = "input", conflicts_with = "format")]
    files: bool,
    /// How the input is written [default: by the file's ending; ndjson on standard input]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// How a stream of tasks is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One JSON value, or an array of values for one task each
    Json,
    /// One JSON value per line, one task each
    Ndjson,
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Format::Json => JSON,
            Format::Ndjson => NDJSON,
        }
    }
}

fn parse_json(text: &str) -> Result<String, String> {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("that is no JSON: {error}")),
    }
}

/// A body that can be sent, and, after a failure, sent again.
pub struct Input {
    content_type: &'static str,
    source: Source,
    /// Why the source could not be read to its end, if so: no fault of the farm's.
    fault: Arc<Mutex<Option<String>>>,
}

enum Source {
    Literal(Bytes),
    File(PathBuf),
    Files(Arc<FileTasks>),
    Stdin(Arc<tokio::sync::Mutex<Spool<tokio::io::Stdin>>>),
}

impl Input {
    /// Finds out what the arguments mean.
    ///
    /// # Errors
    /// An input that is not there, or whose format cannot be told.
    pub fn open(args: &InputArgs) -> Result<Self, Failure> {
        let (content_type, source) = match (&args.value, &args.input) {
            (Some(value), _) => (JSON, Source::Literal(value.clone().into())),
            (None, Some(path)) if path.as_os_str() != "-" => from_path(path, args)?,
            (None, _) if args.files => {
                return Err(Failure::Usage(
                    "--files wants a file or a folder".to_owned(),
                ));
            }
            (None, _) => from_stdin(args.format),
        };
        Ok(Self {
            content_type,
            source,
            fault: Arc::default(),
        })
    }

    /// Media type of the body.
    pub fn content_type(&self) -> &'static str {
        self.content_type
    }

    /// The body, from its beginning. `on_chunk` is told the size of each chunk that is sent.
    ///
    /// # Errors
    /// The input cannot be opened.
    pub async fn body(&self, on_chunk: impl Fn(usize) + Send + 'static) -> Result<Body, Failure> {
        let chunks: BoxStream<'static, io::Result<Bytes>> = match &self.source {
            Source::Literal(value) => stream::iter([Ok(value.clone())]).boxed(),
            Source::File(path) => {
                let file = tokio::fs::File::open(path)
                    .await
                    .map_err(|e| unreadable(path, &e))?;
                ReaderStream::with_capacity(file, 64 * 1024).boxed()
            }
            Source::Files(tasks) => tasks.clone().lines().boxed(),
            Source::Stdin(spool) => spool::chunks(spool.clone()).boxed(),
        };
        let fault = self.fault.clone();
        let chunks = chunks.inspect_ok(move |chunk| on_chunk(chunk.len()));
        Ok(Body::wrap_stream(chunks.inspect_err(move |error| {
            *fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        })))
    }

    /// Why the last body broke off on this side, if it did.
    pub fn fault(&self) -> Option<Failure> {
        let fault = self
            .fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        Some(Failure::Refused(format!("cannot read the input: {fault}")))
    }

    /// The file that became this line of the body, if files did.
    pub fn file_of_line(&self, line: u64) -> Option<&str> {
        match &self.source {
            Source::Files(tasks) => tasks.name(usize::try_from(line.checked_sub(1)?).ok()?),
            _ => None,
        }
    }
}

fn from_path(path: &Path, args: &InputArgs) -> Result<(&'static str, Source), Failure> {
    let metadata = path.metadata().map_err(|e| unreadable(path, &e))?;
    if metadata.is_dir() || args.files {
        return Ok((NDJSON, Source::Files(Arc::new(FileTasks::find(path)?))));
    }
    let format = args.format.or_else(|| format_of(path)).ok_or_else(|| {
        Failure::Usage(format!(
            "cannot tell how {} is written: give --format json or ndjson, or --files to send it as content",
            path.display()
        ))
    })?;
    Ok((format.content_type(), Source::File(path.to_owned())))
}

fn from_stdin(format: Option<Format>) -> (&'static str, Source) {
    if io::stdin().is_terminal() {
        eprintln!("farm: reading tasks from the keyboard, one JSON value per line; Ctrl-D ends");
    }
    let spool = Spool::new(tokio::io::stdin());
    let source = Source::Stdin(Arc::new(tokio::sync::Mutex::new(spool)));
    (format.unwrap_or(Format::Ndjson).content_type(), source)
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()? {
        "json" => Some(Format::Json),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        _ => None,
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::Refused(format!("cannot read {}: {error}", path.display()))
}

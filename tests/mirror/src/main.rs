//! Gives the bytes of each task back in reverse: whatever touches them on their way shows.

use farm_sdk::{Error, Farm, Raw, TaskContext, TaskError, no_state};

async fn mirror(bytes: Raw, _: TaskContext<()>) -> Result<Raw, TaskError> {
    if bytes.is_empty() {
        return Err(TaskError::permanent("there is nothing to mirror"));
    }
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    Ok(reversed.into())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    Farm::new(mirror).run(no_state).await
}

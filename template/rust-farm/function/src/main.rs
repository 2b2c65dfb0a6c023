//! A farm that counts words. Change the three marked things and it is yours.

use farm_sdk::{Farm, TaskContext, TaskError, no_state};
use serde::{Deserialize, Serialize};

/// 1. A task: what is submitted, as JSON.
#[derive(Serialize, Deserialize)]
struct Line {
    text: String,
}

/// 2. Its result.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Count {
    words: usize,
}

/// 3. The worker: called once for every task, on as many replicas as there are.
async fn count(line: Line, _context: TaskContext<()>) -> Result<Count, TaskError> {
    let words = line.text.split_whitespace().count();
    Ok(Count { words })
}

#[tokio::main]
async fn main() -> Result<(), farm_sdk::Error> {
    Farm::new(count).run(no_state).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn words_are_counted() {
        let text = "to be or not to be".to_owned();
        let done = Farm::new(count).run_in_memory((), [Line { text }]).await;
        assert_eq!(done.results, [Count { words: 6 }]);
    }
}

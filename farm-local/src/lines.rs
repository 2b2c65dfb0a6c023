//! Reads what a process writes, line by line, whatever it writes.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Longest line kept whole; a longer one is cut into several, so that nothing is lost and the
/// writer is never blocked.
pub(crate) const MAX_LINE_BYTES: usize = 16 * 1024;

/// Gives every line of `reader` to `take`, without its end, until the writer closes.
pub(crate) async fn each_line(reader: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut reader = BufReader::with_capacity(MAX_LINE_BYTES, reader);
    let mut line = Vec::new();
    loop {
        let available = match reader.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(available) => available,
        };
        let room = &available[..available.len().min(MAX_LINE_BYTES - line.len())];
        let end = room.iter().position(|byte| *byte == b'\n');
        let part = &room[..end.unwrap_or(room.len())];
        line.extend_from_slice(part);
        let consumed = part.len() + usize::from(end.is_some());
        reader.consume(consumed);
        if end.is_some() || line.len() == MAX_LINE_BYTES {
            take(text(&line));
            line.clear();
        }
    }
    if !line.is_empty() {
        take(text(&line));
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        each_line(input, |line| lines.push(line)).await;
        lines
    }

    #[tokio::test]
    async fn lines_are_split_and_the_last_needs_no_end() {
        assert_eq!(lines(b"a\r\n\nb \xff").await, ["a", "", "b \u{fffd}"]);
        assert!(lines(b"").await.is_empty());
    }

    #[tokio::test]
    async fn a_long_line_is_cut_and_nothing_is_lost() {
        let mut input = vec![b'x'; 2 * MAX_LINE_BYTES + 7];
        input.push(b'\n');
        let lengths: Vec<_> = lines(&input).await.iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE_BYTES, MAX_LINE_BYTES, 7]);
    }
}

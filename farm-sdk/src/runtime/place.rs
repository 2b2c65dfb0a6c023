//! Where a message is in its stream, read off the subject on which it would be acknowledged.

/// The place of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Deliveries of this message by its consumer, this one included.
    pub delivered: u64,
    /// Number of the message in its stream.
    pub stream_sequence: u64,
    /// Number of the delivery at its consumer.
    pub consumer_sequence: u64,
    /// When the message was stored, since the Unix epoch.
    pub stored_nanoseconds: i128,
    /// Messages that still waited behind it.
    pub pending: u64,
}

impl Place {
    /// Reads `reply`; `None` for what came from no stream.
    ///
    /// Newer servers name domain and account before the stream, and may say more at the end:
    /// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<delivery>.<nanoseconds>.<pending>`
    pub fn read(reply: Option<&str>) -> Option<Self> {
        let rest = reply?.strip_prefix("$JS.ACK.")?;
        let names = if rest.bytes().filter(|byte| *byte == b'.').count() < 8 {
            2
        } else {
            4
        };
        let mut numbers = rest.split('.').skip(names);
        let mut number = || numbers.next()?.parse::<u64>().ok();
        Some(Self {
            delivered: number()?,
            stream_sequence: number()?,
            consumer_sequence: number()?,
            stored_nanoseconds: number()?.into(),
            pending: number()?,
        })
    }

    /// When the message was stored, in seconds since the Unix epoch.
    pub fn stored_seconds(&self) -> f64 {
        self.stored_nanoseconds as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_read_off_either_form_of_the_reply() {
        let place = Some(Place {
            delivered: 1,
            stream_sequence: 20,
            consumer_sequence: 3,
            stored_nanoseconds: 1_700_000_000_000_000_000,
            pending: 4,
        });
        let rest = "farm-f-results.reading.1.20.3.1700000000000000000.4";
        let read = |reply: &str| Place::read(Some(reply));
        assert_eq!(read(&format!("$JS.ACK.{rest}")), place);
        assert_eq!(read(&format!("$JS.ACK._.hash.{rest}")), place);
        assert_eq!(read(&format!("$JS.ACK.domain.hash.{rest}.token")), place);
        for bad in [
            "",
            "inbox.1",
            "$JS.ACK.",
            "$JS.ACK.s.c.1.20.3.4",
            "$JS.ACK.s.c.1.20.3.4.x",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}

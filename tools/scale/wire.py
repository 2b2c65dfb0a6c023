"""What NATS writes around the messages of a farm, which servers leave out of their counts.

A server counts headers and bodies. The lines of the protocol that name subjects, and the two bytes
that end a body, are computed here, from names as farm-core's topology, the SDK and NATS make them.
"""

from __future__ import annotations

END_BYTES = len("\r\n")

FARM = "f" * 5
JOB = "0" * 32
TASK_SUBJECT = f"farm.{FARM}.task.{JOB}"
# A task is known by its number in the job.
RESULT_SUBJECT = f"farm.{FARM}.result.{JOB}." + "0" * 6
# Answers come to few places.
PLACE = "0" * 3
EMITTER_INBOX = f"_INBOX_farm.{FARM}.emitter.{'0' * 22}.{PLACE}"
WORKER_INBOX = f"_INBOX_farm.{FARM}.worker.{'0' * 22}.{PLACE}"
# Deliveries, place in the stream, place at the consumer, nanoseconds, how many wait.
DELIVERY = f"1.{'0' * 6}.{'0' * 6}.{'0' * 19}.{'0' * 4}"
TASK_RECEIPT = f"$JS.ACK.farm-{FARM}-tasks.workers.{DELIVERY}"
RESULT_RECEIPT = f"$JS.ACK.farm-{FARM}-results.reading-{'0' * 32}.{DELIVERY}"

# What passes the server for one message of tasks, in turn.
LINES = (
    f"HPUB {TASK_SUBJECT} {EMITTER_INBOX} 100 300",
    f"MSG {EMITTER_INBOX} 10 40",
    f"HMSG {TASK_SUBJECT} 10 {TASK_RECEIPT} 100 300",
    f"HPUB {RESULT_SUBJECT} {WORKER_INBOX} 100 300",
    f"MSG {WORKER_INBOX} 10 40",
    f"HMSG {RESULT_SUBJECT} 10 {RESULT_RECEIPT} 100 300",
    f"PUB {TASK_RECEIPT} 4",
)


def line_bytes() -> float:
    """Give the mean of what stands around a message."""
    return sum(len(line) + 2 * END_BYTES for line in LINES) / len(LINES)

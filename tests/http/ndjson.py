"""What schemathesis must know of a farm beside its OpenAPI description."""

import json
from typing import Any

import schemathesis


@schemathesis.deserializer("application/x-ndjson")
def read_ndjson(_context: Any, response: Any) -> list[Any]:  # noqa: ANN401
    """Read a value a line; empty lines keep a connection alive."""
    return [json.loads(line) for line in response.content.splitlines() if line.strip()]

"""A stage for the page: serves it as the autoscaler does, and plays a scripted stream to it."""

import json
import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from farms import Json

PAGE = Path(__file__).parents[2] / "farm-autoscaler" / "page"
POLICY = (PAGE / "content-security-policy.txt").read_text().strip()
# How a gateway reaches the page.
GATEWAY_PATH = "/function/farm-autoscaler"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Stage:
    """The autoscaler's HTTP face, with farms and events that a test sets."""

    def __init__(self, *farms: Json) -> None:
        """Listen on a free port, with these farms."""
        self.farms = list(farms)
        self.leader = "autoscaler-0"
        # What /events, and what /farms answer instead of 200.
        self.refuse_events: int | None = None
        self.refuse_farms: int | None = None
        self._streams: list[queue.Queue[str | None]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self.drop()
        self._server.shutdown()
        self._server.server_close()

    def snapshot(self, *, histories: bool = True) -> Json:
        """All farms, as /farms answers."""
        farms = self.farms if histories else [farm | {"history": []} for farm in self.farms]
        return {
            "this_replica": "autoscaler-0",
            "leader": self.leader,
            "leads": self.leader == "autoscaler-0",
            "at_seconds": time.time(),
            "farms": farms,
        }

    def decide(self, event: Json) -> None:
        """Tell of a decision."""
        with self._lock:
            for farm in self.farms:
                if farm["farm"] == event["farm"]:
                    farm["history"] = [*farm["history"], event][-300:]
            self._send("decision", event)

    def tell_farms(self) -> None:
        """Tell that the set of farms, a problem or the leader changed."""
        with self._lock:
            self._send("farms", self.snapshot(histories=False))

    def drop(self) -> None:
        """End all streams, as a gateway does after its write timeout."""
        with self._lock:
            for stream in self._streams:
                stream.put(None)
            self._streams.clear()

    def _send(self, name: str, message: Json) -> None:
        for stream in self._streams:
            stream.put(sse(name, message))

    def _join(self) -> queue.Queue[str | None]:
        stream: queue.Queue[str | None] = queue.Queue()
        with self._lock:
            stream.put(sse("snapshot", self.snapshot()))
            self._streams.append(stream)
        return stream

    def _handler(stage) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0].removeprefix(GATEWAY_PATH)
                if path == "/events":
                    self.events()
                elif path == "/farms":
                    body = json.dumps(stage.snapshot()).encode()
                    self.answer(stage.refuse_farms or 200, "application/json", body)
                else:
                    self.file(path.lstrip("/") or "index.html")

            def events(self) -> None:
                if stage.refuse_events:
                    self.answer(stage.refuse_events, "text/plain", b"refused")
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                stream = stage._join()
                self.wfile.write(b"retry: 300\n\n")
                while (text := stream.get()) is not None:
                    self.wfile.write(text.encode())
                    self.wfile.flush()

            def file(self, name: str) -> None:
                served = {file.name: file for file in PAGE.iterdir()}
                if name not in served:
                    self.answer(404, "text/plain", b"not found")
                    return
                file = served[name]
                kind = TYPES.get(file.suffix, "text/plain")
                self.answer(200, kind, file.read_bytes())

            def answer(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Security-Policy", POLICY)
                self.send_header("X-Content-Type-Options", "nosniff")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler


def sse(name: str, message: Json) -> str:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(message)}\n\n"

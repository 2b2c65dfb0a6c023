"""Dask distributed: a cluster of processes on this machine."""

from __future__ import annotations

import contextlib
import os
import sys

from distributed import Client, LocalCluster
from harness import CALL_SECONDS, Fate, Peer, main
from measure import PAYLOAD
from work import noop, slow


class WithDask(Peer):
    """Dask distributed."""

    name = "Dask distributed"
    package = "distributed"
    documented = "computed again; given up after 3 workers died over it"

    def start(self) -> None:
        """Start scheduler and workers, without the page."""
        self.cluster = LocalCluster(
            n_workers=self.workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            worker_dashboard_address=None,
            local_directory=str(self.folder),
            silence_logs="CRITICAL",
        )
        self.client = Client(self.cluster)

    def run(self, tasks: int) -> int:
        """Submit all, then wait for all. Equal calls are computed once unless they are impure."""
        futures = self.client.map(noop, [PAYLOAD] * tasks, pure=False)
        return sum(self.client.gather(futures))

    def call(self) -> int:
        """Submit one and wait."""
        return int(self.client.submit(noop, PAYLOAD, pure=False).result(timeout=CALL_SECONDS))

    def worker_pids(self) -> list[int]:
        """Ask each worker."""
        return list(self.client.run(os.getpid).values())

    def cold_start(self) -> None:
        """Start a worker that alone can do one task."""
        need = f"cold{len(self.children)}"
        address = self.cluster.scheduler_address
        options = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--resources", f"{need}=1"]
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, *options]
        self.spawn(*command)
        task = self.client.submit(noop, PAYLOAD, pure=False, resources={need: 1})
        task.result(timeout=CALL_SECONDS)

    def slow(self, journal: str) -> Fate:
        """Look at the state of the future."""
        future = self.client.submit(slow, journal, pure=False)
        return lambda: None if future.status == "pending" else str(future.status)

    def stop(self) -> None:
        """Close the cluster, then what was started beside it."""
        super().stop()
        with contextlib.suppress(AttributeError, TimeoutError):
            self.client.close(timeout=5)
            self.cluster.close(timeout=10)


if __name__ == "__main__":
    sys.exit(main(WithDask))

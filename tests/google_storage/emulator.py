"""An emulated Cloud Storage, for clients that can be told another address."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from gcp_storage_emulator.server import create_server


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serve(bucket: str) -> Iterator[int]:
    """Serves an empty bucket; yields the port."""
    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
    server.start()
    try:
        yield port
    finally:
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        # The server looks twice a second whether it should stop, and when somebody calls.
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
        stopping.join()

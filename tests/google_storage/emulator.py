"""An emulated Cloud Storage, for clients that can be told another address."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from gcp_storage_emulator.server import create_server


@contextlib.contextmanager
def serve(bucket: str) -> Iterator[int]:
    """Serves an empty bucket; yields the port."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)
    server.start()
    port = server._api._httpd.server_port
    try:
        yield port
    finally:
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        # The server looks twice a second whether it should stop, and when somebody calls.
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
        stopping.join()

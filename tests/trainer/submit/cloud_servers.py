"""Local servers that speak the published interfaces of the cloud, record what they are sent, and fail on purpose."""

import contextlib
import dataclasses
import http.client
import http.server
import json
import random
import re
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import grpc

from tests.google_storage import emulator

FAULTS = ("429", "503", "reset")
# How soon a server sees that it should stop; half a second unless told otherwise, which every test would wait for.
POLL_INTERVAL_SECS = 0.01


class Faults:
    """Decides which calls fail: each with probability `rate`, by a fixed seed."""

    def __init__(self, rate: float = 0.0, seed: int = 0):
        self._rate = rate
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.num_calls = 0
        self.num_faults = 0

    def next(self) -> str:
        """Returns a fault, or an empty string."""
        with self._lock:
            self.num_calls += 1
            if self._random.random() >= self._rate:
                return ""
            self.num_faults += 1
            return self._random.choice(FAULTS)


class ScriptedFaults(Faults):
    """Fails the first calls in the given way."""

    def __init__(self, *script: str):
        super().__init__()
        self._script = list(script)

    def next(self) -> str:
        with self._lock:
            self.num_calls += 1
            return self._script.pop(0) if self._script else ""


@dataclasses.dataclass(frozen=True)
class Method:
    """One method of a gRPC service: the proto classes of its request and its reply, and what it does."""

    request_class: Any
    reply_class: Any
    handle: Callable[[Any], Any]


class NotFoundError(Exception):
    """Becomes the status NOT_FOUND."""


class AlreadyExistsError(Exception):
    """Becomes the status ALREADY_EXISTS."""


_STATUSES = {NotFoundError: grpc.StatusCode.NOT_FOUND, AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS}


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, methods: dict[str, Method], faults: Faults, calls: list[tuple[str, Any]]):
        self._methods = methods
        self._faults = faults
        self._calls = calls

    def service(self, handler_call_details):
        path = handler_call_details.method
        method = self._methods.get(path)
        if method is None:
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._answer(path, method, request, context),
            request_deserializer=_deserializer(method.request_class),
            response_serializer=_serializer(method.reply_class),
        )

    def _answer(self, path: str, method: Method, request: Any, context: grpc.ServicerContext) -> Any:
        fault = self._faults.next()
        if fault == "429":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "try again later")
        if fault == "503":
            context.abort(grpc.StatusCode.UNAVAILABLE, "overloaded")
        self._calls.append((path.rpartition("/")[2], request))
        try:
            reply = method.handle(request)
        except tuple(_STATUSES) as error:
            context.abort(_STATUSES[type(error)], str(error))
        if fault == "reset":
            # The call has had its effect, and its answer is lost: what a client sees of a broken connection.
            context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset by peer")
        return reply


def _deserializer(proto_class: Any) -> Any:
    return proto_class.deserialize if hasattr(proto_class, "deserialize") else proto_class.FromString


def _serializer(proto_class: Any) -> Any:
    return proto_class.serialize if hasattr(proto_class, "serialize") else proto_class.SerializeToString


@contextlib.contextmanager
def grpc_server(methods: dict[str, Method], faults: Faults) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Serves `methods` (by full path) and yields (`host:port`, list of (method, request) as they come)."""
    calls: list[tuple[str, Any]] = []
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers([_Handler(methods, faults, calls)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", calls
    finally:
        server.stop(grace=None).wait()


class _ThreadingServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


@contextlib.contextmanager
def http_server(handler_class: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serves HTTP on a free port and yields `http://host:port`."""
    server = _ThreadingServer(("127.0.0.1", 0), handler_class)
    thread = threading.Thread(target=server.serve_forever, args=(POLL_INTERVAL_SECS,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def storage_server(faults: Faults, bucket: str = "bucket") -> Iterator[str]:
    """Serves Cloud Storage (gcp-storage-emulator) through a proxy that fails on purpose; yields its address."""
    with emulator.serve(bucket) as port, http_server(_proxy_class(port, faults)) as address:
        yield address


def _proxy_class(port: int, faults: Faults) -> type[http.server.BaseHTTPRequestHandler]:
    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            # The client library looks at the bucket from a thread of its own, at a time of its own: not a call of ours.
            fault = "" if "projection=noAcl" in self.path else faults.next()
            if fault == "reset":
                self._reset()
            elif fault:
                self._reply(int(fault), [], b"{}")
            else:
                upstream = http.client.HTTPConnection("127.0.0.1", port)
                # The Host header goes along: from it the emulator makes the addresses of resumable uploads.
                try:
                    upstream.request(self.command, self.path, body, dict(self.headers))
                except ConnectionRefusedError:
                    return self._reply(503, [], b"{}")
                reply = upstream.getresponse()
                content = reply.read()
                self._reply(reply.status, reply.getheaders(), content)
                upstream.close()
            return None

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _forward  # noqa: N815

        def _reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _reset(self) -> None:
            # Closing with a zero linger time sends RST in place of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            del arguments

    return Proxy


@contextlib.contextmanager
def logging_server(lines: Sequence[str], faults: Faults) -> Iterator[str]:
    """Serves Cloud Logging's `entries:list`: one entry a second, all of one job; yields its address."""
    entries = [
        {"timestamp": f"2026-11-26T10:00:{number:02d}Z", "insertId": str(number), "textPayload": f"{line}\n"}
        for number, line in enumerate(lines)
    ]

    class Logging(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            since = re.search(r'timestamp>="([^"]*)"', body["filter"])
            wanted = [entry for entry in entries if not since or entry["timestamp"] >= since.group(1)]
            fault = faults.next()
            self.send_response({"": 200, "reset": 500}.get(fault) or int(fault))
            self.end_headers()
            self.wfile.write(json.dumps({"entries": wanted}).encode() if not fault else b"{}")

        def log_message(self, *arguments: object) -> None:
            del arguments

    with http_server(Logging) as address:
        yield address

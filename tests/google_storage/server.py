"""Cloud Storage on this machine for TensorFlow's own `gs://` file system.

TensorFlow asks `https://www.googleapis.com` and `https://storage.googleapis.com` and lets nobody name another address.
So the server is an HTTPS proxy that answers for both names itself, with a certificate made for the occasion. It keeps
objects in memory and knows the part of the JSON API that TensorFlow uses: stat, list, ranged reads, resumable uploads,
rewrite, delete.
"""

import contextlib
import datetime
import http.server
import json
import os
import pathlib
import random
import re
import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from http import HTTPStatus

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOSTS = ("www.googleapis.com", "storage.googleapis.com")
_OBJECT_PATH = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)(?P<rest>/.*)?")
# What a part of an upload brings (`*` when it only asks how far the upload came), and the size of the whole.
_UPLOADED_RANGE = re.compile(r"bytes (?:\*|(?P<start>\d+)-\d+)/(?P<size>\d+|\*)")


class ObjectStore:
    """Objects by `bucket/name`, and what befell the requests for them.

    Attributes:
      objects: the bytes of each object.
      num_requests, num_faults: requests that came, and how many of them were made to fail.
    """

    def __init__(self, buckets: tuple[str, ...], fault_rate: float = 0.0, seed: int = 0):
        self.objects: dict[str, bytes] = {}
        self.buckets = buckets
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.generations: dict[str, int] = {}
        self.num_requests = 0
        self.num_faults = 0
        self._fault_rate = fault_rate
        self._random = random.Random(seed)
        self.lock = threading.Lock()

    def put_folder(self, folder: pathlib.Path, prefix: str) -> None:
        """Uploads every file below `folder` to `prefix` (`bucket/path`)."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def put(self, key: str, content: bytes) -> None:
        """Writes an object; each write has a generation of its own, by which TensorFlow knows its cache is stale."""
        self.objects[key] = content
        self.generations[key] = self.generations.get(key, 0) + 1

    def draw_fault(self) -> int | None:
        """Returns the status of a request that is to fail, or None."""
        self.num_requests += 1
        if self._random.random() >= self._fault_rate:
            return None
        self.num_faults += 1
        return self._random.choice((HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE))


@contextlib.contextmanager
def serve(store: ObjectStore, folder: pathlib.Path) -> Iterator[dict[str, str]]:
    """Serves the objects on a loopback port.

    Args:
      store: what is served.
      folder: where the certificate goes.

    Yields:
      The environment variables that send a TensorFlow process here.
    """
    certificate = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(store, context))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield {
            "https_proxy": f"http://127.0.0.1:{server.server_port}",
            "CURL_CA_BUNDLE": str(certificate),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "nobody",
            "NO_GCE_CHECK": "true",
        }
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make_certificate(folder: pathlib.Path) -> pathlib.Path:
    """Writes a key and a certificate for `HOSTS` into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOSTS[0])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "cloud-storage.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def _handler(store: ObjectStore, context: ssl.SSLContext) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(_CloudStorageHandler):
        object_store = store
        tls = context

    return Handler


class _CloudStorageHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    object_store: ObjectStore
    tls: ssl.SSLContext

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output to itself."""

    def do_CONNECT(self) -> None:
        if self.path.partition(":")[0] not in HOSTS:
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PUT(self) -> None:
        self._answer(self._put_part)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, respond) -> None:
        body = self._body()
        with self.object_store.lock:
            fault = self.object_store.draw_fault()
            if fault is None:
                respond(urllib.parse.urlsplit(self.path), body)
            else:
                self._reply(fault, b"{}")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _reply(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reply_json(self, values: dict) -> None:
        self._reply(HTTPStatus.OK, json.dumps(values).encode(), {"Content-Type": "application/json"})

    def _key(self, path: str) -> str | None:
        match = _OBJECT_PATH.fullmatch(path)
        return match and f"{match['bucket']}/{urllib.parse.unquote(match['name'])}"

    def _get(self, url: urllib.parse.SplitResult, body: bytes) -> None:
        key = self._key(url.path)
        if self.headers["Host"].startswith("storage."):
            self._read(urllib.parse.unquote(url.path).lstrip("/"))
        elif key is not None:
            self._describe(key)
        elif url.path.endswith("/o"):
            self._list(url.path.split("/")[-2], dict(urllib.parse.parse_qsl(url.query)))
        elif url.path.endswith("/storageLayout"):
            self._reply_json({"hierarchicalNamespace": {"enabled": False}})
        elif url.path.split("/")[-1] in self.object_store.buckets:
            self._reply_json({"location": "US"})
        else:
            self._reply(HTTPStatus.NOT_FOUND)

    def _describe(self, key: str) -> None:
        content = self.object_store.objects.get(key)
        if content is None:
            self._reply(HTTPStatus.NOT_FOUND)
            return
        generation = str(self.object_store.generations[key])
        updated = "2026-01-01T00:00:00.000Z"
        self._reply_json({"size": str(len(content)), "generation": generation, "updated": updated})

    def _read(self, key: str) -> None:
        content = self.object_store.objects.get(key)
        if content is None:
            self._reply(HTTPStatus.NOT_FOUND)
            return
        start, _, end = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        part = content[int(start) : int(end) + 1 if end else None]
        if not part:
            self._reply(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            return
        self._reply(HTTPStatus.PARTIAL_CONTENT, part)

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        names = [key.partition("/")[2] for key in self.object_store.objects if key.startswith(f"{bucket}/{prefix}")]
        items, prefixes = [], set()
        for name in sorted(names):
            inner = name[len(prefix) :]
            if delimiter and delimiter in inner:
                prefixes.add(prefix + inner.partition(delimiter)[0] + delimiter)
            else:
                items.append({"name": name})
        limit = int(query.get("maxResults", 1000))
        self._reply_json({"items": items[:limit], "prefixes": sorted(prefixes)[:limit]})

    def _post(self, url: urllib.parse.SplitResult, body: bytes) -> None:
        if "/rewriteTo/" in url.path:
            source, _, target = url.path.partition("/rewriteTo")
            self._copy(self._key(source), self._key(f"/storage/v1{target}"))
            return
        query = dict(urllib.parse.parse_qsl(url.query))
        key = f"{url.path.split('/')[-2]}/{query['name']}"
        if query["uploadType"] == "media":
            self._create(key, body)
            return
        upload = f"upload{len(self.object_store.uploads)}"
        self.object_store.uploads[upload] = (key, bytearray())
        self._reply(HTTPStatus.OK, headers={"Location": f"https://{HOSTS[0]}/upload/{upload}"})

    def _create(self, key: str, content: bytes) -> None:
        """Writes a small object, such as the empty one that marks a directory, unless it is there."""
        if key in self.object_store.objects:
            self._reply(HTTPStatus.PRECONDITION_FAILED)
            return
        self.object_store.put(key, content)
        self._reply_json({"name": key})

    def _copy(self, source: str | None, target: str | None) -> None:
        if source not in self.object_store.objects or target is None:
            self._reply(HTTPStatus.NOT_FOUND)
            return
        self.object_store.put(target, self.object_store.objects[source])
        self._reply_json({"done": True})

    def _put_part(self, url: urllib.parse.SplitResult, body: bytes) -> None:
        key, received = self.object_store.uploads[url.path.split("/")[-1]]
        match = _UPLOADED_RANGE.fullmatch(self.headers.get("Content-Range", ""))
        start = int((match and match["start"]) or 0)
        if body:
            received[start:] = body
        if match and match["size"] != str(len(received)):
            # Without a range nothing has arrived yet.
            range_header = {"Range": f"bytes=0-{len(received) - 1}"} if received else {}
            self._reply(HTTPStatus.PERMANENT_REDIRECT, headers=range_header)
            return
        self.object_store.put(key, bytes(received))
        self._reply_json({"name": key})

    def _delete(self, url: urllib.parse.SplitResult, body: bytes) -> None:
        removed = self.object_store.objects.pop(self._key(url.path) or "", None)
        self._reply(HTTPStatus.NOT_FOUND if removed is None else HTTPStatus.NO_CONTENT)


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Returns this process's environment with `variables`, and without other proxies."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | variables

"""What a bare Python container runs: fetches our package from Cloud Storage, installs it, becomes the trainer.

Only the text of this file travels (`python -c`), so it uses the standard library alone and imports nothing of ours.
Arguments: the package's gs:// address, its extras, then those of `python -m trainer.task`.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

NUM_TRIES = 4


def open_with_retries(request: urllib.request.Request) -> bytes:
    """Returns the body of a reply; connection errors, 429 and 5xx are tried four times in all."""
    for attempt in range(NUM_TRIES):
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - both addresses are Google's own
                return reply.read()
        except urllib.error.HTTPError as error:
            if attempt == NUM_TRIES - 1 or (error.code != 429 and error.code < 500):
                raise
        except OSError:
            if attempt == NUM_TRIES - 1:
                raise
        time.sleep(2**attempt)
    raise AssertionError("unreachable")


def access_token() -> str:
    """Returns the machine's own token: no credential is ever passed to the container."""
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    reply = open_with_retries(urllib.request.Request(url, headers={"Metadata-Flavor": "Google"}))
    return json.loads(reply)["access_token"]


def fetch(uri: str, directory: str) -> str:
    """Downloads `gs://bucket/object` into `directory` and returns the file's path."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    host = os.environ.get("STORAGE_EMULATOR_HOST", "https://storage.googleapis.com")
    url = f"{host}/download/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}?alt=media"
    request = urllib.request.Request(url)  # noqa: S310
    if "STORAGE_EMULATOR_HOST" not in os.environ:
        request.add_header("Authorization", f"Bearer {access_token()}")
    path = pathlib.Path(directory) / pathlib.PurePosixPath(name).name
    path.write_bytes(open_with_retries(request))
    return str(path)


def main() -> None:
    """Installs the package and replaces this process by the trainer, which then gets the container's signals."""
    uri, extras, *arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        package = fetch(uri, directory)
        subprocess.run([sys.executable, "-m", "pip", "install", "--no-cache-dir", f"{package}[{extras}]"], check=True)
    os.execv(sys.executable, [sys.executable, "-m", "trainer.task", *arguments])  # noqa: S606


if __name__ == "__main__":
    main()

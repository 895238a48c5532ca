"""How our package reaches the cloud: packed here, laid beside the model under a name that tells its content."""

import dataclasses
import pathlib
import posixpath

from preprocessing import distribution


@dataclasses.dataclass(frozen=True)
class Package:
    """A packed package and the gs:// address it is, or will be, at."""

    path: pathlib.Path
    uri: str

    def describe(self) -> str:
        """Returns one line for people."""
        return f"package: {self.path.name} ({self.path.stat().st_size / 1024:.0f} KiB) to {self.uri}"


def pack(work_dir: pathlib.Path, staging_dir: str) -> Package:
    """Packs the package into `work_dir`, to be delivered to a directory of its own under `staging_dir`.

    The content is part of the address: a job that waits in a queue never finds another version there than the one it
    was submitted with, and the same version is uploaded once.
    """
    path = distribution.build(work_dir)
    return Package(path, posixpath.join(staging_dir, "package", distribution.content_digest(path), path.name))

"""A disk that is soon full: a file system of its own, seen by one program alone."""

import contextlib
import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class SmallDisk:
    """A small file system.

    Attributes:
        path: where it is for the program.
        seen_from_here: where it is for everyone else.
        prefix: what the program's command begins with to see it.
    """

    path: Path
    seen_from_here: Path
    prefix: tuple[str, ...]

    def fill(self, leave: int) -> None:
        """Leaves that many bytes free."""
        room = os.statvfs(self.seen_from_here)
        self._ballast.write_bytes(bytes(room.f_bavail * room.f_bsize - leave))

    def free(self) -> None:
        """Undoes `fill`."""
        self._ballast.unlink()

    @property
    def _ballast(self) -> Path:
        return self.seen_from_here / "ballast"


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[SmallDisk | None]:
    """Mounts one for as long as the block lasts; None where this process may not.

    Args:
        path: an empty folder to mount it on.
        size: in bytes, or with a unit: "8m".
    """
    # Another process holds the mount, in a name space of its own: however the test ends, it goes.
    mount = f"mount -t tmpfs -o size={size} none '{path}' && echo mounted && exec cat"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", mount],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as holder:
        try:
            if holder.stdout.readline() == "mounted\n":
                root = Path(f"/proc/{holder.pid}/root")
                prefix = ("nsenter", "--mount", f"--target={holder.pid}", f"--wdns={os.getcwd()}")
                yield SmallDisk(path, root / path.relative_to("/"), prefix)
            else:
                yield None
        finally:
            holder.stdin.close()

"""Two workers on two networks, as on two machines, one of which is cut off from the other.

    python -m benchmarks.cut_off

Makes two network namespaces and a cable between them, for which it needs Linux, iproute2 and root,
and removes them again. Trains on the drawn data set: undisturbed, then cut off as TensorFlow
starts, then after three steps. Prints, of each worker, the exit code, the seconds from the cut to
its end and its last line, and the weights of the undisturbed run beside those of a single process.
"""

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.worker_faults import start
from lib.distribution.cluster import Cluster

_NETWORKS = ("thaw-a", "thaw-b")
_HOSTS = ("10.99.0.1", "10.99.0.2")
_PORT = 2222
_CUTS = {"as TensorFlow starts": ("tensorflow", 1), "after three steps": ("step", 3)}


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Both networks for as long as the block lasts; one that was there before stays, an error."""
    with contextlib.ExitStack() as made:
        for name in _NETWORKS:
            ip("netns", "add", name)
            made.callback(ip, "netns", "delete", name)
        ip("link", "add", _NETWORKS[0], "type", "veth", "peer", "name", _NETWORKS[1])
        for name, host in zip(_NETWORKS, _HOSTS, strict=True):
            ip("link", "set", name, "netns", name)
            ip("-n", name, "addr", "add", f"{host}/24", "dev", name)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", name, "up")
        yield


def start_both(home: Path) -> list[subprocess.Popen]:
    """Starts the two workers of a run, each on its network."""
    places, processes = tuple(f"{host}:{_PORT}" for host in _HOSTS), []
    for index, network in enumerate(_NETWORKS):
        variables = {
            "TF_CONFIG": Cluster(places, index).tf_config(),
            "XDG_CACHE_HOME": str(home),
            "THAW_TRACE": str(home / f"trace-{index}"),
        }
        processes.append(start(home, variables, prefix=["ip", "netns", "exec", network]))
    return processes


def weights(home: Path) -> str:
    return json.loads((home / "run" / "result.json").read_text())["weights_sha256"][:12]


def cut_off(home: Path, place: str, arrivals: int) -> None:
    """Cuts the cable when the second worker has come to a place, and prints what both say."""
    processes = start_both(home)
    trace = home / "trace-1"
    while not trace.exists() or trace.read_text().split().count(place) < arrivals:
        time.sleep(0.01)
    ip("-n", _NETWORKS[1], "link", "set", _NETWORKS[1], "down")
    began = time.monotonic()
    for process in processes:
        said, _ = process.communicate()
        seconds = time.monotonic() - began
        print(
            f"  {process.returncode}, {seconds:.1f} s: {said.strip().splitlines()[-1]}", flush=True
        )
    ip("-n", _NETWORKS[1], "link", "set", _NETWORKS[1], "up")


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        homes = {name: Path(home, name) for name in ("alone", "together", *_CUTS)}
        for each in homes.values():
            each.mkdir()
        with connected():
            start(homes["alone"], {"XDG_CACHE_HOME": home}).communicate()
            for process in start_both(homes["together"]):
                process.communicate()
            print(f"alone {weights(homes['alone'])}, together {weights(homes['together'])}")
            for name, (place, arrivals) in _CUTS.items():
                print(f"cut off {name}:", flush=True)
                cut_off(homes[name], place, arrivals)


if __name__ == "__main__":
    main()

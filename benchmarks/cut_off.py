"""Two workers on two networks, as on two machines, one of which is cut off from the other.

    python -m benchmarks.cut_off

Makes two network namespaces and a cable between them, for which it needs Linux, iproute2 and root,
and removes them again. Trains on the drawn data set: undisturbed, then cut off as TensorFlow
starts, then after three steps. Prints, of each worker, the exit code, the seconds from the cut to
its end and its last line, and the weights of the undisturbed run beside those of a single process.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.worker_faults import FLAGS, TRAIN
from lib.distribution.cluster import Cluster

_NETWORKS = ("thaw-a", "thaw-b")
_HOSTS = ("10.99.0.1", "10.99.0.2")
_PORT = 2222
_CUTS = {"as TensorFlow starts": ("tensorflow", 1), "after three steps": ("step", 3)}


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def connect() -> None:
    for name in _NETWORKS:
        ip("netns", "add", name)
    ip("link", "add", _NETWORKS[0], "type", "veth", "peer", "name", _NETWORKS[1])
    for name, host in zip(_NETWORKS, _HOSTS, strict=True):
        ip("link", "set", name, "netns", name)
        ip("-n", name, "addr", "add", f"{host}/24", "dev", name)
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "set", name, "up")


def start(home: Path, index: int | None) -> subprocess.Popen:
    """Starts a worker on its network, or a single process on this machine's."""
    prefix, variables = [], {"XDG_CACHE_HOME": str(home / "cache")}
    if index is not None:
        prefix = ["ip", "netns", "exec", _NETWORKS[index]]
        cluster = Cluster(tuple(f"{host}:{_PORT}" for host in _HOSTS), index)
        variables["TF_CONFIG"] = cluster.tf_config()
        variables["THAW_TRACE"] = str(home / f"trace-{index}")
    return subprocess.Popen(
        [*prefix, sys.executable, str(TRAIN), *FLAGS, f"--workdir={home / 'run'}"],
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def weights(home: Path) -> str:
    return json.loads((home / "run" / "result.json").read_text())["weights_sha256"][:12]


def cut_off(home: Path, place: str, arrivals: int) -> None:
    """Cuts the cable when the second worker has come to a place, and prints what both say."""
    processes = [start(home, index) for index in range(2)]
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
        try:
            connect()
            start(homes["alone"], None).communicate()
            for process in [start(homes["together"], index) for index in range(2)]:
                process.communicate()
            print(f"alone {weights(homes['alone'])}, together {weights(homes['together'])}")
            for name, (place, arrivals) in _CUTS.items():
                print(f"cut off {name}:", flush=True)
                cut_off(homes[name], place, arrivals)
        finally:
            for name in _NETWORKS:
                subprocess.run(["ip", "netns", "delete", name], check=False)


if __name__ == "__main__":
    main()

"""Named points at which a test may stop the program; without these variables they do nothing.

    THAW_FAULT="checkpoints:data@2=SIGKILL"             at the second arrival; the signal's default
    THAW_FAULT="write:curves.png@1=ENOSPC"              as if the system had refused
    THAW_FAULT="step@3=STUCK"                           does nothing more, but lives
    THAW_FAULT="step@4=SIGINT,checkpoints:data@1=SIGINT"    one after the other
    THAW_TRACE=FILE                                     each point that is reached, a line each

A place may be a pattern, such as `write:ckpt-*.json`. Places are where the calls of `point` are,
and before each renaming of a finished temporary file into place (`write:<file name>`).
"""

import dataclasses
import errno
import fnmatch
import os
import signal
import time


@dataclasses.dataclass
class _Fault:
    place: str
    arrivals: int  # until it happens
    what: str  # the name of a signal or of a system's error


def _armed(setting: str) -> list[_Fault]:
    faults = []
    for each in filter(None, setting.split(",")):
        where, _, what = each.partition("=")
        place, _, arrival = where.partition("@")
        faults.append(_Fault(place, int(arrival or 1), what or "SIGKILL"))
    return faults


_FAULTS = _armed(os.environ.get("THAW_FAULT", ""))
_TRACE = os.environ.get("THAW_TRACE")
_WATCHED = bool(_FAULTS or _TRACE)


def point(place: str) -> None:
    """Marks a place at which a test may stop the program.

    Raises:
        OSError: a test wants the system to refuse here.
    """
    if _WATCHED:
        _reached(place)


def _reached(place: str) -> None:
    if _TRACE:
        with open(_TRACE, "ab", buffering=0) as trace:
            trace.write(f"{place}\n".encode())
    for fault in _FAULTS:
        if not fnmatch.fnmatchcase(place, fault.place):
            continue
        fault.arrivals -= 1
        if fault.arrivals == 0:
            if fault.what.startswith("SIG"):
                os.kill(os.getpid(), getattr(signal, fault.what))
            elif fault.what == "STUCK":
                time.sleep(1e6)
            else:
                number = getattr(errno, fault.what)
                raise OSError(number, os.strerror(number), place)

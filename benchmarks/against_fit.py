"""Thaw compared with Keras' `fit`: the same images, weights and recipe, a few epochs each.

    python -m benchmarks.against_fit

Prints what each run took, and how many times as fast as `fit` each phase was.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.contenders import add_flags, alternate, keras_fit, splits_from, thaw, work_from
from benchmarks.tables import as_markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_flags(parser, epochs=2)
    parser.add_argument("--repeats", default=3, type=int, help="runs of each program [3]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = work_from(arguments, splits_from(arguments), Path(scratch))
        runs = alternate({"Thaw": thaw, "Keras fit": keras_fit}, work, arguments.repeats)
    print(f"\n{as_markdown(runs)}")


if __name__ == "__main__":
    main()

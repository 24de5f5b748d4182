"""The speed of a run as a share of the best that the machine gives: a large fp32 matrix product.

    python -m benchmarks.peak runs/cats_and_dogs

Counts what the convolutions of the run's network multiply and add: once per image forward, and
twice more for what is thawed, for the gradients of its inputs and of its weights.
Everything else, augmentation included, is overhead here.
"""

import math
import time
from collections.abc import Iterable

from benchmarks.finished_run import from_command_line

SIDE = 4096
REPEATS = 10


def peak_gflops() -> float:
    """The best rate of several products of two square matrices, in GFLOP/s."""
    import tensorflow as tf

    a, b = tf.random.normal((2, SIDE, SIDE))
    product = tf.function(tf.matmul)
    product(a, b).numpy()
    best = math.inf
    for _ in range(REPEATS):
        began = time.monotonic()
        product(a, b).numpy()
        best = min(best, time.monotonic() - began)
    return 2e-9 * SIDE**3 / best


def gflop(layers: Iterable) -> float:
    """What the convolutions among these Keras layers take for an image, in GFLOP."""
    return 2e-9 * sum(
        math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
        for layer in layers
        if hasattr(layer, "kernel")
    )


def main() -> None:
    run = from_command_line(__doc__.splitlines()[0])
    from lib.model.freezing import first_trained

    config, network = run.config, run.network
    layers = network.backbone.layers
    forward = gflop(layers)
    peak = peak_gflops()
    print(f"{SIDE} x {SIDE} matrix product: {peak:.0f} GFLOP/s on {config.threads} threads")
    for phase in config.phases:
        first = first_trained(network.backbone, phase)
        needed = forward + (0 if first is None else 2 * gflop(layers[first:]))
        reached = needed * run.rates[phase.name]
        print(
            f"{phase.name}: {needed:.3f} GFLOP per image, {run.rates[phase.name]:.0f} images/s,"
            f" {reached:.0f} GFLOP/s: {reached / peak:.0%} of that"
        )


if __name__ == "__main__":
    main()

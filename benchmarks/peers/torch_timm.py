"""The recipe in PyTorch with timm's MobileNetV2, a hand-written loop; prints one line of JSON.

It is written for speed: decoded images stay in memory, channels come last, flip and rotation are
one sampling of the whole batch, and what is frozen runs without gradients, so that only the thawed
layers are differentiated.

The weights are those of the Keras file. Keras pads strided convolutions on the right and at the
bottom; timm's, which pad all sides alike, use but the left and the top. So everything is turned by
half a turn here, images and kernels: the features are the same, and no step has to pad.
"""

import argparse
import json
import math
import sys
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

# torchvision, which timm imports and MobileNetV2 does not use, registers shapes of operators that
# it lacks where it was built for CUDA and PyTorch was not; without this it cannot be imported.
sys.modules["torchvision._meta_registrations"] = types.ModuleType("_meta_registrations")
import timm  # noqa: E402

BATCH_SIZE = 32
ROTATION = 0.2  # of a turn
DROPOUT = 0.2

Net = Callable  # of a tensor, or of what passes a cut


def read(folder: Path, size: int, threads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Decodes a split: uint8 (n, 3, size, size), upside down, channels last; and labels (n,)."""
    classes = sorted(path for path in folder.iterdir())
    files = [(file, label) for label, path in enumerate(classes) for file in sorted(path.iterdir())]

    def decode(file: Path) -> np.ndarray:
        image = Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image.transpose(Image.Transpose.ROTATE_180))

    with ThreadPoolExecutor(threads) as pool:
        images = np.stack(list(pool.map(decode, (file for file, _ in files))))
    labels = torch.tensor([label for _, label in files], dtype=torch.float32)
    return torch.from_numpy(images).permute(0, 3, 1, 2), labels


def load_keras_weights(backbone: nn.Module, path: str) -> None:
    """Copies a Keras weight file; both sides list their layers from input to output."""
    with h5py.File(path) as file:
        counts = {"conv2d": 0, "depthwise_conv2d": 0, "batch_normalization": 0}

        def next_weights(kind: str) -> list[torch.Tensor]:
            number, counts[kind] = counts[kind], counts[kind] + 1
            layer = file["layers"][f"{kind}_{number}" if number else kind]["vars"]
            return [torch.from_numpy(layer[str(i)][()]) for i in range(len(layer))]

        with torch.no_grad():
            for module in backbone.modules():
                if isinstance(module, nn.Conv2d) and module.groups > 1:
                    (kernel,) = next_weights("depthwise_conv2d")
                    module.weight.copy_(kernel.permute(2, 3, 0, 1).flip(2, 3))
                elif isinstance(module, nn.Conv2d):
                    (kernel,) = next_weights("conv2d")
                    module.weight.copy_(kernel.permute(3, 2, 0, 1).flip(2, 3))
                elif isinstance(module, nn.BatchNorm2d):
                    parts = (module.weight, module.bias, module.running_mean, module.running_var)
                    for part, value in zip(parts, next_weights("batch_normalization"), strict=True):
                        part.copy_(value)
                    module.eps = 1e-3  # as in Keras


def cut(backbone: nn.Module) -> tuple[Net, Net, list[nn.Parameter]]:
    """The part below Keras' layer 100, the part from there on, and the parameters of the latter.

    Layer 100 stands behind the expansion of block 11, the second block of timm's stage 4, so that
    two tensors pass the cut: that block's input, for its residual branch, and its expansion.
    """
    stages = backbone.blocks
    first = stages[4][1]
    lower = nn.Sequential(backbone.conv_stem, backbone.bn1, *stages[:4], stages[4][0])
    projected = nn.Sequential(first.conv_dw, first.bn2, first.conv_pwl, first.bn3)
    upper = nn.Sequential(*stages[4][2:], *stages[5:], backbone.conv_head, backbone.bn2)

    def below(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = lower(x)
        return x, first.bn1(first.conv_pw(x))

    def above(features: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        x, expanded = features
        return upper(projected(expanded) + x).mean((2, 3))

    return below, above, [*projected.parameters(), *upper.parameters()]


def as_input(images: torch.Tensor) -> torch.Tensor:
    """uint8 images as the float32 in [-1, 1] that the network takes."""
    return images.float().div_(127.5).sub_(1)


def augment(images: torch.Tensor) -> torch.Tensor:
    """Flips half of the images and rotates each about its centre, in one sampling."""
    n = len(images)
    angle = (torch.rand(n) * 2 - 1) * (ROTATION * 2 * math.pi)
    flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros(n)
    matrix = torch.stack([cos * flip, -sin, zero, sin * flip, cos, zero], dim=1).view(n, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    sampled = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return sampled.contiguous(memory_format=torch.channels_last)


def batches(images: torch.Tensor, labels: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """An epoch of augmented batches. In this process: both cores are busy with the network."""
    for positions in torch.randperm(len(labels)).split(BATCH_SIZE):
        yield augment(as_input(images[positions])), labels[positions]


@torch.inference_mode()
def evaluate(net: Net, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The accuracy of a net that gives logits."""
    logits = torch.cat([net(as_input(part)) for part in images.split(BATCH_SIZE)])
    return float(((logits > 0) == (labels > 0.5)).float().mean())


def train(
    epochs: int,
    frozen: Net,
    trained: Net,
    optimizer: torch.optim.Optimizer,
    split: dict[str, tuple[torch.Tensor, torch.Tensor]],
) -> float:
    """Trains a phase; returns the validation accuracy after its last epoch."""
    accuracy = math.nan
    for _ in range(epochs):
        for images, labels in batches(*split["train"]):
            with torch.no_grad():
                features = frozen(images)
            loss = F.binary_cross_entropy_with_logits(trained(features), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracy = evaluate(lambda x: trained(frozen(x)), *split["validation"])
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--alpha", type=float, required=True)
    parser.add_argument("--image_size", type=int, required=True)
    parser.add_argument("--head_epochs", type=int, required=True)
    parser.add_argument("--finetune_epochs", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    split = {
        part: read(arguments.data / part, arguments.image_size, arguments.threads)
        for part in ("train", "validation", "test")
    }
    backbone = timm.create_model(f"mobilenetv2_{round(100 * arguments.alpha):03d}")
    load_keras_weights(backbone, arguments.weights)
    # In inference mode for good: batch normalisation keeps the statistics it came with.
    backbone.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    head = nn.Linear(backbone.num_features, 1)
    below, above, thawed = cut(backbone)

    def classify(pooled: torch.Tensor) -> torch.Tensor:
        return head(F.dropout(pooled, DROPOUT, training=torch.is_grad_enabled()))[:, 0]

    def pooled(x: torch.Tensor) -> torch.Tensor:
        return above(below(x))

    seconds = {}
    began = time.monotonic()
    evaluate(lambda x: classify(pooled(x)), *split["validation"])
    adam = torch.optim.Adam(head.parameters(), 1e-4, eps=1e-7)
    train(arguments.head_epochs, pooled, classify, adam, split)
    seconds["head"] = time.monotonic() - began

    began = time.monotonic()
    parameters = [*thawed, *head.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    rmsprop = torch.optim.RMSprop(parameters, 1e-5, alpha=0.9, eps=1e-7)
    accuracy = train(
        arguments.finetune_epochs,
        below,
        lambda features: classify(above(features)),
        rmsprop,
        split,
    )
    seconds["finetune"] = time.monotonic() - began

    test_accuracy = evaluate(lambda x: classify(pooled(x)), *split["test"])
    print(
        json.dumps(
            {
                "seconds": seconds,
                "validation_accuracy": accuracy,
                "test_accuracy": test_accuracy,
            }
        )
    )


if __name__ == "__main__":
    main()

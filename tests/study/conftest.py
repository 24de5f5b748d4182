"""What studies with a stand-in for train.py are asked for."""

import pytest


@pytest.fixture(scope="session")
def flags(two_classes):
    """Of train.py, for two and two epochs."""
    return (
        "--",
        f"--dataset={two_classes}",
        "--weights=none",
        *("--image_size=32", "--alpha=0.35", "--batch_size=4", "--head_learning_rate=0.01"),
        *("--head_epochs=2", "--finetune_epochs=2", "--checkpoint_every=2", "--threads=2"),
    )

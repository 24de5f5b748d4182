"""What is seen of images that are larger than the network's."""

from typing import TypeVar

import numpy as np
import tensorflow as tf

Images = TypeVar("Images", np.ndarray, tf.Tensor)


def middle(images: Images, size: int) -> Images:
    """The middle of images, [n, side, side, 3] to [n, size, size, 3].

    Args:
        images: whose side is `size`, or more by an even number.
        size: in pixels.
    """
    margin = (images.shape[1] - size) // 2
    return images[:, margin:-margin, margin:-margin] if margin else images

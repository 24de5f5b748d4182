"""Heat maps, laid over the images that they explain."""

import numpy as np
from matplotlib import colormaps
from PIL import Image

_STRONGEST = 0.75  # how much of the image the greatest heat covers


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image in grey with heat over it: from nothing by purple and orange to yellow.

    Args:
        image: uint8 [height, width, 3], of any size.
        heat: float [h, w] from 0 to 1, in any resolution; scaled up smoothly.

    Returns:
        uint8 [height, width, 3].
    """
    size = image.shape[1::-1]
    wide = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    heat = np.clip(np.asarray(wide), 0, 1)[..., np.newaxis]  # bicubic overshoots
    colour = 255 * colormaps["inferno"](heat[..., 0])[..., :3]
    grey = image.mean(axis=2, keepdims=True)
    share = _STRONGEST * heat
    return np.rint((1 - share) * grey + share * colour).astype(np.uint8)

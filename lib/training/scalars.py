"""Scalars that registered functions give."""

import tensorflow as tf

from lib.errors import UserError


def require_scalar(what: str, value: tf.Tensor) -> None:
    """Makes sure that a tensor is a float32 scalar.

    Args:
        what: gave it, such as "the measure 'margin' returned".
        value: the tensor.

    Raises:
        UserError: it is of another type or shape.
    """
    if value.dtype != tf.float32 or value.shape.rank != 0:
        raise UserError(f"{what} {value.dtype.name} {value.shape}; expected a float32 scalar")

"""Sums in one order, so that equal runs have equal bits.

TensorFlow's tape sums the gradients of a tensor that is used several times by the operation AddN.
By its source it adds into an input whose buffer nobody else holds at that moment, and begins the
sum with that one. Who holds a buffer depends on timing, and with three terms or more so does the
rounding; `enable_op_determinism` does not change that. The sum of two is the same in either order.

Grappler's arithmetic optimisation makes an AddN of four terms of `(a + b) + (c + d)`, in the
forward pass as well, after a function was traced and could be looked at.
"""

import tensorflow as tf

# TensorFlow has no public place for how its tape adds; a test holds what is used here.
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import backprop

from lib.errors import UserError


def install() -> None:
    """Makes this process sum three terms and more in the order of their making.

    It is the tape that does so with gradients; sums that are written out stay as they are written.
    """
    pywrap_tfe.TFE_Py_RegisterVSpace(_VSPACE)
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def _aggregate(gradients: list) -> tf.Tensor | tf.IndexedSlices:
    """The sum of gradients of one tensor, see `backprop._aggregate_grads`."""
    if len(gradients) < 3 or not all(
        isinstance(each, tf.Tensor) and (each.dtype.is_floating or each.dtype.is_complex)
        for each in gradients
    ):
        return backprop._aggregate_grads(gradients)
    # Not (a + b) + c: it would be an AddN again wherever Grappler's optimisation were on.
    return tf.reduce_sum(tf.stack(gradients), axis=0)


_VSPACE = backprop._default_vspace._replace(aggregate_fn=_aggregate)


def require_exact_sums(function: tf.types.experimental.ConcreteFunction) -> None:
    """Makes sure that no sum of a traced function is left to timing.

    Gradients of a `tf.function`, `tf.cond` or `tf.while_loop` inside of the function are made by
    another part of TensorFlow, with sums of its own, and code may call `tf.add_n` itself.

    Args:
        function: what was traced; functions that it calls are looked through, too.

    Raises:
        UserError: an AddN of more than two terms is in it, which the message names.
    """
    graph = function.graph.as_graph_def()
    inner = [node for each in graph.library.function for node in each.node_def]
    for node in (*graph.node, *inner):
        if node.op == "AddN" and node.attr["N"].i > 2:
            raise UserError(
                f"{node.name} sums {node.attr['N'].i} tensors by AddN, whose last bits depend on"
                " timing, so that a run could not be repeated; use"
                " tf.reduce_sum(tf.stack(terms), axis=0) in place of tf.add_n, and no tf.function,"
                " tf.cond or tf.while_loop where gradients pass, or give the gradient in closed"
                " form (tf.custom_gradient)"
            )

"""What this machine can do with types of 16 bits, before it is found out the slow way."""

from __future__ import annotations

import keras
import tensorflow as tf

from luminoth.backbones.layers import Conv
from luminoth.backbones.processor import processor_flags
from luminoth.errors import ConfigError

# Flags of processors that compute in these types by themselves.
_FLAGS = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "avx_ne_convert"),
    "float16": ("avx512_fp16", "amx_fp16"),
}


def find_doubt(precision: str) -> str | None:
    """What to say of computing in this type here, one line; None when there is nothing to say, or nothing is known.

    Args:
        precision: "float32", "bfloat16" or "float16".
    """
    if precision not in _FLAGS or tf.config.list_physical_devices("GPU"):
        return None
    known = processor_flags()
    if not known or known.intersection(_FLAGS[precision]):
        return None
    return (
        f"{precision} on a processor that does not know it ({', '.join(_FLAGS[precision])} are missing) is slower and "
        "less accurate than float32; use float32, or a GPU"
    )


def check_gradients(model: keras.Model, precision: str) -> None:
    """Makes sure that a model can be trained in this type on this machine.

    TensorFlow has the gradients of dilated and of grouped convolutions in 16 bits only for some processors.

    Args:
        model: a `DetectionModel`.
        precision: "float32", "bfloat16" or "float16".

    Raises:
        ConfigError: an operation is missing.
    """
    if precision == "float32":
        return
    convs = [layer for layer in model._flatten_layers(include_self=False) if isinstance(layer, Conv)]
    dilations = {conv.dilation for conv in convs} - {1}
    if dilations and not _has_gradient(precision, dilation=max(dilations)):
        raise _missing("dilated", precision)
    if any(conv.groups > 1 and not conv.is_depthwise for conv in convs) and not _has_gradient(precision, groups=2):
        raise _missing("grouped", precision)


def _missing(kind: str, precision: str) -> ConfigError:
    return ConfigError(
        f"train.precision is {precision}, but TensorFlow has no gradient of {kind} convolutions in it for this "
        "processor; use float32, or a GPU"
    )


def _has_gradient(precision: str, dilation: int = 1, groups: int = 1) -> bool:
    """Whether a small convolution of that kind, bound for the default device, has its gradients."""
    inputs = tf.ones([1, 8, 8, 2 * groups], precision)
    kernel = tf.ones([3, 3, 2, 2 * groups], precision)
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = tf.nn.conv2d(inputs, kernel, 1, "SAME", dilations=dilation)
    try:
        tape.gradient(outputs, [inputs, kernel])
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.NotFoundError):
        return False
    return True

"""Convolutions for processors that have AVX2 but not AVX-512.

TensorFlow 2.21 (oneDNN 3.7) runs two kinds of convolutions on them at a half or a quarter of the machine's peak. Those
of a single picture become a general matrix product; but a convolution of stride 1 is also a transposed convolution of
the mirrored kernel, to the last product, and for that one there is a good kernel. And the gradient of a kernel larger
than 1 x 1 is slow for any batch; here it is a few matrix products. docs/benchmarks.md, "Without AVX-512", has figures.
"""

from __future__ import annotations

import os

import tensorflow as tf

from luminoth.backbones.processor import processor_flags


def suits_this_machine() -> bool:
    """Whether these convolutions are the faster ones on the device that TensorFlow will use."""
    flags = processor_flags()
    uses_onednn = os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"
    return "avx2" in flags and "avx512f" not in flags and uses_onednn and not tf.config.get_visible_devices("GPU")


def convolve(inputs: tf.Tensor, kernel: tf.Tensor, dilation: int = 1) -> tf.Tensor:
    """A convolution of stride 1, with its gradients, that pads with zeros to the size of its inputs.

    Args:
        inputs: [B, H, W, C] float32. Whether B is 1 is decided by the static shape.
        kernel: [kh, kw, C, F] float32; kh and kw odd.
        dilation: distance between the kernel's taps, cells.

    Returns:
        [B, H, W, F] float32.
    """
    is_single = inputs.shape[0] == 1
    if not is_single and kernel.shape[:2] == (1, 1):
        return tf.nn.conv2d(inputs, kernel, 1, "SAME")

    @tf.custom_gradient
    def convolution(inputs: tf.Tensor, kernel: tf.Tensor):
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            of_inputs = convolve_transposed(upstream, kernel, dilation)
            return of_inputs, _kernel_gradient(inputs, upstream, kernel.shape, dilation)

        if is_single:
            return convolve_transposed(inputs, mirror_kernel(kernel), dilation), gradient
        return tf.nn.conv2d(inputs, kernel, 1, "SAME", dilations=dilation), gradient

    return convolution(inputs, kernel)


def convolve_transposed(inputs: tf.Tensor, kernel: tf.Tensor, dilation: int = 1) -> tf.Tensor:
    """The transposed convolution of stride 1: each cell adds its multiple of the kernel to the cells around it.

    Args:
        inputs: [B, H, W, C] float32.
        kernel: [kh, kw, F, C] float32; kh and kw odd.
        dilation: distance between the kernel's taps, cells.

    Returns:
        [B, H, W, F] float32.
    """
    filters = kernel.shape[2]
    outputs = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.concat([tf.shape(inputs)[:3], [filters]], 0),
        filter=kernel,
        out_backprop=inputs,
        strides=[1, 1, 1, 1],
        padding="SAME",
        dilations=[1, dilation, dilation, 1],
    )
    outputs.set_shape([*inputs.shape[:3], filters])
    return outputs


def mirror_kernel(kernel: tf.Tensor) -> tf.Tensor:
    """[kh, kw, C, F] to [kh, kw, F, C]: taps in reverse order, channels exchanged."""
    if kernel.shape[0] * kernel.shape[1] > 1:
        kernel = tf.reverse(kernel, [0, 1])
    return tf.transpose(kernel, (0, 1, 3, 2))


def _kernel_gradient(inputs: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape, dilation: int) -> tf.Tensor:
    """The gradient with respect to a kernel of this shape, [kh, kw, C, F].

    A tap's gradient is the product of all cells' upstream gradients and the inputs that the tap saw there. Stacked line
    upon line, the inputs that another row of taps saw are the same matrix some lines further down.
    """
    height, width, depth, filters = shape
    if height == width == 1:
        return tf.raw_ops.Conv2DBackpropFilter(
            input=inputs, filter_sizes=shape, out_backprop=upstream, strides=[1, 1, 1, 1], padding="SAME"
        )
    rows, columns = dilation * (height // 2), dilation * (width // 2)
    across = tf.shape(inputs)[2]
    padded = tf.pad(inputs, [[0, 0], [rows, rows], [columns, columns], [0, 0]])
    seen = tf.range(across)[:, None] + dilation * tf.range(width)  # [W, kw]: columns that the taps of a row see
    cells = tf.reshape(tf.gather(padded, seen, axis=2), [-1, width * depth])  # [B * (H + 2 * rows) * W, kw * C]
    below = tf.pad(upstream, [[0, 0], [0, 2 * rows], [0, 0], [0, 0]])
    count = tf.shape(cells)[0] - 2 * rows * across
    below = tf.reshape(below, [-1, filters])[:count]  # [count, F]
    # The batch of one keeps TensorFlow from merging transposition and products, which would be slower.
    across_cells = tf.reshape(tf.transpose(below[None], (0, 2, 1)), [filters, -1])  # [F, count]
    found = tf.stack(
        [
            tf.matmul(across_cells, cells[first : first + count])
            for first in (dilation * tap * across for tap in range(height))
        ]
    )  # [kh, F, kw * C]
    return tf.reshape(tf.transpose(found, (0, 2, 1)), shape)  # [kh, kw * C, F] to [kh, kw, C, F]

"""Loss functions, without reduction: the caller knows what to divide by."""

from __future__ import annotations

import tensorflow as tf


def smooth_l1(predictions: tf.Tensor, targets: tf.Tensor, beta: float) -> tf.Tensor:
    """Huber-like loss (Fast R-CNN, Girshick 2015, equation 3), summed over the last axis.

        0.5 * x ** 2 / beta   where |x| < beta
        |x| - 0.5 * beta      elsewhere

    `beta` is torchvision's and Detectron2's; Luminoth's `sigma` gives 1 / sigma ** 2.

    Args:
        predictions, targets: [..., K] float32.
        beta: where the parabola ends, 0 or more; 0 is plain L1.

    Returns:
        [...] float32.
    """
    differences = tf.abs(predictions - targets)
    if beta == 0:
        return tf.reduce_sum(differences, axis=-1)
    # Split at beta rather than chosen by `where`: neither part can overflow, so no gradient becomes 0 * infinity.
    curved = tf.minimum(differences, beta)
    return tf.reduce_sum(0.5 * curved * (curved / beta) + (differences - curved), axis=-1)


def sigmoid_focal_loss(
    labels: tf.Tensor, logits: tf.Tensor, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> tf.Tensor:
    """Focal loss of two classes (Lin et al. 2017, equation 5): `-alpha_t * (1 - p_t) ** gamma * log(p_t)`.

    p_t is the probability given to what is true. What is recognised well already counts little, so that a hundred
    thousand easy background anchors do not drown the few that matter.

    Args:
        labels: [...] float32, 1 for foreground and 0 for background.
        logits: [...] float32.
        alpha: weight of foreground, `1 - alpha` being that of background; None: both 1.
        gamma: 0 or more; 0 is cross-entropy.

    Returns:
        [...] float32.
    """
    signed = tf.where(labels > 0, logits, -logits)
    # -log(p_t) = softplus(-signed), log(1 - p_t) = -softplus(signed): no power of zero, whose gradient may be infinite.
    losses = tf.nn.softplus(-signed) * tf.exp(-gamma * tf.nn.softplus(signed))
    return losses if alpha is None else losses * tf.where(labels > 0, alpha, 1.0 - alpha)


def softmax_focal_loss(
    labels: tf.Tensor, logits: tf.Tensor, *, alpha: float | None = None, gamma: float = 2.0
) -> tf.Tensor:
    """Focal loss of several classes, of which the last is background: `-alpha_t * (1 - p_t) ** gamma * log(p_t)`.

    Args:
        labels: [...] int32, 0 to C; C is background.
        logits: [..., C + 1] float32.
        alpha: weight of all classes but background, `1 - alpha` being that of background; None: all 1.
        gamma: 0 or more; 0 is cross-entropy.

    Returns:
        [...] float32.
    """
    num_columns = logits.shape[-1]
    own = tf.one_hot(labels, num_columns, on_value=True, off_value=False)
    of_all = tf.reduce_logsumexp(logits, axis=-1)
    of_others = tf.reduce_logsumexp(tf.where(own, logits.dtype.min, logits), axis=-1)  # log(1 - p_t) + of_all
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    losses = cross_entropy * tf.exp(gamma * tf.minimum(of_others - of_all, 0.0))
    return losses if alpha is None else losses * tf.where(labels < num_columns - 1, alpha, 1.0 - alpha)


def masked_mean(losses: tf.Tensor, mask: tf.Tensor, count: tf.Tensor | float | None = None) -> tf.Tensor:
    """The mean over the pictures of: sum of a picture's `losses` where `mask`, over its `count`, never over zero.

    Each picture has a normaliser of its own, so that the loss of a batch is the mean of the losses of its parts,
    however it is divided among devices or accumulated. (torchvision divides by the count of the whole batch, which is
    the same where all pictures have as many samples: as a rule, since a minibatch is filled up with background.)

    Args:
        losses: [B, N] float32.
        mask: [B, N] bool.
        count: [B] or a number; by default of the true entries.
    """
    # `where`, not a product: a masked-out entry may be infinite.
    totals = tf.reduce_sum(tf.where(mask, losses, 0.0), axis=1)
    counts = tf.reduce_sum(tf.cast(mask, tf.float32), axis=1) if count is None else tf.cast(count, tf.float32)
    return tf.reduce_mean(totals / tf.maximum(counts, 1.0))

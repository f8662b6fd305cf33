"""One line for a step that does not fit the memory, with the settings to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from luminoth.errors import TrainingError

# The C++ library's word, which some of TensorFlow's operators pass on inside an error of another kind.
_BAD_ALLOC = "bad_alloc"


@contextmanager
def out_of_memory_explained(doing: str) -> Iterator[None]:
    """Turns what TensorFlow, NumPy and C++ say of memory that has run out into a message for a person.

    (Where the system itself runs short, it ends the process without a word: `free` and `dmesg` tell.)

    Args:
        doing: what did not fit, as in `at step 7, on 4 images of 800 x 1088`.

    Raises:
        TrainingError: in the place of the former.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise TrainingError(_explain(doing)) from error
    except tf.errors.OpError as error:
        if _BAD_ALLOC not in (error.message or ""):
            raise
        raise TrainingError(_explain(doing)) from error


def _explain(doing: str) -> str:
    return (
        f"out of memory {doing}: lower train.batch_size (or set it to auto), or min_size, min_size_train "
        "and max_size of dataset.image_preprocessing; model.base_network.fine_tune_from, train.precision and "
        "model.rcnn.target.minibatch_size save some, too, and train.shuffle_buffer main memory"
    )

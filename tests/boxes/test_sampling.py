import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from luminoth.boxes.sampling import picture_seeds, sample_labels, split_seeds


def draw(labels, size, fraction, seed=(1, 2)):
    return sample_labels(np.asarray(labels, np.int32), size, fraction, np.array(seed)).numpy()


@given(
    st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=40),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.integers(0, 1000),
)
def test_counts_and_kinds(labels, size, fraction, seed):
    chosen = draw([labels], size, fraction, (seed, 7))[0]
    labels = np.array(labels)
    foreground = min((labels == 1).sum(), round(size * fraction))
    assert (chosen & (labels == 1)).sum() == foreground
    assert (chosen & (labels == 0)).sum() == min((labels == 0).sum(), size - foreground)
    assert not (chosen & (labels == -1)).any()


def test_the_seed_decides():
    labels = [[1] * 50 + [0] * 50]
    assert (draw(labels, 20, 0.5, (3, 4)) == draw(labels, 20, 0.5, (3, 4))).all()
    assert (draw(labels, 20, 0.5, (3, 4)) != draw(labels, 20, 0.5, (3, 5))).any()


def test_every_candidate_has_its_chance():
    hits = sum(draw([[0] * 10], 5, 0.5, (0, i))[0].astype(int) for i in range(200))
    assert hits.sum() == 1000
    assert (np.abs(hits - 100) < 35).all()  # five standard deviations of a binomial(200, 1/2)


def test_pictures_of_a_batch_are_counted_apart():
    chosen = draw([[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, -1]], 4, 0.5)
    assert chosen[0, :3].sum() == 2
    assert chosen[0, 3:].sum() == 2
    assert chosen[1].sum() == 4


def test_equal_random_numbers_add_none():
    # Among so many float32 numbers some are equal, and now and then those at the limit.
    labels = tf.zeros((1, 217_413), tf.int32)
    draw_many = tf.function(lambda seed: sample_labels(labels, 5000, 0.5, seed), autograph=False)
    counts = [int(np.sum(draw_many(tf.constant([0, i])))) for i in range(20)]
    assert counts == [5000] * 20


def test_shapes_unknown_when_traced_and_compiled():
    labels = tf.constant([[1, 1, 0, 0, 0, -1]])
    specs = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([2], tf.int32)]
    traced = tf.function(lambda x, seed: sample_labels(x, 4, 0.25, seed), input_signature=specs, autograph=False)
    compiled = tf.function(lambda x, seed: sample_labels(x, 4, 0.25, seed), autograph=False, jit_compile=True)
    for function in (traced, compiled):
        chosen = function(labels, tf.constant([5, 6])).numpy()[0]
        assert chosen.sum() == 4
        assert chosen[:2].sum() == 1
        assert not chosen[5]


def test_a_picture_draws_the_same_in_every_batch():
    labels = np.array([[1] * 40 + [0] * 60] * 4, np.int32)
    whole = draw(labels, 20, 0.5)
    halves = [
        draw(labels[first : first + 2], 20, 0.5, picture_seeds(tf.constant([1, 2]), 2, first)) for first in (0, 2)
    ]
    np.testing.assert_array_equal(np.concatenate(halves), whole)
    assert (whole[0] != whole[1]).any()


def test_seeds_of_pictures_are_those_of_fold_in():
    seeds = picture_seeds(tf.constant([5, 6]), 3, first=7)
    for row, seed in enumerate(seeds):
        np.testing.assert_array_equal(seed, tf.random.fold_in(tf.constant([5, 6]), 7 + row))
    for part, split in enumerate(split_seeds(seeds, 2)):
        np.testing.assert_array_equal(split[1], tf.random.split(seeds[1], 2)[part])

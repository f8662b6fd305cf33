"""Pictures of many threads in batches: what comes together, what is refused, what a failure costs."""

import threading
import time

import numpy as np
import pytest

from luminoth.server.batching import Batcher, QueueFullError, StoppedError
from luminoth.types import Detections
from tests.server.fakes import PixelModel


def picture(red):
    return np.full((4, 4, 3), (red, 1, 0), np.uint8)


def left_of(result):
    return int(result.result(10).detections.boxes[0, 0])


@pytest.fixture
def model():
    return PixelModel()


def test_what_waits_goes_together(model):
    model.may_go_on.clear()
    batcher = Batcher(model, max_batch=4, max_wait=0.0)
    first = batcher.submit(picture(0))
    time.sleep(0.05)  # the network is busy with it
    others = [batcher.submit(picture(red)) for red in range(1, 7)]
    model.may_go_on.set()
    assert [left_of(each) for each in (first, *others)] == list(range(7))
    assert model.batches == [1, 4, 2]
    assert [each.result().batch_size for each in (first, *others)] == [1, 4, 4, 4, 4, 2, 2]
    batcher.stop(5)


def test_the_first_waits_for_others_but_not_long(model):
    batcher = Batcher(model, max_batch=2, max_wait=0.2)
    started = time.monotonic()
    assert left_of(batcher.submit(picture(3))) == 3
    assert 0.15 < time.monotonic() - started < 2
    pair = [batcher.submit(picture(red)) for red in (1, 2)]  # a full batch does not wait
    started = time.monotonic()
    assert [left_of(each) for each in pair] == [1, 2]
    assert time.monotonic() - started < 0.15
    batcher.stop(5)


def test_many_threads_get_their_own(model):
    batcher = Batcher(model, max_batch=8, max_wait=0.001)
    wrong = []

    def ask(start):
        wrong.extend(red for red in range(start, 240, 16) if left_of(batcher.submit(picture(red))) != red)

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not wrong
    assert sum(model.batches) == 240
    assert max(model.batches) > 1
    batcher.stop(5)


def test_one_failing_picture_does_not_take_the_others_along():
    class Picky(PixelModel):
        def detect(self, images):
            if any(image[0, 0, 0] == 13 for image in images):
                raise ValueError("13")
            return super().detect(images)

    model = Picky()
    batcher = Batcher(model, max_batch=4, max_wait=0.1)
    results = [batcher.submit(picture(red)) for red in (12, 13, 14)]
    assert [left_of(results[0]), left_of(results[2])] == [12, 14]
    with pytest.raises(ValueError, match="13"):
        results[1].result(10)
    assert left_of(batcher.submit(picture(15))) == 15
    batcher.stop(5)


def test_a_model_that_forgets_a_picture_is_an_error():
    class Forgetful:
        class_names = ("car",)

        def detect(self, images) -> list[Detections]:
            return []

    batcher = Batcher(Forgetful(), max_wait=0.0)
    with pytest.raises(RuntimeError, match="0 results for 1"):
        batcher.submit(picture(1)).result(10)
    batcher.stop(5)


def test_room_is_bounded_by_pictures_and_pixels(model):
    batcher = Batcher(model, max_queue=3, max_pixels=100)
    with batcher.room(2, 60):
        with pytest.raises(QueueFullError), batcher.room(2, 10):
            pass
        with pytest.raises(QueueFullError), batcher.room(1, 50):
            pass
        with batcher.room(1, 40):
            assert batcher.on_their_way == 3
    assert batcher.on_their_way == 0
    with batcher.room(1, 1000):  # alone, a huge one is let in
        pass
    with pytest.raises(QueueFullError), batcher.room(4, 1):
        pass
    batcher.stop(5)


def test_who_gave_up_is_left_out(model):
    model.may_go_on.clear()
    batcher = Batcher(model, max_batch=1, max_wait=0.0)
    first, gone, last = (batcher.submit(picture(red)) for red in (1, 2, 3))
    time.sleep(0.05)
    assert gone.cancel()
    model.may_go_on.set()
    assert (left_of(first), left_of(last)) == (1, 3)
    assert model.batches == [1, 1]
    batcher.stop(5)


def test_stop_finishes_what_waits(model):
    model.may_go_on.clear()
    batcher = Batcher(model, max_batch=2, max_wait=5.0)
    results = [batcher.submit(picture(red)) for red in range(5)]
    stopper = threading.Thread(target=batcher.stop)
    stopper.start()
    time.sleep(0.02)
    with pytest.raises(StoppedError):
        batcher.submit(picture(9))
    model.may_go_on.set()
    stopper.join(5)
    assert not stopper.is_alive()
    assert [left_of(each) for each in results] == list(range(5))

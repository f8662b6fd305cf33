"""What the API answers, with a model whose answers are known."""

import base64
import io
import json
import re
import struct
import threading
import zlib

import av
import numpy as np
import pytest
from PIL import Image

from luminoth.inference.draw import draw_objects
from luminoth.inference.video_writer import VideoWriter
from luminoth.server.app import create_app
from luminoth.server.batching import Batcher
from luminoth.server.served import ServedModel
from luminoth.server.settings import Settings
from tests.server.fakes import PixelModel, application, bus, car, client, encoded

__all__ = ["client"]

PREDICT = "/api/pixel/predict/"


def form(*pictures, **fields):
    return {"image": [(io.BytesIO(picture), "../../etc/passwd") for picture in pictures], **fields}


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    content = answer.get_json(force=True)
    assert content["status"] == status
    assert set(content) == {"type", "title", "status", "detail", "instance"}
    assert not [word for word in ("Traceback", "object at 0x", "/tmp") if word in answer.text]
    return content["detail"]


# --- Pictures ---------------------------------------------------------------------------------------------------


def test_one_picture_of_a_form(client):
    answer = client.post(PREDICT, data=form(encoded((5, 7, 204), (30, 40))))
    content = answer.get_json()
    assert content["objects"] == [car(5, 7), bus(204)]
    assert content["image"] == {"width": 40, "height": 30}
    assert content["model"] == "pixel"
    assert set(content["seconds"]) == {"queue", "network", "total"}
    assert 0 < content["seconds"]["queue"] + content["seconds"]["network"] <= content["seconds"]["total"] < 5


def test_several_pictures_are_answered_in_their_order(client):
    answer = client.post(PREDICT, data=form(*(encoded((red, 1, 0)) for red in (9, 3, 6))))
    assert [each["objects"] for each in answer.get_json()["results"]] == [[car(9, 1)], [car(3, 1)], [car(6, 1)]]


@pytest.mark.parametrize("content_type", ["image/png", "image/x-anything", "application/octet-stream"])
def test_the_body_itself(client, content_type):
    answer = client.post(PREDICT, data=encoded((8, 9, 0)), content_type=content_type)
    assert answer.get_json()["objects"] == [car(8, 9)]


def test_json(client):
    text = base64.b64encode(encoded((8, 9, 0))).decode()
    assert client.post(PREDICT, json={"image": text}).get_json()["objects"] == [car(8, 9)]
    assert client.post(PREDICT, json={"image": f"data:image/png;base64,{text}"}).get_json()["objects"] == [car(8, 9)]
    results = client.post(PREDICT, json={"images": [text]}).get_json()["results"]
    assert [each["objects"] for each in results] == [[car(8, 9)]]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_other_formats(client, kind):
    answer = client.post(PREDICT, data=encoded((255, 255, 255), (16, 24), kind), content_type="image/any")
    assert answer.get_json()["image"] == {"width": 24, "height": 16}
    assert answer.get_json()["objects"][0]["label"] == "car"


def test_a_turned_photo_is_upright(client):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (40, 30)).save(buffer, "JPEG", exif=exif)
    answer = client.post(PREDICT, data=buffer.getvalue(), content_type="image/jpeg")
    assert answer.get_json()["image"] == {"width": 30, "height": 40}


# --- What is asked for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [car(5, 7)]),  # by default from 0.5 on
        ("?min_prob=0.3", [car(5, 7), bus(102)]),
        ("?min_prob=0", [car(5, 7), bus(102)]),
        ("?min_prob=0.96", []),
        ("?min_prob=0.3&total=1", [car(5, 7)]),
        ("?min_prob=0.3&only_class=bus", [bus(102)]),
        ("?min_prob=0.3&only_class=bus&only_class=car&total=9", [car(5, 7), bus(102)]),
        ("?min_prob=0.3&only_class=person", []),
    ],
)
def test_which_objects(client, query, expected):
    answer = client.post(PREDICT + query, data=encoded((5, 7, 102)), content_type="image/png")
    assert answer.get_json()["objects"] == expected


def test_fields_of_the_form(client):
    answer = client.post(PREDICT, data=form(encoded((5, 7, 102)), min_prob="0.3", only_class="bus"))
    assert answer.get_json()["objects"] == [bus(102)]


def test_the_threshold_of_the_server():
    client = application(settings=Settings(min_prob=0.2)).test_client()
    answer = client.post(PREDICT, data=encoded((5, 7, 102)), content_type="image/png")
    assert answer.get_json()["objects"] == [car(5, 7), bus(102)]
    assert client.get("/api/models").get_json() == {
        "models": [
            {
                "name": "pixel",
                "network": "pixels",
                "state": "ready",
                "classes": ["car", "bus", "person"],
                "min_prob": 0.05,
                "default_prob": 0.2,
            }
        ]
    }


def test_the_drawn_picture(client):
    answer = client.post(f"{PREDICT}?media=png&only_class=car", data=encoded((5, 7, 0)), content_type="image/png")
    assert answer.content_type == "image/png"
    expected = np.full((30, 40, 3), (5, 7, 0), np.uint8)
    draw_objects(expected, [car(5, 7)])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.data))), expected)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("min_prob=x", "min_prob is 'x'"),
        ("min_prob=1.5", "from 0 to 1"),
        ("min_prob=nan", "from 0 to 1"),
        ("total=0", "from 1 on"),
        ("total=-1", "from 1 on"),
        ("total=٣", "whole number"),
        ("only_class=cat", "no class 'cat'"),
        ("media=gif", "accepted is png"),
    ],
)
def test_wrong_values(client, query, words):
    assert words in problem(client.post(f"{PREDICT}?{query}", data=encoded(), content_type="image/png"), 422)


# --- What is wrong ------------------------------------------------------------------------------------------------


def test_wrong_bodies(client):
    assert "no file `image`" in problem(client.post(PREDICT, data={"picture": (io.BytesIO(encoded()), "a")}), 400)
    assert "Content-Type" in problem(client.post(PREDICT, data="hello", content_type="text/plain"), 415)
    assert "cannot be read as one" in problem(client.post(PREDICT, data=b"", content_type="image/png"), 415)
    assert "cannot be read as one" in problem(
        client.post(PREDICT, data=b"%!PS-Adobe-3.0 EPSF-3.0\n", content_type="image/png"), 415
    )
    assert "damaged" in problem(
        client.post(PREDICT, data=encoded(size=(200, 200))[:-30], content_type="image/png"), 422
    )
    pair = client.post(PREDICT, data=form(encoded(), b"no picture"))
    assert "Picture 2 cannot" in problem(pair, 415)
    assert "one picture" in problem(client.post(f"{PREDICT}?media=png", data=form(encoded(), encoded())), 422)


@pytest.mark.parametrize(
    "content",
    [[], "x", {}, {"image": 3}, {"images": "x"}, {"images": [1]}, {"image": "a", "images": []}, {"images": []}],
)
def test_wrong_json(client, content):
    problem(client.post(PREDICT, json=content), 400)


def test_what_is_no_json_or_no_base64(client):
    problem(client.post(PREDICT, data=b"{", content_type="application/json"), 400)
    assert "base64" in problem(client.post(PREDICT, json={"image": "%%"}), 400)
    assert "base64" in problem(client.post(PREDICT, json={"image": "ä"}), 400)


def test_wrong_addresses(client):
    assert "no model 'nix'" in problem(client.post("/api/nix/predict/", data=encoded(), content_type="image/png"), 404)
    assert "/docs" in problem(client.get("/nix"), 404)
    problem(client.get("/static/../app.py"), 404)
    answer = client.get(PREDICT)
    problem(answer, 405)
    assert "POST" in answer.headers["Allow"]


def test_limits():
    client = application(settings=Settings(max_upload_bytes=5000, max_pixels=100, max_images=2)).test_client()
    too_large = client.post(PREDICT, data=bytes(5001), content_type="image/png")
    assert "larger" in problem(too_large, 413)
    too_many_pixels = client.post(PREDICT, data=encoded(size=(10, 11)), content_type="image/png")
    assert "more than 100 pixels" in problem(too_many_pixels, 413)
    assert client.post(PREDICT, data=encoded(size=(10, 10)), content_type="image/png").status_code == 200
    too_many = client.post(PREDICT, data=form(*[encoded(size=(2, 2))] * 3))
    assert "at most 2" in problem(too_many, 413)


def test_pixels_are_counted_before_they_are_decoded(client):
    """A picture that would take 300 GB."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 320_000, 320_000, 8, 2, 0, 0, 0)
    end = encoded(size=(1, 1))[33:]
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + end
    assert "more than 50,000,000 pixels" in problem(client.post(PREDICT, data=header, content_type="image/png"), 413)


def test_a_full_queue_says_come_again():
    model = PixelModel()
    app = application(model, max_queue=1)
    model.may_go_on.clear()
    answers = []
    first = threading.Thread(target=lambda: answers.append(app.test_client().post(PREDICT, data=form(encoded()))))
    first.start()
    _wait_until_waiting(app)
    answer = app.test_client().post(PREDICT, data=form(encoded()))
    assert "ask again" in problem(answer, 503)
    assert answer.headers["Retry-After"] == "1"
    model.may_go_on.set()
    first.join(10)
    assert [each.status_code for each in answers] == [200]
    assert app.test_client().post(PREDICT, data=form(encoded())).status_code == 200


def _wait_until_waiting(app):
    for _ in range(500):
        if 'lumi_pictures_on_their_way{model="pixel"} 1.0' in app.test_client().get("/metrics").text:
            return
        threading.Event().wait(0.01)
    raise AssertionError("nothing waits")


def test_who_waits_too_long_is_told():
    model = PixelModel()
    client = application(model, Settings(timeout=0.05)).test_client()
    model.may_go_on.clear()
    answer = client.post(PREDICT, data=form(encoded()))
    assert "waited too long" in problem(answer, 503)
    model.may_go_on.set()


def test_a_model_that_fails_tells_nothing_of_it(client, monkeypatch):
    def fail(model, images):
        raise RuntimeError("secret /tmp/x")

    monkeypatch.setattr(PixelModel, "detect", fail)
    answer = client.post(PREDICT, data=form(encoded()))
    assert "secret" not in answer.text
    problem(answer, 500)


# --- Loading ------------------------------------------------------------------------------------------------------


def test_while_it_loads():
    go_on = threading.Event()

    def load():
        go_on.wait(10)
        return PixelModel()

    served = ServedModel("pixel", load)
    client = create_app([served]).test_client()
    assert client.get("/healthz").get_json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()) == (503, {"status": "loading", "models": {"pixel": "loading"}})
    assert client.get("/api/models").get_json()["models"][0]["classes"] == []
    assert "still loading" in problem(client.post(PREDICT, data=form(encoded())), 503)
    go_on.set()
    served.wait(10)
    assert client.get("/readyz").get_json() == {"status": "ready", "models": {"pixel": "ready"}}
    assert client.post(PREDICT, data=form(encoded())).status_code == 200


def test_a_model_that_cannot_be_loaded():
    def load():
        raise OSError("secret")

    good, bad = ServedModel("pixel", PixelModel), ServedModel("bad", load)
    client = create_app([good, bad]).test_client()
    good.wait(10)
    bad.wait(10)
    assert client.get("/readyz").get_json() == {"status": "failed", "models": {"pixel": "ready", "bad": "failed"}}
    assert "could not be loaded" in problem(client.post("/api/bad/predict/", data=form(encoded())), 503)
    assert client.post(PREDICT, data=form(encoded())).status_code == 200


# --- Clips --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoWriter(path, 10) as video:
        for index in range(11):
            video.write(np.full((32, 48, 3), (20 * index, 40, 0), np.uint8))
    return path.read_bytes()


def test_each_frame_is_a_line(client, clip):
    answer = client.post("/api/pixel/video/", data=clip, content_type="video/mp4")
    assert answer.content_type == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["frame"] for line in lines] == list(range(11))
    assert [line["time"] for line in lines] == pytest.approx([index / 10 for index in range(11)])
    left = [line["objects"][0]["bbox"][0] for line in lines]
    assert left == pytest.approx([20 * index for index in range(11)], abs=6)  # what the codec leaves of the colour


def test_a_clip_of_a_form_and_what_is_asked_of_it(client, clip):
    data = {"video": (io.BytesIO(clip), "clip.mp4"), "stride": "5", "only_class": "bus"}
    lines = client.post("/api/pixel/video/?min_prob=0", data=data).text.splitlines()
    assert [json.loads(line)["frame"] for line in lines] == [0, 5, 10]
    assert {each["label"] for line in lines for each in json.loads(line)["objects"]} == {"bus"}


def test_a_damaged_clip_ends_with_the_problem(client, tmp_path):
    path = tmp_path / "clip.mkv"  # needs no end to be read
    random = np.random.default_rng(1)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", 10, width=96, height=64, pix_fmt="yuv420p")
        for _ in range(40):
            frame = av.VideoFrame.from_ndarray(random.integers(0, 255, (64, 96, 3), np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    whole = path.read_bytes()
    answer = client.post("/api/pixel/video/", data=whole[: len(whole) // 2], content_type="video/x-matroska")
    *lines, last = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.status_code == 200
    assert 5 < len(lines) < 40
    assert [line["frame"] for line in lines] == list(range(len(lines)))
    assert last["problem"]["status"] == 422


def test_a_clip_has_a_most_of_frames(clip):
    client = application(settings=Settings(max_frames=4)).test_client()
    lines = client.post("/api/pixel/video/", data=clip, content_type="video/mp4").text.splitlines()
    assert [json.loads(line).get("frame") for line in lines] == [0, 1, 2, 3, None]
    assert json.loads(lines[-1])["problem"]["status"] == 413


def test_a_model_that_fails_in_the_middle_of_a_clip(clip, monkeypatch):
    client = application(max_batch=1).test_client()
    plain = PixelModel.detect

    def fail_at_the_third(model, images):
        if len(model.batches) == 4:  # the first was to warm up
            raise RuntimeError("secret")
        return plain(model, images)

    monkeypatch.setattr(PixelModel, "detect", fail_at_the_third)
    answer = client.post("/api/pixel/video/", data=clip, content_type="video/mp4")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line.get("frame") for line in lines] == [0, 1, 2, None]
    assert lines[-1]["problem"]["status"] == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nc=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n",
        b"<MPD>",
        b"",
    ],
)
def test_no_play_list_is_followed(client, text):
    problem(client.post("/api/pixel/video/", data=text, content_type="video/mp4"), 415)


def test_wrong_clips(client, clip):
    video = "/api/pixel/video/"
    problem(client.post(video, data=clip[:200], content_type="video/mp4"), 422)
    problem(client.post(video, data={"clip": (io.BytesIO(clip), "a")}), 400)
    problem(client.post(video, data="x", content_type="text/plain"), 415)
    assert "stride" in problem(client.post(f"{video}?stride=0", data=clip, content_type="video/mp4"), 422)
    small = application(settings=Settings(max_pixels=1000)).test_client()
    assert "48 x 32" in problem(small.post(video, data=clip, content_type="video/mp4"), 413)


def test_a_clip_gives_its_room_back(clip, monkeypatch):
    rooms = []
    plain = Batcher.room
    monkeypatch.setattr(Batcher, "room", lambda *arguments: rooms.append(arguments) or plain(*arguments))
    app = application(max_queue=8)
    for _ in range(3):  # not read to its end
        answer = app.test_client().post("/api/pixel/video/", data=clip, content_type="video/mp4", buffered=False)
        next(iter(answer.response))
        answer.close()
    assert len(rooms) == 3
    assert app.test_client().post(PREDICT, data=form(*[encoded()] * 8)).status_code == 200


# --- Other pages --------------------------------------------------------------------------------------------------


def test_metrics(client):
    client.post(PREDICT, data=form(encoded(), encoded())).close()
    client.open("/nix", method="INVENTED").close()
    text = client.get("/metrics").text
    assert 'lumi_requests_total{method="POST",route="/api/<model>/predict/",status="200"} 1.0' in text
    assert 'lumi_requests_total{method="other",route="none",status="404"} 1.0' in text
    assert 'lumi_batch_size_sum{model="pixel"} 2.0' in text
    assert 'lumi_model_ready{model="pixel"} 1.0' in text
    assert 'lumi_pictures_on_their_way{model="pixel"} 0.0' in text


def test_pages_need_no_other_host(client):
    docs = client.get("/docs").text
    assert [word for word in ("/api/{model}/predict/", "/api/pixel/predict/", "only_class") if word not in docs] == []
    for page in (docs, client.get("/").text):
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
        assert set(re.findall(r"\w+://[^/\s\"']+", page)) <= {"http://localhost", "http://www.w3.org"}

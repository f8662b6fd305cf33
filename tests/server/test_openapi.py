"""`/openapi.json` is what the server does: schemathesis makes requests of it and holds the answers against it."""

import base64
import io

import av
import pytest

from tests.server.fakes import application, encoded

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, Phase, settings, strategies  # noqa: E402
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

PICTURES = strategies.sampled_from([encoded(size=(8, 9)), encoded(size=(3, 2), kind="JPEG")])


def test_the_specification_is_one():
    jsonschema_rs = pytest.importorskip("jsonschema_rs")
    specification = application().test_client().get("/openapi.json").get_json()
    for schema in specification["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    assert specification["components"]["parameters"]["model"]["schema"]["enum"] == ["pixel"]


@strategies.composite
def clips(draw):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        stream = container.add_stream("mpeg4", 10, width=16, height=16, pix_fmt="yuv420p")
        for _ in range(draw(strategies.integers(1, 2))):
            container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode())
    return buffer.getvalue()


app = application()
schemathesis.openapi.media_type("image/*", PICTURES)
schemathesis.openapi.media_type("video/*", clips())
schemathesis.openapi.format("base64-picture", PICTURES.map(lambda each: base64.b64encode(each).decode()))
schema = schemathesis.openapi.from_wsgi("/openapi.json", app)


@schema.parametrize()
@settings(
    max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
def test_answers_are_as_specified(case):
    # Files of a form are made up as pictures, which suits one kind of form; media=png does not suit several pictures.
    takes_clips = case.operation.path.endswith("/video/") and case.media_type == "multipart/form-data"
    may_be_refused = takes_clips or "media" in (case.query or {})
    case.call_and_validate(excluded_checks=[positive_data_acceptance] if may_be_refused else [])

"""The API: `/api/models`, `/api/<model>/predict/`, `/api/<model>/video/`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
from flask import Blueprint, Request, Response, jsonify, request

from luminoth.image import encode_png
from luminoth.inference.draw import draw_objects
from luminoth.server.answers import Wanted, full, ready_batcher, stopping, wait_for
from luminoth.server.batching import Batcher, Found, QueueFullError, StoppedError
from luminoth.server.problems import Problem
from luminoth.server.served import ServedModel
from luminoth.server.settings import Settings
from luminoth.server.uploads import check_picture, decode_picture, read_bodies
from luminoth.server.videos import answer_video
from luminoth.types import Detections


def blueprint(models: Mapping[str, ServedModel], settings: Settings) -> Blueprint:
    """The routes of the API.

    Args:
        models: by name.
        settings: limits.
    """
    api = Blueprint("api", __name__, url_prefix="/api")

    @api.get("/models")
    def list_models() -> Response:
        return jsonify(models=[_describe(model, settings) for model in models.values()])

    @api.post("/<model>/predict/")
    def predict(model: str) -> Response:
        started = time.monotonic()
        served = _find(models, model)
        batcher = ready_batcher(served)
        wanted = Wanted.of(request, served, settings)
        bodies, is_list = read_bodies(request, min(settings.max_images, batcher.max_queue))
        wants_picture = _wants_picture(request, is_list)
        pictures, found = _detect(batcher, bodies, settings)
        selected = [wanted.select(each.detections) for each in found]
        if wants_picture:
            pixels = np.array(pictures[0])
            draw_objects(pixels, selected[0])
            return Response(encode_png(pixels), content_type="image/png")
        total = time.monotonic() - started
        answers = [_answer(model, each, objects, total) for each, objects in zip(found, selected, strict=True)]
        return jsonify(results=answers) if is_list else jsonify(answers[0])

    @api.post("/<model>/video/")
    def video(model: str) -> Response:
        return answer_video(request, _find(models, model), settings)

    return api


def _find(models: Mapping[str, ServedModel], name: str) -> ServedModel:
    if name not in models:
        raise Problem(404, f"There is no model {name[:50]!r}; /api/models lists those there are.")
    return models[name]


def _detect(batcher: Batcher, bodies: list[bytes], settings: Settings) -> tuple[list[np.ndarray], list[Found]]:
    """Decodes pictures and finds their objects."""
    deadline = time.monotonic() + settings.timeout
    names = ["The picture"] if len(bodies) == 1 else [f"Picture {index}" for index in range(1, len(bodies) + 1)]
    pixels = sum(check_picture(body, name, settings.max_pixels) for body, name in zip(bodies, names, strict=True))
    waiting: list[Future[Found]] = []
    try:
        with batcher.room(len(bodies), pixels):
            pictures = [
                decode_picture(body, name, settings.max_pixels) for body, name in zip(bodies, names, strict=True)
            ]
            waiting += [batcher.submit(picture) for picture in pictures]
            return pictures, [wait_for(result, deadline) for result in waiting]
    except QueueFullError:
        raise full() from None
    except StoppedError:
        raise stopping() from None
    finally:
        for result in waiting:  # those that nobody waits for any more
            result.cancel()


def _answer(model: str, found: Found, objects: Detections, total: float) -> dict[str, Any]:
    height, width = objects.image_size
    return {
        "objects": objects.to_dicts(),
        "image": {"width": width, "height": height},
        "model": model,
        "seconds": {
            "queue": round(found.queue_seconds, 4),
            "network": round(found.network_seconds, 4),
            "total": round(total, 4),
        },
    }


def _describe(model: ServedModel, settings: Settings) -> dict[str, Any]:
    return {
        "name": model.name,
        "network": model.network,
        "state": model.state,
        "classes": model.classes,
        "min_prob": model.min_prob,
        "default_prob": settings.min_prob,
    }


def _wants_picture(request: Request, is_list: bool) -> bool:
    media = request.values.get("media")
    if media not in (None, "png"):
        raise Problem(422, f"media is {media[:50]!r}; accepted is png.")
    if media and is_list:
        raise Problem(422, "media=png answers one picture; several were sent.")
    return media is not None

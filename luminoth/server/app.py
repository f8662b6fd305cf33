"""The web application: the page, the API, and what every answer has in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import getitem
from pathlib import Path

import yaml
from flask import Flask, Response, jsonify, render_template
from markupsafe import Markup, escape

from luminoth.server import access, api, problems
from luminoth.server.measures import Measures
from luminoth.server.served import FAILED, READY, ServedModel
from luminoth.server.settings import Settings

# More parts or fields than any form of ours has; each costs memory.
_MAX_FORM_PARTS = 200
_SPECIFICATION = Path(__file__).parent / "openapi.yml"


def create_app(models: Sequence[ServedModel], settings: Settings = Settings()) -> Flask:  # noqa: B008 (frozen)
    """The WSGI application that serves models; they start to load.

    Args:
        models: at least one; their names differ.
        settings: limits and who may ask.

    Raises:
        ValueError: there is no model, or two have the same name.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_upload_bytes
    app.config["MAX_FORM_PARTS"] = _MAX_FORM_PARTS
    app.json.sort_keys = False
    by_name = {model.name: model for model in models}
    if not len(by_name) == len(models) > 0:
        raise ValueError(f"models need names of their own, and there must be one; got {[each.name for each in models]}")
    measures = Measures(models)
    problems.register(app)
    access.register(app, settings, measures)
    app.register_blueprint(api.blueprint(by_name, settings))
    _add_pages(app)
    _add_states(app, models, measures)
    _add_specification(app, by_name, settings)
    for model in models:
        model.on_batch = measures.watcher(model.name)
        model.start()
    return app


def _add_pages(app: Flask) -> None:
    @app.get("/")
    def index() -> str:
        return render_template("index.html")


def _add_states(app: Flask, models: Sequence[ServedModel], measures: Measures) -> None:
    """What those who run the server ask for."""

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify(status="ok")

    @app.get("/readyz")
    def readyz() -> Response:
        states = {model.name: model.state for model in models}
        is_ready = all(state == READY for state in states.values())
        status = "ready" if is_ready else "failed" if FAILED in states.values() else "loading"
        answer = jsonify(status=status, models=states)
        if not is_ready:
            answer.status_code = 503
            answer.headers["Retry-After"] = "1"
        return answer

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(measures.text(), content_type=measures.content_type)


def _add_specification(app: Flask, models: dict[str, ServedModel], settings: Settings) -> None:
    specification = yaml.safe_load(_SPECIFICATION.read_text(encoding="utf-8"))
    specification["components"]["parameters"]["model"]["schema"]["enum"] = list(models)
    if not settings.api_keys:
        del specification["security"]

    app.jinja_env.filters |= {"resolve": _resolve, "with_code": _with_code}
    class_name = specification["components"]["parameters"]["only_class"]["schema"]["items"]

    @app.get("/openapi.json")
    def openapi() -> Response:
        known = dict.fromkeys(name for model in models.values() for name in model.classes)
        if known:  # of all models, as far as they are loaded
            class_name["enum"] = list(known)
        return jsonify(specification)

    @app.get("/docs")
    def docs() -> str:
        return render_template("docs.html", specification=specification, model=next(iter(models)))


def _resolve(node: dict, whole: dict) -> dict:
    """A part of the specification, or the one that it refers to."""
    return reduce(getitem, node["$ref"].split("/")[1:], whole) if "$ref" in node else node


def _with_code(text: str) -> Markup:
    """`what stands in backquotes` as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )

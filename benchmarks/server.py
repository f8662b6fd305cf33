"""`lumi server web` under load: beside the bare network, beside a naive server, and for a minute of rough treatment.

    python -m benchmarks.server load --checkpoint toytown [--clients 1,8,32] [--rounds 5] [--seconds 10]
    export LUMI_TORCHVISION_PYTHON=/path/to/an/environment/bin/python    # with torch, torchvision and Flask
    python -m benchmarks.server load --peer torchvision --model fasterrcnn_mobilenet_v3_large_320_fpn
    python -m benchmarks.server soak --checkpoint toytown [--clients 64] [--seconds 60]

The server, the bare network and the naive server are processes of their own that sleep while another is measured, and
a round measures each once; figures are medians of the rounds, in brackets the least and the greatest. Clients are
threads of this process on connections that stay open; they upload JPEGs of 480 x 640 as files of a form, one after the
other. The bare network decodes the same JPEGs, in batches of the server's size. With `--peer`, torchvision writes
seeded weights and both sides serve them: the naive server (benchmarks/naive_server.py) is Flask's own, with threads.

`soak`: good, huge, broken and aborted uploads from many clients; every answer is checked, and the server's memory at
the end is compared with that after a warm-up of a quarter of the time. Ends with status 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.comparison import markdown, spread
from benchmarks.machine import describe_machine
from benchmarks.peer import ROOT, Worker
from benchmarks.pictures import make_example

PYTHON_VARIABLE = "LUMI_TORCHVISION_PYTHON"
LUMI = [sys.executable, "-c", "from luminoth.cli.main import main; main()"]
PICTURES = 32
BATCH = 8
PROB = 0.05  # what the server's networks report
BOUNDARY = "a-boundary-that-no-picture-holds"
LIMIT_MB = 1.0


def form(picture: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    return head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()


# --- Servers ------------------------------------------------------------------------------------------------------


@contextmanager
def lumi_server(checkpoint: str, *options: str) -> Iterator[tuple[str, int]]:
    """`lumi server web`, ready: (address, process id)."""
    command = [*LUMI, "server", "web", "--checkpoint", checkpoint, "--port", "0", "--max-batch", str(BATCH), *options]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stderr=said, cwd=ROOT)
        try:
            yield _wait_until_ready(process, said), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
        if status:
            raise RuntimeError(f"the server ended with status {status}")


def _wait_until_ready(process: subprocess.Popen, said) -> str:
    for _ in range(1200):
        said.seek(0)
        addresses = [line.split("http://")[1].strip("/\n") for line in said if line.startswith("Serving ")]
        if process.poll() is not None:
            said.seek(0)
            raise RuntimeError(f"the server ended: {said.read()[-2000:]}")
        if addresses and _get(addresses[0], "/readyz") == 200:
            return addresses[0]
        time.sleep(0.1)
    raise RuntimeError("the server does not get ready")


def _get(address: str, path: str) -> int:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


@contextmanager
def naive_server(python: str, model: str, weights: Path) -> Iterator[str]:
    """The naive server; its address."""
    command = [python, str(ROOT / "benchmarks" / "naive_server.py"), "serve", model, str(weights)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = f"127.0.0.1:{int(process.stdout.readline())}"
        for _ in range(200):
            try:
                _get(address, "/")
                break
            except OSError:
                time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# --- Load ---------------------------------------------------------------------------------------------------------


def upload(connection: http.client.HTTPConnection, path: str, body: bytes) -> bytes:
    connection.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}: {content[:200]!r}")
    return content


def load(address: str, path: str, bodies: Sequence[bytes], clients: int, seconds: float) -> list[float]:
    """Seconds of every request that was answered while clients made them one after the other for so long."""
    taken: list[list[float]] = [[] for _ in range(clients)]
    stop = time.perf_counter() + seconds

    def one(number: int) -> None:
        connection = http.client.HTTPConnection(address, timeout=120)
        at = number
        while time.perf_counter() < stop:
            started = time.perf_counter()
            upload(connection, path, bodies[at % len(bodies)])
            ended = time.perf_counter()
            if ended < stop:
                taken[number].append(ended - started)
            at += 1
        connection.close()

    _run_threads(one, clients)
    return [each for one_client in taken for each in one_client]


def _run_threads(run: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def percentile(values: Sequence[float], share: float) -> float:
    if not values:
        raise RuntimeError("no request was answered in time; measure for more --seconds")
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _mean_batch(address: str) -> float:
    """By the server's own figures."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    total, count = (
        next(float(line.split()[-1]) for line in lines if line.startswith(f"lumi_batch_size_{what}"))
        for what in ("sum", "count")
    )
    return total / count


def single_times(bare: Worker, seconds: float) -> list[float]:
    times, stop = [], time.perf_counter() + seconds
    while time.perf_counter() < stop:
        times.append(bare.seconds("single"))
    return times


def measure_load(
    bare: Worker, own: str, peer: str | None, clients: Sequence[int], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """What each round measured, by name."""
    bodies = [form(make_example(number).encoded) for number in range(PICTURES)]
    servers = {
        "server": (own, f"/api/{_served_name(own)}/predict/?min_prob={PROB}"),
        **({"naive": (peer, "/predict")} if peer else {}),
    }
    measured: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        measured.setdefault(name, []).append(value)

    for address, path in servers.values():
        load(address, path, bodies, 4, min(seconds, 3))
    bare.seconds("batched")
    for _ in range(rounds):
        times = [bare.seconds("batched") for _ in range(3)]
        note("bare, pictures/s", PICTURES / statistics.median(times))
        singles = single_times(bare, min(seconds, 5))
        note("bare, p50 ms", 1000 * percentile(singles, 0.5))
        note("bare, p99 ms", 1000 * percentile(singles, 0.99))
        for name, (address, path) in servers.items():
            for count in clients:
                times = load(address, path, bodies, count, seconds)
                note(f"{name}, {count} clients, pictures/s", len(times) / seconds)
                note(f"{name}, {count} clients, p50 ms", 1000 * percentile(times, 0.5))
                note(f"{name}, {count} clients, p99 ms", 1000 * percentile(times, 0.99))
        note("server, pictures in a batch so far", _mean_batch(own))
        for count in clients:
            rate = measured[f"server, {count} clients, pictures/s"][-1]
            note(f"server / bare, {count} clients", rate / measured["bare, pictures/s"][-1])
    return measured


def run_load(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        python = os.environ.get(PYTHON_VARIABLE)
        if options.peer and not python:
            raise SystemExit(f"--peer torchvision needs {PYTHON_VARIABLE}: an interpreter with torch and torchvision")
        checkpoint, weights = options.checkpoint, folder / "weights.pth"
        if options.peer:
            subprocess.run(
                [python, str(ROOT / "benchmarks" / "naive_server.py"), "weights", options.model, str(weights)],
                check=True,
            )
            checkpoint = str(folder / "converted")
            command = [*LUMI, "checkpoint", "convert", str(weights), "--as", options.model, "--output", checkpoint]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        job = {"checkpoint": str(checkpoint), "pictures": PICTURES, "batch": BATCH, "prob": PROB}
        with (
            Worker("benchmarks.bare_worker", job) as bare,
            lumi_server(checkpoint) as (own, _),
            _maybe(options.peer, lambda: naive_server(python, options.model, weights)) as peer,
        ):
            measured = measure_load(bare, own, peer, options.clients, options.rounds, options.seconds)
    print(f"{describe_machine()}\n")
    print(
        markdown(["what", "median (least to greatest)"], [[name, spread(each, 2)] for name, each in measured.items()])
    )
    if options.json:
        Path(options.json).write_text(json.dumps(measured, indent=2), encoding="utf-8")
    return 0


@contextmanager
def _maybe(wanted: object, make: Callable) -> Iterator[str | None]:
    if not wanted:
        yield None
        return
    with make() as made:
        yield made


# --- Soak ---------------------------------------------------------------------------------------------------------


def resident(pid: int) -> int:
    """Bytes of memory a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def abort(address: str, path: str, body: bytes) -> None:
    """Closes the connection in the middle of an upload."""
    host, port = address.split(":")
    head = f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode() + body[: len(body) // 2])


def run_soak(options: argparse.Namespace) -> int:
    pictures = [make_example(number).encoded for number in range(PICTURES)]
    with lumi_server(options.checkpoint, "--max-upload-mb", str(LIMIT_MB)) as (address, pid):
        path = f"/api/{_served_name(address)}/predict/?min_prob={PROB}"
        expected = [_objects(_post(address, path, picture)[1]) for picture in pictures]
        huge = bytes(round(3e6 * LIMIT_MB))
        wrong: list[str] = []
        counts: Counter = Counter()

        def one(seed: int, stop: float) -> None:
            choose = random.Random(seed)
            while time.monotonic() < stop:
                kind = choose.choice(["good", "good", "good", "huge", "broken", "aborted"])
                number = choose.randrange(PICTURES)
                picture = pictures[number]
                counts[kind] += 1
                try:
                    if kind == "aborted":
                        abort(address, path, picture)
                        continue
                    body = {"good": picture, "huge": huge, "broken": picture[: len(picture) // 2]}[kind]
                    status, content = _post(address, path, body)
                except (OSError, http.client.HTTPException) as error:
                    wrong.append(f"{kind}: {error!r}")
                    continue
                if status != {"good": 200, "huge": 413, "broken": 422}[kind]:
                    wrong.append(f"{kind}: status {status}")
                elif kind == "good" and not _alike(_objects(content), expected[number]):
                    wrong.append(f"picture {number}: other objects than alone")

        def soak(seconds: float) -> None:
            stop = time.monotonic() + seconds
            _run_threads(lambda number: one(number, stop), options.clients)

        soak(options.seconds / 4)
        before = resident(pid)
        soak(options.seconds)
        after = resident(pid)
    growth = after / before - 1
    print(f"{describe_machine()}\n{dict(counts)}")
    print(f"memory {before / 1e6:.0f} MB after the warm-up, {after / 1e6:.0f} MB at the end ({growth:+.1%})")
    print(f"{len(wrong)} wrong answers{': ' + '; '.join(wrong[:5]) if wrong else ''}")
    return int(bool(wrong) or growth > 0.05)


def _served_name(address: str) -> str:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/api/models")
    content = json.loads(connection.getresponse().read())
    connection.close()
    return content["models"][0]["name"]


def _post(address: str, path: str, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=120)
    connection.request("POST", path, body, {"Content-Type": "image/jpeg"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def _objects(content: bytes) -> list[dict]:
    return json.loads(content)["objects"]


def _alike(found: list[dict], expected: list[dict]) -> bool:
    """Sums in batches of another size round differently: scores may differ in the last digit, boxes by a pixel."""
    sure = [[each for each in objects if each["prob"] > PROB + 0.001] for objects in (found, expected)]
    return all(_has(other, each) for one, other in (sure, sure[::-1]) for each in one)


def _has(objects: list[dict], wanted: dict) -> bool:
    return any(
        each["label"] == wanted["label"]
        and abs(each["prob"] - wanted["prob"]) < 0.002
        and all(abs(a - b) <= 1 for a, b in zip(each["bbox"], wanted["bbox"], strict=True))
        for each in objects
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    loading = commands.add_parser("load")
    loading.add_argument("--checkpoint", default="toytown")
    loading.add_argument("--peer", choices=["torchvision"])
    loading.add_argument("--model", default="fasterrcnn_mobilenet_v3_large_320_fpn", help="with --peer: which")
    loading.add_argument("--clients", type=lambda text: [int(each) for each in text.split(",")], default=[1, 8, 32])
    loading.add_argument("--rounds", type=int, default=5)
    loading.add_argument("--seconds", type=float, default=10.0, help="of each load")
    loading.add_argument("--json", help="file for all that was measured")
    loading.set_defaults(run=run_load)
    soaking = commands.add_parser("soak")
    soaking.add_argument("--checkpoint", default="toytown")
    soaking.add_argument("--clients", type=int, default=64)
    soaking.add_argument("--seconds", type=float, default=60.0)
    soaking.set_defaults(run=run_soak)
    options = parser.parse_args()
    sys.exit(options.run(options))


if __name__ == "__main__":
    main()

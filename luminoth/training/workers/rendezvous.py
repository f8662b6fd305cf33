"""Workers wait for one another before TensorFlow does, which would wait for an hour, and not hear Ctrl-C meanwhile.

Each worker that is not the chief calls the chief at its address and says who it is; when all have called, the chief
answers. It happens on the port that TensorFlow listens on afterwards, so that nothing else need be open.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing

from luminoth.errors import ConfigError, WorkerError

_POLL_SECONDS = 0.5
_LONGEST_MESSAGE = 10_000
_GO = b"go\n"


def meet(addresses: Sequence[str], index: int, *, timeout: float, name: str) -> None:
    """Returns when all workers are there.

    Args:
        addresses: "host:port" of all workers; the first is the chief's.
        index: which of them this process is.
        timeout: seconds to wait.
        name: of where the addresses are from, for messages.

    Raises:
        ConfigError: this worker's address cannot be listened on, or another worker has other addresses.
        WorkerError: somebody has not come in time; says who.
    """
    deadline = time.monotonic() + timeout
    with closing(_listen(addresses[index], name)) as listener:
        if index == 0:
            _await_all(listener, addresses, deadline, timeout, name)
    if index > 0:
        _call_chief(addresses, index, deadline, timeout, name)


def _listen(address: str, name: str) -> socket.socket:
    host, port = _split(address)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"{name}: the host of this worker's address {address} is not known ({error})") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # On all interfaces, as TensorFlow does: the host's name may stand for an address outside of a container.
        listener.bind(("", port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{name}: port {port} of this worker's address {address} cannot be listened on "
            f"({error.strerror or error}); stop what uses it, or state another port"
        ) from error
    return listener


def _await_all(listener: socket.socket, addresses: Sequence[str], deadline: float, timeout: float, name: str) -> None:
    listener.settimeout(_POLL_SECONDS)
    with ExitStack() as stack:
        calls: dict[int, socket.socket] = {}
        while len(calls) < len(addresses) - 1:
            if time.monotonic() > deadline:
                missing = [
                    f"{number} ({addresses[number]})" for number in range(1, len(addresses)) if number not in calls
                ]
                raise WorkerError(
                    f"worker {', '.join(missing)} of {name} has not come within {timeout:g} s: start it, with the same "
                    "addresses, or see that it can reach this one; train.wait_for_workers_secs says how long to wait"
                )
            try:
                call, _ = listener.accept()
            except TimeoutError:
                continue
            stack.callback(call.close)
            caller = _read_caller(call)
            if caller is None:  # a port scanner, a health check
                continue
            if caller.get("addresses") != list(addresses):
                raise ConfigError(
                    f"{name}: worker {caller['index']} has the addresses {', '.join(caller.get('addresses', ()))}, the "
                    f"chief has {', '.join(addresses)}; they must be the same on all workers"
                )
            calls[caller["index"]] = call
        for number, call in calls.items():
            try:
                call.sendall(_GO)
            except OSError as error:
                raise WorkerError(f"worker {number} ({addresses[number]}) has gone again; start all anew") from error


def _call_chief(addresses: Sequence[str], index: int, deadline: float, timeout: float, name: str) -> None:
    message = json.dumps({"index": index, "addresses": list(addresses)}).encode() + b"\n"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(_split(addresses[0]), timeout=_POLL_SECONDS) as call:
                call.sendall(message)
                if _is_answered(call, deadline):
                    return
        except OSError:  # nobody there yet, or gone again
            pass
        time.sleep(_POLL_SECONDS)
    raise WorkerError(
        f"the chief of {name} ({addresses[0]}) has not answered within {timeout:g} s: start it and all other workers, "
        "or see that it can be reached from here; train.wait_for_workers_secs says how long to wait"
    )


def _is_answered(call: socket.socket, deadline: float) -> bool:
    """Waits for the chief's word; false when it hangs up."""
    call.settimeout(_POLL_SECONDS)
    while time.monotonic() < deadline:
        try:
            return call.recv(len(_GO)) == _GO
        except TimeoutError:
            continue
    return False


def _read_caller(call: socket.socket) -> dict | None:
    """Who calls; None when it is no worker."""
    call.settimeout(5.0)
    try:
        with call.makefile("rb") as stream:
            caller = json.loads(stream.readline(_LONGEST_MESSAGE))
        return caller if isinstance(caller, dict) and isinstance(caller.get("index"), int) else None
    except (OSError, ValueError):
        return None


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_listening(address: str) -> bool:
    """Whether anybody accepts connections at "host:port"."""
    try:
        with socket.create_connection(_split(address), timeout=2.0):
            return True
    except OSError:
        return False

"""Jobs on the machines of a Ray cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hrat.errors import HratError, MissingDependencyError
from hrat.experiments.sweeps.workers import ATTEMPTS, Died

__all__ = ["on_ray"]

CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 45
"""Longest time that a cluster may take to answer, s; half of it or more goes into starting Python and Ray."""
JOIN = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='critical')"


def on_ray(function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], *, address: str) -> Iterator[tuple[int, Any]]:
    """Work through jobs on a Ray cluster, which sees to jobs whose worker or machine dies.

    Results come as `(number of the job, result)` as soon as they are known, as from `in_processes`.

    Args:
        function: a function of a module that is installed on every machine.
        jobs: its arguments.
        address: address of the cluster, `HOST:PORT` or `ray://HOST:PORT`; `auto` for the one that runs here, `local`
            to start one on this machine.

    Raises:
        MissingDependencyError: Ray is not installed.
        HratError: nothing answers at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            'sweeps on a cluster need Ray, which is not installed; pip install "hrat[ray]"'
        ) from error
    _connect(ray, address)
    try:
        remote = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(function)
        numbers = {remote.remote(*job): number for number, job in enumerate(jobs)}
        left = list(numbers)
        while left:
            done, left = ray.wait(left)
            for reference in done:
                try:
                    yield numbers[reference], ray.get(reference)
                except ray.exceptions.RayTaskError:
                    raise
                except ray.exceptions.RayError as error:
                    yield numbers[reference], Died(f"{str(error).strip().splitlines()[0]}, {ATTEMPTS} times")
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    _knock(address)  # Ray itself tries for minutes
    if address not in ("local", "auto"):
        _hear(address)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(
            address=None if address == "local" else address,
            log_to_driver=False,
            include_dashboard=False if address == "local" else None,
            logging_level="error",
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        message_lines = str(error).strip().splitlines() or [type(error).__name__]
        raise _silent(address, message_lines[0]) from error


def _knock(address: str) -> None:
    """Refuse an address behind which nothing listens."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address in ("local", "auto"):
        return
    if not colon or not host or not port.isdigit():
        raise HratError(f"expected the address of a Ray cluster as HOST:PORT, auto, or local; got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise _silent(address, str(error)) from error


def _hear(address: str) -> None:
    """Refuse an address behind which something listens that does not answer as Ray does.

    Asked in a process of its own, since nothing else ends a `ray.init` that waits.
    """
    try:
        probe = subprocess.run(
            [sys.executable, "-c", JOIN, address], capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise _silent(address, f"something listens there, but not like Ray, in {ANSWER_TIMEOUT_S} s") from error
    if probe.returncode:
        raise _silent(address, (probe.stderr.strip().splitlines() or [f"exit code {probe.returncode}"])[-1])


def _silent(address: str, why: str) -> HratError:
    return HratError(
        f"no Ray cluster answers at '{address}' ({why}); start one with `ray start --head`, give the address that it "
        "prints, or take --ray local"
    )

"""Training in several processes, on one machine or several: who is who, and how they are started.

The engine is torch's own: `torchrun` (or `launch`, which is what `torchrun` calls) starts the processes and stops all
of them when one dies, and `DistributedDataParallel` averages their gradients. `hrat.fit` does the rest, see there.
"""

from __future__ import annotations

import datetime
import logging
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hrat.errors import HratError, TrainingError
from hrat.processes import ASKING, Stopped, orderly_end, private_folder

__all__ = ["Ranks", "join_ranks", "launch", "the_ranks"]

TIMEOUT_S = 600.0
"""Longest time that a rank waits for another one, s."""
JOIN_TIMEOUT_S = 120
"""Longest time that machines wait for all others to join, s."""

STOPPED = 128
"""Base of the exit code of a rank that a signal has stopped."""

LAUNCHER_TAKES = tuple(filter(None, (getattr(signal, "SIGQUIT", None),)))
"""Signals that torch's launcher handles beside those by which a program is asked to end; Windows has none."""

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes files and prints."""
        return self.rank == 0

    def summed(self, value: Tensor) -> Tensor:
        """The sum over all ranks, any shape."""
        if self.world > 1:
            with _others_are_there():
                dist.all_reduce(value)
        return value

    def any(self, *flags: bool) -> list[bool]:
        """Whether any rank says so, for each of the flags; the same answer on all of them."""
        if self.world == 1:
            return list(flags)
        return (self.summed(torch.tensor(flags, dtype=torch.float32, device=_device_of_group())) > 0).tolist()

    def from_leader(self, value: Any) -> Any:
        """The value of the leading rank, on all ranks."""
        if self.world == 1:
            return value
        box = [value]
        with _others_are_there():
            dist.broadcast_object_list(box, src=0, device=_device_of_group())
        return box[0]

    def gathered(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        with _others_are_there():
            dist.all_gather_object(values, value)
        return values


def the_ranks() -> Ranks:
    """This process among the others of the process group, or alone where there is none."""
    if not (dist.is_available() and dist.is_initialized()):
        return Ranks()
    return Ranks(dist.get_rank(), dist.get_world_size())


def _device_of_group() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


@contextmanager
def _others_are_there() -> Iterator[None]:
    """Turn errors of a lost rank into one in plain words."""
    try:
        yield
    except RuntimeError as error:
        raise gone(error) from error


def gone(error: RuntimeError) -> TrainingError:
    """The error for a rank that has died or does not answer."""
    return TrainingError(
        "another rank has stopped, or did not answer in time; what was saved last is still there: mend what that rank "
        f"complains of and give the same command again ({str(error).strip().splitlines()[0]})"
    )


@contextmanager
def join_ranks(device: str | None = None, *, timeout_s: float = TIMEOUT_S) -> Iterator[Ranks]:
    """Join the processes that `torchrun` has started; alone where it has not.

    Args:
        device: `"cpu"` or `"cuda"`; the GPUs where there are some, by default.
        timeout_s: after which a rank that waits for another one gives up.

    Raises:
        TrainingError: the variables of `torchrun` are there in part only, or name a GPU that is not there.
    """
    present = [name for name in _VARIABLES if name in os.environ]
    if not present:
        yield Ranks()
        return
    if len(present) < len(_VARIABLES):
        missing = [name for name in _VARIABLES if name not in os.environ]
        raise TrainingError(
            f"{', '.join(present)} are set, but not {', '.join(missing)}: expected all of them, as torchrun sets them, "
            "or none"
        )
    local = int(os.environ["LOCAL_RANK"])
    on_gpu = torch.cuda.is_available() if device is None else torch.device(device).type == "cuda"
    if on_gpu:
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"rank {os.environ['RANK']} wants GPU {local}, but this machine has {torch.cuda.device_count()}; "
                "start no more processes on a machine than it has GPUs, or train on the CPU (device='cpu')"
            )
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=datetime.timedelta(seconds=timeout_s))
    try:
        yield the_ranks()
    finally:
        dist.destroy_process_group()


def launch(
    function: Callable[..., Any],
    *args: Any,
    devices: int = 1,
    nodes: int = 1,
    rendezvous: str | None = None,
    device: str | None = None,
) -> Any:
    """Call a function on several ranks at once, each a process of its own that has joined the others.

    Args:
        function: a function of a module, so that other processes can import it.
        args: its arguments.
        devices: processes on this machine: one for each GPU, or on a CPU as many as wanted.
        nodes: machines, on each of which the same command is given.
        rendezvous: `HOST:PORT` of one of the machines, where all of them meet; needed with several.
        device: `"cpu"` or `"cuda"`.

    Returns:
        What the leading rank's call returned, on the machine that has it; None on the others.

    Raises:
        TrainingError: a rank failed or died, more devices than there are, or machines that do not come together.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _check_devices(devices, nodes, rendezvous, device)
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=devices,
        run_id="hrat" if nodes > 1 else uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=rendezvous or "localhost:0",
        rdzv_configs={"join_timeout": JOIN_TIMEOUT_S, "timeout": JOIN_TIMEOUT_S},
        max_restarts=0,
        monitor_interval=0.1,
        start_method="spawn",
    )
    # What it logs of a rank that fails is a traceback of its own; `_told` says what a person can use.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("torch.distributed.elastic", "torch.multiprocessing")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with private_folder("ranks") as folder, _own_handlers():
        try:
            results = elastic_launch(config, _call)(str(folder), device, function, args)
        except ChildFailedError as error:
            raise _told(error, folder) from error
        except SignalException as error:  # which the ranks have had too
            raise _stopped_by(int(error.sigval)) from error
        except RendezvousError as error:
            raise TrainingError(
                f"the machines did not come together at {rendezvous} within {JOIN_TIMEOUT_S} s ({error}); give the "
                f"same command, with the same --nodes {nodes}, on each of them, and check that they reach that address"
            ) from error
    return results.get(0)


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Restore the handlers of signals, which torch's launcher replaces by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ASKING, *LAUNCHER_TAKES)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_devices(devices: int, nodes: int, rendezvous: str | None, device: str | None) -> None:
    if devices < 1 or nodes < 1:
        raise TrainingError(f"expected 1 device and 1 node or more, got {devices} and {nodes}")
    if nodes > 1 and rendezvous is None:
        raise TrainingError(
            f"{nodes} nodes need an address where they meet: give --rendezvous HOST:PORT, the same on each of them"
        )
    wants_gpu = torch.cuda.is_available() if device is None else torch.device(device).type == "cuda"
    there = torch.cuda.device_count() if wants_gpu else os.cpu_count() or 1
    if devices > there:
        what = "GPU(s)" if wants_gpu else "CPU core(s)"
        raise TrainingError(f"expected at most as many devices as there are, {there} {what}; got {devices}")
    if "RANK" in os.environ and devices * nodes > 1:
        raise TrainingError(
            "this process has been started by torchrun already (RANK is set), so that --devices and --nodes would "
            "start processes within processes; leave them out"
        )


def _call(folder: str, device: str | None, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call the function in a process of its own; its error is written to a file, since exceptions do not cross over."""
    try:
        with orderly_end(), join_ranks(device):
            return function(*args)
    except HratError as error:
        Path(folder, os.environ["RANK"]).write_text(str(error), encoding="utf-8")
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        raise SystemExit(error.exit_code if isinstance(error, Stopped) else STOPPED + signal.SIGINT) from None


def _stopped_by(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else Stopped(number)


def _told(error: Any, folder: Path) -> HratError:
    """Error message of the first rank that failed."""
    rank, failure = error.get_first_failure()
    error_file = folder / str(rank)
    if failure.exitcode - STOPPED in (signal.SIGINT, *ASKING):
        raise _stopped_by(failure.exitcode - STOPPED)
    if error_file.is_file():
        return TrainingError(error_file.read_text(encoding="utf-8"))
    how = f"was stopped by signal {-failure.exitcode}" if failure.exitcode < 0 else f"left with {failure.exitcode}"
    return TrainingError(
        f"rank {rank} (process {failure.pid}) {how}, and the others were stopped too; what was saved last is still "
        "there: the same command goes on from it. Was memory short?"
    )

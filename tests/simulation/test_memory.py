"""Memory of many chips and images is bounded, and the bound changes no result."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, TensorDataset

import hrat
from hrat.programming import program_in_chunks
from hrat.simulation import ChipSolver, simulate
from hrat.simulation.batches import Batch, batches, read_ahead
from hrat.simulation.memory import Footprint, check_results, in_words, share_for

IMAGES, CHIPS, CLASSES = 60, 12, 3


def linear_network() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Linear(40, CLASSES)), torch.randn(IMAGES, 50)


def wide_inputs() -> tuple[nn.Module, Tensor]:
    return nn.Linear(400, CLASSES), torch.randn(IMAGES, 400)


def convolutions() -> tuple[nn.Module, Tensor]:
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, CLASSES)),
    )
    return model, torch.randn(IMAGES, 1, 12, 12)


def deployed(network: Any = linear_network, spec: str = "generic-4bit") -> tuple[hrat.Deployment, TensorDataset]:
    torch.manual_seed(0)
    model, x = network()
    deployment = hrat.deploy(hrat.prepare(model.eval(), spec, x))
    return deployment, TensorDataset(x, torch.arange(IMAGES) % CLASSES)


class Alive(TorchDispatchMode):
    """Counts the bytes of tensors that came into being below it and are alive, and the most that there were."""

    def __init__(self, *there_before: Any) -> None:
        super().__init__()
        self.known = {t.untyped_storage()._cdata for t in tree_leaves(there_before) if isinstance(t, Tensor)}
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device.type != "meta":
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        self.most = max(self.most, self.now)
        return out

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def conductances(chip: hrat.ProgrammedChip) -> list[Tensor]:
    return [g_S for layer in chip.layers.values() for g_S in (layer.g_pos_S, layer.g_neg_S)]


@pytest.mark.parametrize("keep_outputs", [True, False])
@pytest.mark.parametrize(("network", "size"), [(linear_network, 20), (convolutions, 20), (wide_inputs, 2)])
@pytest.mark.parametrize("share", [2.0, 0.6, 0.3, 0.12])
def test_what_lives_at_a_time_stays_within_the_bound(network: Any, size: int, share: float, keep_outputs: bool) -> None:
    """Gains, signals, batches read ahead and results, whatever part of the whole may live."""
    deployment, data = deployed(network)
    chips = hrat.program(deployment, chips=CHIPS)
    loader = DataLoader(data, batch_size=size)
    free = simulate(chips, loader)
    with Alive(conductances(chips), data.tensors) as unbounded:
        simulate(chips, loader)
    results = CHIPS * IMAGES * CLASSES * 4
    bound = max(int(share * unbounded.most), 2 * results)
    batch = size * data.tensors[0][0].numel() * 4
    one_chip = ChipSolver.footprint(chips, {"input": data.tensors[0][:size]}).of(1, 1)
    least = one_chip + keep_outputs * 2 * results
    with Alive(conductances(chips), data.tensors) as alive:
        result = simulate(chips, loader, memory_bytes=bound, keep_outputs=keep_outputs)
    # Two batches are the loader's own: the one that it makes, and the one that was taken before.
    assert alive.most <= max(bound, least) + 2 * batch
    assert result.accuracies == free.accuracies
    if keep_outputs:
        torch.testing.assert_close(result.value, free.value, rtol=1e-5, atol=1e-6)
    else:
        assert result.value is None


def test_only_one_groups_gains_live_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, data = deployed()
    chips = hrat.program(deployment, chips=CHIPS)
    solvers: weakref.WeakSet[ChipSolver] = weakref.WeakSet()
    sizes: list[int] = []

    class Counted(ChipSolver):
        def __init__(self, chip: hrat.ProgrammedChip, **how: Any) -> None:
            super().__init__(chip, **how)
            if self.device.type != "meta":
                solvers.add(self)
                sizes.append(sum(solver.n_chips for solver in solvers))

    monkeypatch.setattr(sys.modules["hrat.simulation.simulating"], "ChipSolver", Counted)
    one_chip = sum(g_S[0].numel() * 4 for g_S in conductances(chips)) // 2
    simulate(chips, data, memory_bytes=20 * one_chip, keep_outputs=False)
    assert len(sizes) > 1
    assert max(sizes) <= 10
    sizes.clear()
    simulate(chips, DataLoader(data, batch_size=5))
    assert sizes == [CHIPS]  # made once where they all fit


def test_batches_are_drawn_once_however_many_groups_there_are() -> None:
    """A loader that shuffles shows every chip the same images."""
    deployment, data = deployed()
    chips = hrat.program(deployment, chips=CHIPS)
    order = torch.Generator().manual_seed(5)
    shuffled = DataLoader(data, batch_size=7, shuffle=True, generator=order)
    got = simulate(chips, shuffled, memory_bytes=50_000)
    order.manual_seed(5)
    want = simulate(chips, shuffled)
    assert got.accuracies == want.accuracies
    torch.testing.assert_close(got.value, want.value, rtol=1e-5, atol=1e-6)

    def once() -> Iterator[tuple[Tensor, Tensor]]:
        yield from ((x.unsqueeze(0), y.unsqueeze(0)) for x, y in data)

    assert simulate(chips, once(), memory_bytes=50_000).n_images == IMAGES


def test_voltages_and_two_stages_are_cut_as_well() -> None:
    deployment, data = deployed(convolutions, "wan2022")
    chips = hrat.program(deployment, chips=5)
    x = data.tensors[0]
    want = simulate(chips, x, voltages_of=["0", "7"])
    got = simulate(chips, x, voltages_of=["0", "7"], memory_bytes=7_000_000)
    for name in ("0", "7"):
        torch.testing.assert_close(got.voltages[name], want.voltages[name], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got.value, want.value, rtol=1e-5, atol=1e-6)


def test_results_beyond_half_of_the_memory_are_refused_before_any_chip_is_simulated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment, data = deployed()
    chips = hrat.program(deployment, chips=CHIPS)
    results = CHIPS * IMAGES * CLASSES * 4
    assert simulate(chips, data, memory_bytes=2 * results).value.shape == (CHIPS, IMAGES, CLASSES)
    monkeypatch.setattr(ChipSolver, "compute", lambda *_, **__: pytest.fail("it was simulated"))
    for how in ({"chip": chips}, {"chip": program_in_chunks(deployment, chips=CHIPS, memory_bytes=1)}):
        with pytest.raises(hrat.HratError, match=r"take 8\.44 KiB; expected at most .*keep_outputs=False"):
            simulate(**how, data=data, memory_bytes=2 * results - 2)
    monkeypatch.undo()
    assert simulate(chips, data, memory_bytes=1, keep_outputs=False).accuracies is not None
    unknown = [(data.tensors[0], data.tensors[1])] * 3
    with pytest.raises(hrat.HratError, match="half of memory_bytes"):
        simulate(chips, unknown, memory_bytes=4 * results)


# ---- chunks of chips


def test_chunks_are_the_chips_at_once() -> None:
    deployment, data = deployed()
    want = simulate(hrat.program(deployment, seed=3, chips=7), data, voltages_of=["0"])
    each = deployment.n_devices * 4
    chunks = program_in_chunks(deployment, seed=3, chips=7, memory_bytes=3 * each)
    assert [chunk.seeds for chunk in chunks] == [(3, 4, 5), (6, 7, 8), (9,)]
    for _ in range(2):  # they can be gone through again
        got = simulate(chunks, data, voltages_of=["0"])
        assert (got.seeds, got.accuracies, got.n_images) == (want.seeds, want.accuracies, IMAGES)
        torch.testing.assert_close(got.value, want.value)
        torch.testing.assert_close(got.voltages["0"], want.voltages["0"])


def test_one_chunk_lives_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, data = deployed()
    module = sys.modules["hrat.programming.programming_chips"]
    made: list[weakref.ref[Tensor]] = []

    def programmed(*args: Any) -> hrat.ProgrammedChip:
        assert not [1 for ref in made if ref() is not None], "the chunk before is still there"
        chunk = make(*args)
        made.extend(weakref.ref(g_S) for g_S in conductances(chunk))
        return chunk

    make = module._programmed
    monkeypatch.setattr(module, "_programmed", programmed)
    result = simulate(program_in_chunks(deployment, chips=6, memory_bytes=1), data)
    assert result.seeds == (0, 1, 2, 3, 4, 5)
    assert len(made) == 6 * 4


def test_chunks_from_files(tmp_path: Path) -> None:
    deployment, data = deployed()
    paths = [hrat.program(deployment, seed=seed).save(tmp_path / f"{seed}.chip") for seed in (4, 2)]
    result = simulate((hrat.ProgrammedChip.load(path) for path in paths), data)
    assert result.seeds == (4, 2)
    assert result.accuracies == simulate(hrat.program(deployment, seeds=[4, 2]), data).accuracies


def test_progress_of_chunks() -> None:
    deployment, data = deployed()
    told: list[tuple[int, int | None]] = []
    chunks = program_in_chunks(deployment, chips=2, memory_bytes=1)
    simulate(chunks, DataLoader(data, batch_size=40), progress=lambda *how_far: told.append(how_far))
    assert told == [(40, 60), (60, 60)] * 2


def test_chunks_need_data_that_stays_the_same() -> None:
    deployment, data = deployed()
    chunks = program_in_chunks(deployment, chips=2, memory_bytes=1)
    with pytest.raises(hrat.HratError, match="does the loader shuffle"):
        simulate(chunks, DataLoader(data, batch_size=30, shuffle=True))
    with pytest.raises(hrat.HratError, match="an iterator can be read only once"):
        simulate(chunks, iter([(data.tensors[0], data.tensors[1])]))


def test_chunks_of_different_deployments_are_refused() -> None:
    deployment, data = deployed()
    other, _ = deployed(spec="generic-3bit-harsh")
    with pytest.raises(hrat.HratError, match="different deployments"):
        simulate([hrat.program(deployment), hrat.program(other)], data)
    for wrong in ([deployment], [], 3):
        with pytest.raises(hrat.HratError, match=r"no chips were given|the chips that hrat\.program returned"):
            simulate(wrong, data)  # type: ignore[arg-type]


# ---- how the work is cut


def test_shares_by_hand() -> None:
    one = Footprint(gains=100, making=20, signals=5, outputs=1, voltages=0)
    assert one.of(3, 10) == 3 * 120 + 10 * (5 + 2 * 3 * 1)
    assert Footprint(gains=100, making=20, signals=5, outputs=1, voltages=0, together=True).of(3, 10) == 360 + 210
    everything = share_for(one, 1000, n_chips=3, n_images=10)
    assert (everything.chips, everything.images, everything.ahead) == (3, (1000 - 360) // 11, 0)
    pieces = share_for(one, 500, n_chips=2, n_images=1000)  # the chips fit into half, the images not into the rest
    assert (pieces.chips, pieces.images, pieces.ahead) == (2, (500 - 240) // 9, 0)
    groups = share_for(one, 700, n_chips=10, n_images=10)  # half of it: one chip takes 190, each further one 140
    assert (groups.chips, groups.images, groups.ahead) == (2, (350 - 240) // 9, 700 - 240 - 10 * 9)
    tight = share_for(one, 200, n_chips=10, n_images=1000)  # one chip takes more than half
    assert (tight.chips, tight.images, tight.ahead) == (1, (200 - 120) // 7, 200 - 120 - 11 * 7)
    least = share_for(one, 0, n_chips=10, n_images=10)
    assert (least.chips, least.images, least.ahead) == (1, 1, 0)


def test_batches_are_read_ahead_up_to_a_size() -> None:
    chip = hrat.program(deployed()[0])
    x = torch.randn(10, 50)

    def read(n_bytes: int) -> list[int]:
        source = batches(chip, [(x, None)] * 7, None, torch.device("cpu"))
        return [len(some) for some in read_ahead(source, n_bytes)]

    assert read(0) == [1] * 7
    assert read(3 * 2000) == [3, 3, 1]
    assert read(100_000) == [7]


def test_a_batch_in_pieces() -> None:
    batch = Batch({"x": torch.arange(5.0), "mode": "a"}, torch.arange(5))
    pieces = list(batch.pieces(2))
    assert [piece.n_images for piece in pieces] == [2, 2, 1]
    assert pieces[2].inputs["x"].tolist() == [4.0]
    assert pieces[2].inputs["mode"] == "a"
    assert pieces[1].classes is not None
    assert pieces[1].classes.tolist() == [2, 3]
    assert next(batch.pieces(5)) is batch


def test_sizes_in_words() -> None:
    assert [in_words(n) for n in (0, 1023, 2048, 3 * 2**30)] == ["0 B", "1.02e+03 B", "2 KiB", "3 GiB"]
    check_results(50, 100)
    with pytest.raises(hrat.HratError, match="take 51 B; expected at most 50 B"):
        check_results(51, 100)


# ---- the real thing

ONE_PROCESS = """
import re, torch, hrat
from torch import nn

def most_mib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

model, x = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10)).eval(), torch.randn(200, 1000)
chips = hrat.program(hrat.deploy(hrat.prepare(model, "generic-4bit", x)), chips=40)
hrat.simulate(chips[0], x)
open("/proc/self/clear_refs", "w").write("5")  # forget the most that there was
before = most_mib()
hrat.simulate(chips, x, memory_bytes=32 * 2**20)
print(most_mib() - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the memory of a process is read as Linux has it"
)
def test_the_memory_of_the_process_stays_within_the_bound() -> None:
    """40 chips whose gains would take 153 MiB, in 32 MiB and a little for the allocator."""
    at_once = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # memory that is freed goes back to the system
    command = [sys.executable, "-c", ONE_PROCESS]
    taken = subprocess.run(command, capture_output=True, text=True, check=True, env=at_once)
    assert float(taken.stdout) < 34

"""`check_operation`: operations that keep their contract, and one for each way to break it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import hrat
from hrat.circuit import OPS
from hrat.errors import HratError, LawError
from hrat.testing import check_operation

SIGNAL = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _table_as_it_was() -> Iterator[None]:
    before = set(OPS)
    yield
    for name in set(OPS) - before:
        del OPS[name]


def registered(function: Callable[..., Any], name: str, **how: Any) -> Callable[..., Any]:
    return hrat.operation(name=name, **how)(function)


def broken(operation: Any, args: Any = SIGNAL) -> dict[str, str]:
    report = check_operation(operation, args, throw=False)
    return {one.name: one.detail for one in report.findings if not one.ok}


# ---- kept ------------------------------------------------------------------------------------------------------------


def test_a_digital_operation_with_further_arguments() -> None:
    step = registered(lambda x, table, share=0.5: share * torch.sin(x) + table, "mixed")
    report = check_operation(step, (SIGNAL, torch.arange(3.0), 0.25))
    assert [one.name for one in report.findings] == ["pure", "batch", "alone", "gradient", "scale", "network"]
    assert report["scale"].status == "not checked"
    assert all(one.status == "holds" for one in report.findings if one.name != "scale")
    assert check_operation("mixed", (SIGNAL, torch.arange(3.0), 0.25)).ok


def test_an_analog_operation() -> None:
    def winner(x: Tensor) -> Tensor:
        return torch.relu(x) * (x == x.max(dim=-1, keepdim=True).values)

    report = check_operation(registered(winner, "winner", analog=True), SIGNAL)
    assert report["scale"].status == "holds"
    apart = registered(lambda x: torch.relu(x) + 0.1 * x, "leaky_apart", analog=True, per_channel=True)
    assert check_operation(apart, SIGNAL)["scale"].status == "holds"


@pytest.mark.parametrize(
    ("name", "further"),
    [
        *(("relu", ()), ("tanh", ()), ("softshrink", ()), ("tanhshrink", ()), ("flatten", (1,))),
        *(("softmax", (-1,)), ("softmin", (-1,)), ("clamp_min", (-0.3,)), ("clamp_max", (0.3,))),
    ],
)
def test_operations_of_the_table(name: str, further: tuple[float, ...]) -> None:
    assert check_operation(name, (SIGNAL, *further)).ok


# ---- broken ----------------------------------------------------------------------------------------------------------


def test_random_numbers() -> None:
    found = broken(registered(lambda x: x + 0.1 * torch.rand_like(x), "noisy"))
    assert "second call" in found["pure"]
    assert "network" in found


def test_arguments_that_are_overwritten() -> None:
    found = broken(registered(lambda x: x.mul_(2), "in_place"))
    assert "argument after the call" in found["pure"]


def test_a_batch_that_is_lost() -> None:
    assert (
        "output of shape (4, 3), expected 5 images first" in broken(registered(lambda x: x.mean(0), "mean0"))["batch"]
    )
    assert "expected the same type" in broken(registered(lambda x: x.float(), "single"))["batch"]
    assert "not finite" in broken(registered(lambda x: torch.log(x - x), "log_of_0"))["batch"]
    assert "returns tuple; expected a tensor" in broken(registered(lambda x: (x, x), "twice"))["batch"]


def test_images_that_see_each_other() -> None:
    found = broken(registered(lambda x: x - x.mean(0, keepdim=True), "centred"))
    assert list(found) == ["alone"]
    assert "one by one" in found["alone"]
    in_order = broken(registered(lambda x: x * (1 + (torch.arange(len(x)) > 0)).view(-1, 1, 1), "by_place"))
    assert "alone" in in_order


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: torch.tanh(x).detach(), "has no gradient: is it detached"),
        (torch.round, "zero everywhere"),
        (lambda x: torch.where(x > 0, torch.sqrt(x), 0.0), "is not finite"),
    ],
)
def test_gradients_that_stop(function: Any, message: str) -> None:
    assert message in broken(registered(lambda x: function(x), "stops"))["gradient"]


def test_a_false_claim_to_be_analog() -> None:
    found = broken(registered(lambda x: x * x.abs(), "squared", analog=True))
    assert "signal times 1000, output differs by" in found["scale"]
    assert "ConversionError" in found["network"]

    def over_channels(x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)

    assert not broken(registered(over_channels, "over_channels", analog=True))
    found = broken(registered(over_channels, "over_channels_apart", analog=True, per_channel=True))
    assert "channel by channel" in found["scale"]


def test_an_error_inside_is_a_finding() -> None:
    def fails(x: Tensor) -> Tensor:
        raise ZeroDivisionError("of mine")

    found = broken(registered(fails, "fails"))
    assert found["pure"] == found["gradient"] == "ZeroDivisionError: of mine"
    with pytest.raises(
        LawError, match=r"contract of the operation fails: pure does not hold .*ZeroDivisionError: of mine"
    ):
        check_operation("fails", SIGNAL)


# ---- refused ---------------------------------------------------------------------------------------------------------


def test_what_is_not_registered_or_has_no_batch_is_refused() -> None:
    with pytest.raises(HratError, match="no operation 'nobody' is registered"):
        check_operation("nobody", SIGNAL)
    with pytest.raises(HratError, match="no operation '<lambda>' is registered"):
        check_operation(lambda x: x, SIGNAL)
    for wrong in (SIGNAL[:1], 3.0, (), torch.tensor(1.0)):
        with pytest.raises(HratError, match="two images or more"):
            check_operation("relu", wrong)

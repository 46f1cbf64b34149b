"""The least that hrat's training step can cost in eager PyTorch: the same mathematics, written out by hand.

    python benchmarks/floor.py                      # time of a step: plain, floor, hrat
    python benchmarks/floor.py --clock cpu          # processor time on one thread, for a machine with other work on it

Each layer is one autograd function with the fewest operators that yield the values and the gradients of `CrossbarLayer`
in the form `one_pass`; no modules, no checks, no other hardware than that of the benchmark: a Gaussian error, evenly
spaced states, scalar scales, no dead channels, no bias that saturates its DAC. Before it is timed, a step of it in
double precision is compared with one of hrat's: the gradient of every parameter, and the statistics of batch norm.
"""

import argparse
import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from page import table
from parts import STEPS, batch, prepared, step, turns_for
from timing import medians
from torch import Tensor, fx, nn

from hrat.experiments import build_network
from hrat.nn import PreparedModel
from hrat.nn.crossbar_layer import CrossbarLayer
from hrat.nn.scratch import in_parts, scratch_like
from hrat.nn.straight_through import batch_statistics
from hrat.physics.errors import standard_normal

_inside = torch.ops.aten.hardtanh_backward.default
_inside_out = torch.ops.aten.hardtanh_backward.grad_input
_batch_norm_backward = torch.ops.aten.native_batch_norm_backward.default
_convolution_backward = torch.ops.aten.convolution_backward.default


class Hardware:
    """The figures of one layer, as plain numbers."""

    def __init__(self, layer: CrossbarLayer, call: fx.Node) -> None:
        device, periphery, geometry = layer.spec.device, layer.spec.periphery, layer.geometry
        assert device.n_states is not None
        assert layer.spec.programming.sigma_rel is not None
        assert periphery.bias_dac_bits is not None
        assert periphery.input_dac_bits is not None
        self.top = device.n_states - 1
        self.sigma = layer.spec.programming.sigma_rel * math.sqrt(2.0)
        self.v_read_V = device.v_read_V
        self.high_V = min(periphery.v_swing_V, device.v_read_V) if call.kwargs.get("drives_word_lines") else 1.0
        self.low_V = 0.0 if call.kwargs.get("rectifies") else -self.high_V
        self.bias_top = 2 ** (periphery.bias_dac_bits - 1) - 1
        self.bias_step_V = periphery.v_bias_V / self.bias_top
        self.input_top = 2 ** (periphery.input_dac_bits - 1) - 1
        self.convolves = geometry.kind == "conv"
        self.stride, self.padding = geometry.stride, [before for before, _ in geometry.padding]
        self.ones = (1,) * geometry.dims
        self.is_first = "digital" in call.kwargs

    def operation(self, v: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(v, weight, bias, self.stride, self.padding) if self.convolves else F.linear(v, weight, bias)

    def operation_backward(self, grad: Tensor, v: Tensor, weight: Tensor) -> tuple[Tensor | None, Tensor]:
        """Gradients of the voltages, unless these are of the input, and of the weights."""
        wanted = not self.is_first
        if self.convolves:
            return _convolution_backward(  # type: ignore[no-any-return]
                *(grad, v, weight, None, self.stride, self.padding, [1, 1], False, [0, 0], 1, [wanted, True, False])
            )[:2]
        return grad @ weight if wanted else None, grad.t() @ v

    def dac(self, v: Tensor) -> Tensor:
        codes = v.div(self.bias_step_V).clamp_(-self.bias_top, self.bias_top).round_()
        return codes.mul_(self.bias_step_V)

    def disturbed(self, weight: Tensor, per_window: Tensor) -> Tensor:
        """`Q(W') + error` in units of the window."""
        out = torch.empty_like(weight)
        for part, w, k in in_parts(out, weight, per_window):
            torch.mul(w, k, out=part).clamp_(-1.0, 1.0).mul_(self.top).round_().div_(self.top)
        return out.add_(standard_normal(scratch_like(out), None), alpha=self.sigma)

    def passed(self, weight: Tensor, per_window: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient within the window, and its product with the weights, summed for each output."""
        out, dots = torch.empty_like(weight), []
        for part, w, k, g in in_parts(out, weight, per_window, grad):
            _inside_out(g, torch.mul(w, k, out=part), -1.0, 1.0, grad_input=part)
            dots.append(torch.mul(part, w, out=scratch_like(part)).flatten(1).sum(1))
        return out, dots[0] if len(dots) == 1 else torch.cat(dots)


class Hidden(torch.autograd.Function):
    """v_out = clamp((sigma_running / sigma) (Q(W') + error) v + DAC(alpha_out (beta - gamma mu / sigma))) -> ReLU."""

    @staticmethod
    def forward(
        ctx: Any,
        v: Tensor,
        weight: Tensor,
        bias: Tensor,
        gamma: Tensor,
        beta: Tensor,
        log_range: Tensor,
        alpha_in: Tensor,
        alpha_out: Tensor,
        bn: nn.BatchNorm2d,
        hardware: Hardware,
    ) -> Tensor:
        ctx.hardware, x = hardware, v
        if hardware.is_first:
            step_V = hardware.v_read_V / hardware.input_top
            v = (x * (alpha_in / step_V)).clamp_(-hardware.input_top, hardware.input_top).round_().mul_(step_V)
        running_mean, running_var = bn.running_mean, bn.running_var
        assert running_mean is not None
        assert running_var is not None
        assert bn.momentum is not None
        # Fusing, the window, states and error.
        inverse_running = torch.rsqrt(running_var + bn.eps)
        gain = gamma * inverse_running
        norm = torch.linalg.vector_norm(weight.flatten(1), dim=1)
        whole = torch.linalg.vector_norm(gain * norm)
        per_window = gain / (whole * log_range.exp().mul_(weight.numel() ** -0.5))
        view = per_window.view(-1, 1, *hardware.ones)
        disturbed = hardware.disturbed(weight, view)
        # The crossbar, batch norm, DAC and limits.
        u = hardware.operation(v, disturbed)
        mean_u, var_u = batch_statistics(u)
        unit = alpha_in * per_window
        mean, var = mean_u / unit, var_u / (unit * unit)
        inverse = torch.rsqrt(var + bn.eps)
        inverse_u, normal = inverse / unit, gamma * inverse
        factor = (alpha_out * gamma).mul_(inverse_u)
        offset = hardware.dac((beta - normal * mean).mul_(alpha_out))
        out = (u * factor.view(-1, *hardware.ones)).add_(offset.view(-1, *hardware.ones))
        F.hardtanh(out, hardware.low_V, hardware.high_V, inplace=True)
        count = u.numel() // u.shape[1]
        running_mean.lerp_(mean.add_(bias), bn.momentum)
        running_var.lerp_(var.mul_(count / (count - 1)), bn.momentum)
        ctx.save_for_backward(
            *(x, v, weight, disturbed, u, out, gamma, beta, alpha_in, alpha_out),
            *(inverse_running, gain, norm, whole, per_window, mean_u, inverse_u),
        )
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hardware: Hardware = ctx.hardware
        x, v, weight, disturbed, u, out, gamma, beta, alpha_in, alpha_out, *more = ctx.saved_tensors
        inverse_running, gain, norm, whole, per_window, mean_u, inverse_u = more
        held = _inside_out(grad, out, hardware.low_V, hardware.high_V, grad_input=scratch_like(grad))
        of_u, along, total = _batch_norm_backward(
            held, u, alpha_out * gamma, None, None, mean_u, inverse_u, True, 0.0, [True, True, True]
        )
        of_alpha_out = torch.dot(gamma, along) + torch.dot(beta, total)
        of_alpha_in = None
        if hardware.is_first:
            scaled, limit_V = (
                torch.mul(x, alpha_in, out=scratch_like(x)),
                hardware.v_read_V * (1 + torch.finfo(x.dtype).eps),
            )
            tangent = _inside_out(x, scaled, -limit_V, limit_V, grad_input=scaled)
            of_alpha_in = torch.dot(of_u.flatten(), hardware.operation(tangent, disturbed).flatten())
        of_v, of_fraction = hardware.operation_backward(of_u, v, disturbed)
        view = per_window.view(-1, 1, *hardware.ones)
        of_weight, dots = hardware.passed(weight, view, of_fraction)
        of_log_range = torch.dot(dots, per_window).neg_()
        share = gain * (of_log_range / (whole * whole))
        of_gain = torch.addcmul(dots * (per_window / gain), share * norm, norm)
        for part, w, k, size in in_parts(of_weight, weight, view, (share * gain).view_as(view)):
            part.mul_(k).addcmul_(w, size)
        of_gamma = torch.addcmul(alpha_out * along, of_gain, inverse_running)
        of_bias, of_beta = torch.zeros_like(beta), alpha_out * total
        return of_v, of_weight, of_bias, of_gamma, of_beta, of_log_range, of_alpha_in, of_alpha_out, None, None


class Last(torch.autograd.Function):
    """logits = clamp((Q(W') + error) v + DAC(alpha_out b)) / alpha_out."""

    @staticmethod
    def forward(
        ctx: Any,
        v: Tensor,
        weight: Tensor,
        bias: Tensor,
        log_range: Tensor,
        alpha_in: Tensor,
        alpha_out: Tensor,
        hardware: Hardware,
    ) -> Tensor:
        norm = torch.linalg.vector_norm(weight)
        window = norm * log_range.exp().mul_(weight.numel() ** -0.5)  # in digital units
        range_ = alpha_out / alpha_in * window
        disturbed = hardware.disturbed(weight, 1 / window)
        out = F.linear(v, disturbed * range_, hardware.dac(alpha_out * bias))
        F.hardtanh(out, hardware.low_V, hardware.high_V, inplace=True)
        ctx.hardware = hardware
        ctx.save_for_backward(v, weight, bias, disturbed, out, alpha_in, alpha_out, norm, window, range_)
        return out / alpha_out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hardware: Hardware = ctx.hardware
        v, weight, bias, disturbed, out, alpha_in, alpha_out, norm, window, range_ = ctx.saved_tensors
        of_out = grad / alpha_out
        of_alpha_out = torch.dot(of_out.flatten(), out.flatten()) / -alpha_out
        held = _inside(of_out, out, hardware.low_V, hardware.high_V)
        total = held.sum(0)
        of_v, of_product = hardware.operation_backward(held, v, disturbed * range_)
        of_range = torch.dot(of_product.flatten(), disturbed.flatten()) * range_  # along log(range)
        of_weight, dots = hardware.passed(weight, 1 / window, of_product * range_)
        of_log_range = of_range - dots.sum() / window
        of_weight = of_weight.div_(window).addcmul_(weight, of_log_range / (norm * norm))
        of_alpha_out += torch.dot(bias, total) + of_range / alpha_out
        return of_v, of_weight, alpha_out * total, of_log_range, -of_range / alpha_in, of_alpha_out, None


class Floor:
    """A network as a list of calls, with the parameters of a prepared model; called with images, returns logits."""

    def __init__(self, model: PreparedModel) -> None:
        self.model = model
        self.calls: list[Callable[[Tensor, dict[str, Tensor]], Tensor]] = []
        self.scales: dict[str, nn.Parameter] = {}
        graph = model.graph
        calls = {call.node: call for call in model.circuit.calls}
        for node in graph.graph.nodes:
            if node.op == "call_function":
                self.calls.append(self._function(node))
                continue
            layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
            if isinstance(layer, CrossbarLayer):
                names = [calls[node.name].alpha_in.scale, calls[node.name].alpha_out.scale]
                for name in names:
                    self.scales[name] = graph.get_submodule(name).log_alpha  # type: ignore[assignment]
                self.calls.append(self._layer(layer, names, Hardware(layer, node)))

    @staticmethod
    def _function(node: fx.Node) -> Callable[[Tensor, dict[str, Tensor]], Tensor]:
        target, args, kwargs = node.target, node.args[1:], node.kwargs
        return lambda v, _: target(v, *args, **kwargs)  # type: ignore[operator, no-any-return]

    @staticmethod
    def _layer(
        layer: CrossbarLayer, names: list[str], hardware: Hardware
    ) -> Callable[[Tensor, dict[str, Tensor]], Tensor]:
        weight, bias, log_range, bn = layer.weight, layer.bias, layer.log_range, layer.batch_norm
        before, behind = names
        if bn is None:
            return lambda v, alpha: Last.apply(  # type: ignore[no-any-return, no-untyped-call]
                v, weight, bias, log_range, alpha[before], alpha[behind], hardware
            )
        return lambda v, alpha: Hidden.apply(  # type: ignore[no-any-return, no-untyped-call]
            v, weight, bias, bn.weight, bn.bias, log_range, alpha[before], alpha[behind], bn, hardware
        )

    def __call__(self, v: Tensor) -> Tensor:
        alpha = {name: log_alpha.exp() for name, log_alpha in self.scales.items()}
        for call in self.calls:
            v = call(v, alpha)
        return v


def check(network: str) -> None:
    """One step in double precision, from the same parameters and the same random numbers."""
    torch.manual_seed(0)
    x, y = batch(network, 32)
    model = prepared(build_network(network), x).double().train()
    twin = copy.deepcopy(model)
    x = x.double()
    for runs in (model, Floor(twin)):  # type: ignore[arg-type]
        torch.manual_seed(1)
        F.cross_entropy(runs(x), y).backward()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        if ours.requires_grad:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
    for (name, ours), theirs in zip(model.named_buffers(), twin.buffers(), strict=True):
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def floor_step(model: PreparedModel, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Forward, backward and SGD, as `parts.step`."""
    floor, optimizer = Floor(model), torch.optim.SGD(model.parameters(), lr=1e-3)

    def run() -> None:
        optimizer.zero_grad()
        F.cross_entropy(floor(x), y).backward()
        optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--batch", nargs="+", type=int, help="images; those of the tables where none is given")
    parser.add_argument("--turns", type=int, default=30, help="how often each candidate takes its turn")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: of one thread")
    options = parser.parse_args()
    if options.clock == "cpu":
        torch.set_num_threads(1)
    rows = []
    for network in options.networks:
        check(network)
        for size in options.batch or STEPS[network]:
            x, y = batch(network, size)
            model = build_network(network)
            ready = prepared(model, x)
            candidates = {
                "plain PyTorch": step(copy.deepcopy(model), x, y),
                "floor": floor_step(copy.deepcopy(ready).train(), x, y),  # type: ignore[arg-type]
                "hrat": step(ready, x, y),
            }
            found = medians(candidates, turns=turns_for(network, size, options.turns), clock=options.clock)
            plain, floor, ours = (found[who][0] for who in candidates)
            times = [f"{seconds * 1e3:.2f}" for seconds in (plain, floor, ours)]
            rows.append(
                [f"{network}, batch {size}", *times, *(f"{r:.2f}" for r in (floor / plain, ours / plain, ours / floor))]
            )
    head = ["work", "plain, ms", "floor, ms", "hrat, ms", "floor / plain", "hrat / plain", "hrat / floor"]
    print("\n".join(table(head, rows)))


if __name__ == "__main__":
    main()

"""HRAT in a training loop of one's own: what `hrat.fit` does, without it.

python examples/own_loop.py
"""

import torch
import torch.nn.functional as F
from torch import nn

import hrat
from hrat.nn import freeze_batch_norm, set_noise_strength
from hrat.training import load_data, make_loader, parameter_groups


def train(epochs: int = 10) -> float:
    """Train, deploy, and return the mean accuracy of 10 chips."""
    torch.manual_seed(0)
    data = load_data("mnist5k")
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    loader = make_loader(data.train, 100, shuffle=True, seed=0)

    model = hrat.prepare(network, "generic-4bit", next(iter(loader))[0])
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=3e-3, weight_decay=1e-4))
    for epoch in range(epochs):
        model.train()
        freeze_batch_norm(model, epoch >= 0.8 * epochs)
        set_noise_strength(model, min(1.0, (epoch + 1) / 3))
        for x, y in loader:
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()

    chips = hrat.program(hrat.deploy(model), chips=10)
    result = hrat.simulate(chips, make_loader(data.test, 500))
    print(result)
    return result.mean


if __name__ == "__main__":
    train()

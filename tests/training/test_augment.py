"""Augmentation: what it does to a batch, and that a run with it can be gone on with."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from hrat.errors import DataError
from hrat.training import ArrayDataset, fit, make_loader
from hrat.training.data import AUGMENTATIONS, crop_flip, flip
from hrat.training.data.augment import Augmentation


def coloured(n: int = 48) -> ArrayDataset:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(1, 256, (n, 3, 12, 10), generator=generator).to(torch.uint8)
    return ArrayDataset(images, torch.arange(n) % 3, mean=(0.0,) * 3, std=(1.0,) * 3)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_result_is_a_shifted_or_mirrored_image() -> None:
    images, _ = coloured(1)[[0] * 400]
    out = crop_flip(images, seeded(0), padding=2)
    assert out.shape == images.shape
    padded = F.pad(images[0], (2, 2, 2, 2))
    windows = [padded[:, top : top + 12, left : left + 10] for top in range(5) for left in range(5)]
    possible = torch.stack([*windows, *(window.flip(2) for window in windows)])
    matches = (out[:, None] == possible).flatten(2).all(2)
    assert matches.any(1).all()  # each is one of the 50 ...
    assert matches.any(0).all()  # ... and each of the 50 occurs
    assert 0.4 < float(matches[:, 25:].any(1).float().mean()) < 0.6


def test_flip_mirrors_about_half_and_leaves_the_rest() -> None:
    images, _ = coloured()[0:48]
    out = flip(images, seeded(0))
    mirrored = (out == images.flip(3)).flatten(1).all(1)
    assert torch.equal(out[~mirrored], images[~mirrored])
    assert 12 < int(mirrored.sum()) < 36
    unshifted = crop_flip(images, seeded(0), padding=0)
    assert ((unshifted == images) | (unshifted == images.flip(3))).all()


@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_the_generator_decides_and_nothing_else(augment: Augmentation) -> None:
    images, _ = coloured()[0:48]
    before, kept = torch.get_rng_state(), images.clone()
    one = augment(images, seeded(3))
    assert torch.equal(one, augment(images, seeded(3)))
    assert not torch.equal(one, augment(images, seeded(4)))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(images, kept)
    torch.manual_seed(3)
    assert torch.equal(one, augment(images))


def test_a_loader_augments_the_images_and_keeps_the_labels() -> None:
    data = coloured()

    def passes(seed: int, augment: bool) -> list[tuple[Tensor, Tensor]]:
        loader = make_loader(data, 16, shuffle=True, seed=seed, augment=crop_flip if augment else None)
        return [batch for _ in range(2) for batch in loader]

    one, two, plain = passes(3, True), passes(3, True), passes(3, False)
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, two, strict=True))
    # Every pixel is at least 1/255: an image is told by its values, wherever they were shifted.
    values = {int(label): set() for label in range(3)}
    for images, labels in plain:
        assert images.dtype == torch.float32
        for image, label in zip(images, labels, strict=True):
            values[int(label)].add(tuple(image[:, 5, 5].tolist()))
    for images, labels in one:
        assert images.shape == (16, 3, 12, 10)
        for image, label in zip(images, labels, strict=True):
            found = {tuple(pixel) for pixel in image.flatten(1).T.tolist()}
            assert found & values[int(label)]
    assert not torch.equal(one[0][0], one[3][0])  # the second pass has shifts of its own


def test_only_whole_batches_are_augmented() -> None:
    with pytest.raises(DataError, match="Expected an ArrayDataset to augment, got TensorDataset"):
        make_loader(TensorDataset(torch.zeros(4, 3)), 2, augment=crop_flip)


@pytest.mark.parametrize("seed", [5, None])
@pytest.mark.parametrize("stop", [1, 3, 4, 8])
def test_a_killed_run_sees_the_same_crops_when_it_goes_on(tmp_path: Path, stop: int, seed: int | None) -> None:
    options = {"epochs": 3, "lr": 1e-2, "checkpoint_every_s": 0.0, "progress": False}

    def setting():
        torch.manual_seed(2)
        model = nn.Sequential(nn.Flatten(), nn.Linear(360, 3))
        return model, make_loader(coloured(), 16, shuffle=True, seed=seed, augment=crop_flip)

    whole, loader = setting()
    fit(whole, loader, **options)

    steps = 0

    def killed(out: Tensor, labels: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        if steps > stop:
            raise SystemError("killed")
        return F.cross_entropy(out, labels)

    model, loader = setting()
    with pytest.raises(SystemError, match="killed"):
        fit(model, loader, folder=tmp_path, loss=killed, **options)
    model, loader = setting()
    torch.rand(7)  # another process starts with other random numbers
    stop = 1_000_000
    fit(model, loader, folder=tmp_path, loss=killed, **options)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))

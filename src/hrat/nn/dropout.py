"""Which modules drop values in training and do nothing in eval mode."""

from __future__ import annotations

from torch import nn

__all__ = ["DROPOUTS", "is_drop_path", "is_dropout"]

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def is_dropout(module: nn.Module | None) -> bool:
    """Whether a module drops values in training and does nothing in eval mode."""
    return isinstance(module, DROPOUTS) or (module is not None and is_drop_path(module))


def is_drop_path(module: nn.Module) -> bool:
    """Whether a module drops whole branches in training and does nothing in eval mode (stochastic depth).

    There is none in PyTorch; timm, torchvision, transformers and others each have theirs.
    """
    name = type(module).__name__
    return name.endswith(("DropPath", "StochasticDepth")) and next(module.children(), None) is None

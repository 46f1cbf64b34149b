"""Experiments as data, run by one pipeline: recipes, networks, and the methods that are compared."""

from __future__ import annotations

from hrat.recipes.methods import METHODS as _METHODS
from hrat.recipes.networks import NETWORKS, build_network
from hrat.recipes.recipe import Recipe, RecipeError, load_recipe, recipe_names
from hrat.recipes.run import Run, load_run, train
from hrat.recipes.side_by_side import compare, demo, spec_summary

METHODS: dict[str, str] = {key: method.label for key, method in _METHODS.items()}
"""Key of each way to train -> what a person reads."""

__all__ = [
    "METHODS",
    "NETWORKS",
    "Recipe",
    "RecipeError",
    "Run",
    "build_network",
    "compare",
    "demo",
    "load_recipe",
    "load_run",
    "recipe_names",
    "spec_summary",
    "train",
]

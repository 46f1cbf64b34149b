"""Recipes as data, and what they name: networks, and the methods that are compared."""

from __future__ import annotations

from hrat.experiments.recipes.methods import (
    METHODS,
    Method,
    VariationAware,
    mapped,
    prepared_for,
    relative_pair_error,
    trainable,
)
from hrat.experiments.recipes.networks import NETWORKS, build_network
from hrat.experiments.recipes.own_network import RecipeError
from hrat.experiments.recipes.recipe import Recipe, load_recipe, recipe_names
from hrat.experiments.recipes.start import load_start

__all__ = [
    "METHODS",
    "NETWORKS",
    "Method",
    "Recipe",
    "RecipeError",
    "VariationAware",
    "build_network",
    "load_recipe",
    "load_start",
    "mapped",
    "prepared_for",
    "recipe_names",
    "relative_pair_error",
    "trainable",
]

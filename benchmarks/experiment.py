"""The argument that names what a benchmark trains."""

import dataclasses

from hrat.experiments import Recipe, load_recipe


def experiment(text: str) -> Recipe:
    """`NAME[:EPOCHS]`, with the recipe's own epochs where they are left out."""
    name, _, epochs = text.partition(":")
    recipe = load_recipe(name)
    return dataclasses.replace(recipe, fit=recipe.fit.replace(epochs=int(epochs))) if epochs else recipe

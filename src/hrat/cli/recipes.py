"""`hrat recipes`: which experiments come with hrat."""

from __future__ import annotations

from hrat.cli.output import examples, show, tell

__all__ = ["EXAMPLES", "recipes"]

EXAMPLES = examples("hrat recipes")


def recipes() -> None:
    """List the recipes: network, data, hardware and training of an experiment."""
    from rich import box
    from rich.table import Table

    from hrat.experiments import load_recipe, recipe_names

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("recipe", no_wrap=True, style="bold")
    for heading in ("network", "data", "hardware"):
        table.add_column(heading, no_wrap=True)
    table.add_column("epochs", justify="right")
    table.add_column("what it is")
    recipe_dicts = []
    for name in recipe_names():
        recipe = load_recipe(name)
        recipe_dicts.append(recipe.to_dict())
        table.add_row(name, recipe.network, recipe.data, recipe.spec, str(recipe.fit.epochs), recipe.description)
    tell(recipes=recipe_dicts)
    show(table)

"""``docs/finetune.md``: its tables are those of the code, its settings and models exist."""

from __future__ import annotations

import io
import re
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from brs_detr.config.config import MODELS
from brs_detr.recipes.plan import TrainingFacts, TrainingPlan, plan_batch, recipe_rows, recipe_table
from brs_detr.recipes.recipe import RECIPES, Recipe

PAGE = Path(__file__).parents[2] / "docs" / "finetune.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_table_of_recipes_is_that_of_the_code() -> None:
    assert recipes_side_by_side() in TEXT


def recipes_side_by_side() -> str:
    """There is one row per setting in which the recipes differ."""
    sizes = {"few": "< 500", "some": "< 5,000", "many": "more"}
    heads = [f"{'random' if start == 'nothing' else start}, {sizes[size]}" for size, start in RECIPES]
    lines = [["setting", *heads], [":--", *["--:"] * len(heads)]]
    for setting in (field.name for field in fields(Recipe)):
        values = [getattr(recipe, setting) for recipe in RECIPES.values()]
        if len(set(values)) > 1:
            lines.append([f"`{setting}`", *map(as_printed, values)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_printed(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"{value[0]:g} to {value[1]:g}"
    return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 0.01 else f"{value:g}"


def test_printed_recipe_is_what_is_printed() -> None:
    plan = plan_batch(2, 16, 1, 205)
    planned = TrainingPlan(RECIPES["few", "detector"], "detector", TrainingFacts(205, 30), plan, width=256)
    console = Console(file=(text := io.StringIO()), width=100)
    console.print(recipe_table(recipe_rows(planned, (1024, 640), 300, is_ranking=True)))
    lines = [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]
    assert "\n".join(lines) in TEXT


def test_every_setting_is_mentioned_and_every_mentioned_one_exists() -> None:
    settings = {field.name for field in fields(Recipe)}
    assert all(f"`{name}`" in TEXT for name in settings)
    assert set(re.findall(r"--set ([a-z_]+)=", TEXT)) <= settings


def test_every_model_is_mentioned() -> None:
    assert all(f"`{name}`" in TEXT for name in MODELS)

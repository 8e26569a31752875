"""The option `--import` of every command that builds a model."""

from __future__ import annotations

import click

COMMANDS = (
    *("train", "finetune", "eval", "calibrate", "report", "replay", "predict", "export", "serve", "info"),
    "convert-checkpoint",
)


def add_import_option(command: click.Command) -> None:
    """Give a command the option `--import MODULE`. Repeated calls have no effect."""
    if not any("--import" in parameter.opts for parameter in command.params):
        command.params.append(
            click.Option(
                ["--import"],
                multiple=True,
                metavar="MODULE",
                is_eager=True,
                expose_value=False,
                callback=_import,
                help="Import your own module or .py file first. Configs and checkpoints may then name the classes it "
                "registers. Repeatable.",
            )
        )


def _import(ctx: click.Context, parameter: click.Parameter, modules: tuple[str, ...]) -> None:
    if modules and not ctx.resilient_parsing:
        from brs_detr.config.own_modules import import_own

        for module in modules:
            import_own(module)

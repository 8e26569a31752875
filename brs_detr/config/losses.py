"""The classification loss of all heads by a word, as in `--loss exact`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from brs_detr.config.config import list_configs
from brs_detr.errors import UserError

if TYPE_CHECKING:
    from mmengine import Config

RANKING_LOSSES: Mapping[str, Mapping[str, Any]] = {
    "exact": {"type": "RankSortLoss"},
    "bucketed": {"type": "BucketedRankSortLoss"},
    "rs": {"type": "RankSortLoss"},
    "ap": {"type": "APLoss", "interpolated": True},
    "bap": {"type": "BucketedAPLoss"},
}
"""Config of each ranking loss. Exact is RS Loss computed without its loop: `exact` and `rs` are the same values."""
SCORE_BASED = "focal"
LOSSES = (*RANKING_LOSSES, SCORE_BASED)
_PREFIXES = ("brs-", "rs-", "bap-", "ap-", "alrp-", "dr-")
_RANK_SORT = {"RankSortLoss", "BucketedRankSortLoss"}


def config_with_loss(name: str, loss: str) -> str:
    """Return the shipped config of the same detector whose heads are made for a loss: ranking or score-based.

    Args:
        name: name of a shipped config, or path of a config file, which is returned as it is.
        loss: one of `LOSSES`.

    Raises:
        UserError: there is no such config.
    """
    shipped = {entry.name for entry in list_configs()}
    if name not in shipped:
        if loss == SCORE_BASED:
            raise UserError(
                f"--loss {loss}: which config is the score-based one of {name} is not known.",
                "Leave --loss out, and name that config.",
            )
        return name
    prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
    base = name.removeprefix(prefix)
    found = base if loss == SCORE_BASED else f"brs-{base}"
    if found not in shipped:
        raise UserError(f"--loss {loss}: there is no config {found}.", "`brs-detr configs` lists all.")
    return found


def set_loss(config: Config, loss: str) -> None:
    """Give every head of a config a ranking loss, in place. Weights of losses, and deltas of RS losses, stay.

    Args:
        config: a detector with ranking losses; a score-based one only for the loss `focal`, which changes nothing.
        loss: one of `LOSSES`.

    Raises:
        UserError: a head has no ranking loss that could be replaced.
    """
    if loss == SCORE_BASED:
        return
    for name, head in classifying_heads(config.model):
        old = head["loss_cls"]
        if not is_ranking(old):
            raise UserError(
                f"--loss {loss}: the head {name} has the score-based loss {old['type']}.",
                "Use a config with ranking losses; `brs-detr configs` lists those of this package.",
            )
        new = dict(RANKING_LOSSES[loss])
        kept = {"loss_weight", "delta"} if {old["type"], new["type"]} <= _RANK_SORT else {"loss_weight"}
        head["loss_cls"] = {**new, **{key: old[key] for key in kept & old.keys()}}


def classifying_heads(
    model: MutableMapping[str, Any], name: str = ""
) -> Iterator[tuple[str, MutableMapping[str, Any]]]:
    """Yield name and config of every part of a model that has a classification loss."""
    for key, part in model.items():
        for index, one in enumerate(part if isinstance(part, list) else [part]):
            if isinstance(one, MutableMapping):
                place = f"{name}{key}" + f".{index}" * isinstance(part, list)
                if isinstance(one.get("loss_cls"), Mapping):
                    yield place, one
                yield from classifying_heads(one, f"{place}.")


def is_ranking(loss_cls: Mapping[str, Any]) -> bool:
    """Whether the config of a loss names a ranking loss."""
    from mmdet.registry import MODELS

    from brs_detr.heads import register

    register()
    return hasattr(MODELS.get(str(loss_cls["type"])), "criterion_class")


def differing_losses(model: MutableMapping[str, Any]) -> str | None:
    """Describe the losses of the heads if some of them rank and not all of them have the same loss; else None."""
    heads = {
        name: ", ".join(
            [str(loss["type"]), *(f"{key} {loss[key]}" for key in sorted(loss.keys() - {"type", "loss_weight"}))]
        )
        for name, loss in ((name, head["loss_cls"]) for name, head in classifying_heads(model))
    }
    ranks = any(is_ranking(head["loss_cls"]) for _, head in classifying_heads(model))
    if not ranks or len(set(heads.values())) == 1:
        return None
    return "; ".join(f"{name}: {loss}" for name, loss in heads.items())

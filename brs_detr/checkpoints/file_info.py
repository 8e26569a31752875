"""Describe files with weights, without running anything that is stored in them."""

from __future__ import annotations

import json
import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brs_detr.checkpoints.file_kind import Kind, code_in_pickles, file_kind, require_weights
from brs_detr.checkpoints.plain_file import CALIBRATIONS, checked_class_names, find_meta, find_tensors, load_plain
from brs_detr.errors import UserError, first_line
from brs_detr.extras import add_extra
from brs_detr.run.run_folder import RunFolder, checkpoint_file
from brs_detr.runtime.artefact_info import METADATA_KEY, ArtefactInfo
from brs_detr.runtime.calibration import Calibration, by_name

if TYPE_CHECKING:
    from torch import Tensor

_MAX_INFO_BYTES = 2**24  # a small zip can claim to unpack to any size
_ARCHIVES: dict[Kind, str] = {
    "torch-export": "exported program (torch.export)",
    "aoti": "compiled program (AOTInductor)",
    "torchscript": "TorchScript program",
}
_DETECTORS = ("CoDETR", "DeformableDETR", "FasterRCNN", "ATSS", "ResNet", "SwinTransformer", "TimmBackbone")
_BACKBONES = (
    (r"layer1\.0\.conv1\.weight", "ResNet, as torchvision or timm save it"),
    (r"layers\.0\.blocks\.0\.attn\.qkv\.weight", "Swin, as its authors release it"),
    (r"layers_?0?\.?0?\.blocks\.0\.attn\.relative_position_bias_table", "Swin, as timm saves it"),
    (r"stages\.0\.blocks\.0\.attn\.w_msa\.qkv\.weight", "Swin, as mmdet saves it"),
    (r"stages\.0\.blocks\.0\.conv_dw\.weight", "ConvNeXt, as timm saves it"),
)
_OFFICIAL = re.compile(r"transformer\.decoder\.layers\.\d+\.attentions\.1\.")


@dataclass(frozen=True)
class FileInfo:
    """Description of a file.

    Args:
        kind: kind of file, in words.
        facts: plain values by name.
    """

    kind: str
    facts: dict[str, Any] = field(default_factory=dict)


def describe_file(path: Path) -> FileInfo:
    """Describe a run folder, a checkpoint, an exported detector or a file of weights.

    Raises:
        UserError: there is no such file, or it is none of these.
    """
    if path.is_dir():
        return _run(path)
    kind = file_kind(path)
    if kind == "onnx" or (path.suffix == ".onnx" and kind == "unknown"):
        info = _onnx(path)
    elif kind in _ARCHIVES:
        info = _archive(path, _ARCHIVES[kind])
    elif kind == "json":
        info = _json(path)
    else:
        require_weights(path)
        info = _weights(path, kind)
    return FileInfo(info.kind, {**info.facts, "size_mib": round(path.stat().st_size / 2**20, 2)})


def _run(folder: Path) -> FileInfo:
    checkpoint, run = checkpoint_file(folder), RunFolder(folder)
    record: dict[str, Any] = {}
    if run.record.is_file():
        try:
            record = json.loads(run.record.read_text(encoding="utf-8"))
        except ValueError:
            record = {"status": "its record run.json is damaged"}
    kept = ("status", "config", "data", "seed", "epochs", "best_ap", "best_epoch", "device", "started", "ended")
    facts = {name: record[name] for name in kept if record.get(name) is not None}
    return FileInfo("training run", {"checkpoint": checkpoint.name, **describe_file(checkpoint).facts, **facts})


def _onnx(path: Path) -> FileInfo:
    try:
        import onnxruntime
    except ImportError:
        raise UserError("Reading ONNX files needs onnxruntime.", add_extra("runtime")) from None
    options = onnxruntime.SessionOptions()
    # optimisation would compute constants
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a dozen exceptions
        raise UserError(
            f"{path} is damaged or not an ONNX model: {first_line(error)}", "Copy the file again."
        ) from None
    meta = session.get_modelmeta()
    facts = {
        "inputs": [f"{value.name}: {value.type} {value.shape}" for value in session.get_inputs()],
        "outputs": [f"{value.name}: {value.type} {value.shape}" for value in session.get_outputs()],
    }
    text = meta.custom_metadata_map.get(METADATA_KEY)
    if text is None:
        return FileInfo("ONNX model of another program", {"producer": meta.producer_name, **facts})
    return FileInfo("exported detector (ONNX)", {**_artefact(ArtefactInfo.from_json(text, path)), **facts})


def _archive(path: Path, kind: str) -> FileInfo:
    info = read_archived_info(path)
    return FileInfo(f"exported detector: {kind}", _artefact(info)) if info else FileInfo(f"{kind} of another program")


def read_archived_info(path: Path) -> ArtefactInfo | None:
    """Read only the description that `brs-detr export` stored in an archive of PyTorch; None without one.

    Raises:
        UserError: the file is missing or damaged, or the description is invalid.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(f"/extra/{METADATA_KEY}")]
            if len(entries) != 1 or entries[0].file_size > _MAX_INFO_BYTES:
                return None
            text = archive.read(entries[0]).decode("utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"Cannot open {path}: {error.strerror}.", "Check the path.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path} is damaged inside: {error}", "Copy the file again, or export it again.") from None
    return ArtefactInfo.from_json(text, path)


def _artefact(info: ArtefactInfo) -> dict[str, Any]:
    settings = info.preprocessing
    size = f"sides up to {settings.short_side} and {settings.long_side}"
    if settings.fixed_size is not None:
        size = "fitted into {} x {}".format(*settings.fixed_size)
    elif settings.short_side is None:
        size = "unchanged"
    facts = {
        "head": info.head,
        "classes": list(info.class_names),
        "calibrated": info.calibrated,
        "score_threshold": by_name(info.score_threshold, info.class_names),
        "precision": info.precision,
        "image_size": size,
        "batch": info.batch_size or "any",
        "preprocessing": "inside" if settings.inside else "beside",
        "postprocessing": "inside" if info.postprocessing.inside else "beside",
        "source": info.source,
        "versions": dict(info.versions),
        "parity": dict(info.parity),
    }
    return {name: value for name, value in facts.items() if value not in ("", {})}


def _json(path: Path) -> FileInfo:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}", "Copy the file again.") from None
    if isinstance(content, dict) and {"images", "categories"} <= content.keys():
        lists = [name for name in ("images", "annotations", "categories") if isinstance(content.get(name), list)]
        facts = {name: len(content[name]) for name in lists}
        return FileInfo("annotations in COCO format", {**facts, "next": "brs-detr check FOLDER"})
    if isinstance(content, list) and content and isinstance(content[0], dict) and "score" in content[0]:
        return FileInfo("COCO results", {"detections": len(content)})
    hint = "Give a checkpoint or an exported detector."
    raise UserError(f"{path} is JSON, but neither annotations nor results.", hint)


def _weights(path: Path, kind: Kind) -> FileInfo:
    try:
        content = load_plain(path, with_values=False)
    except UserError:
        code = [] if kind == "safetensors" else code_in_pickles(path)
        if not code:
            raise
        return FileInfo("pickle that would run code when it is read", {"would_run": code[:20]})
    meta, tensors = find_meta(content), find_tensors(content, path)
    if "cfg" in meta and meta.get("dataset_meta"):
        names = checked_class_names(meta, path)
        suffix = " (safetensors)" if kind == "safetensors" else ""
        return FileInfo(f"checkpoint of this package{suffix}", {**_meta(meta, names, path), **_tensors(tensors)})
    if any(map(_OFFICIAL.search, tensors)):
        classes = meta.get("CLASSES")
        classes = [classes] if isinstance(classes, str) else classes
        facts: dict[str, Any] = {"classes": list(map(str, classes))} if isinstance(classes, (list, tuple)) else {}
        facts = {**facts, **_tensors(tensors), "next": "brs-detr finetune DATA --weights FILE"}
        return FileInfo("official checkpoint of Co-DETR or BRS-DETR (mmdet 2)", facts)
    return FileInfo(f"weights: {_backbone(tensors)}", _tensors(tensors))


def _meta(meta: Mapping[str, Any], class_names: tuple[str, ...], path: Path) -> dict[str, Any]:
    """Return the facts of a checkpoint of this package, including the refused parts of its config."""
    calibrations = {}
    for head, stored in meta.get(CALIBRATIONS, {}).items():
        calibration = Calibration.from_json(stored, len(class_names))
        known = {
            "kind": calibration.kind,
            "images": calibration.num_images,
            "score_threshold": by_name(calibration.thresholds, class_names),
            "chosen_for": calibration.goal,
        }
        calibrations[str(head)] = {name: value for name, value in known.items() if value != ""}
    metrics = {str(name).removeprefix("coco/"): value for name, value in (meta.get("metrics") or {}).items()}
    versions = meta["versions"] if isinstance(meta.get("versions"), dict) else {}
    trained = {name: meta.get(f"{name}_version") for name in ("brs_detr", "mmengine")}
    versions = {**versions, **{name: version for name, version in trained.items() if version}}
    facts = {
        "config": _config_name(meta["cfg"]),
        "classes": list(class_names),
        "epoch": meta.get("epoch"),
        "AP": metrics.get("AP"),
        "AP50": metrics.get("AP50"),
        "calibrations": calibrations or None,
        "raw_score_threshold" if calibrations else "score_threshold": metrics.get("F1_threshold"),
        "seed": meta.get("seed"),
        "versions": {str(name): str(version) for name, version in versions.items()} or None,
        "refused": _refused(meta["cfg"], path) or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _refused(text: str, path: Path) -> list[str]:
    """List the parts of a config from which no model would be built."""
    from brs_detr.checkpoints.stored_config import find_refusals, shown_refusals
    from brs_detr.config.config_text import parse_config_text

    try:
        return shown_refusals(find_refusals(parse_config_text(text, str(path))))
    except UserError as error:
        return [error.message]


def _config_name(text: str) -> str:
    """Name the types of the detector and its backbone that occur in a config."""
    types = re.findall(r"""['"]?type['"]?\s*[=:]\s*['"](\w+)['"]""", text)
    found = [name for name in dict.fromkeys(types) if name in _DETECTORS]
    is_ranking = any("RankSort" in name or name.endswith("APLoss") for name in types)
    return ", ".join(found + ["ranking losses"] * is_ranking) or "unknown"


def _tensors(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    parts: Counter[str] = Counter()
    for name, tensor in tensors.items():
        parts[name.split(".")[0]] += math.prod(tensor.shape)
    dtypes = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    by_part = dict(parts.most_common(8))
    return {"tensors": len(tensors), "parameters": sum(parts.values()), "by_part": by_part, "dtypes": dtypes}


def _backbone(tensors: Iterable[str]) -> str:
    names = [name.removeprefix("module.").removeprefix("model.") for name in tensors]
    for pattern, what in _BACKBONES:
        if any(re.match(pattern, name) for name in names):
            return what
    return "of an unknown model"

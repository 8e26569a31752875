"""What a file with weights is, without running anything that is in it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brs_detr.checkpoints.archived_info import read_archived_info
from brs_detr.checkpoints.checkpoint_meta import CALIBRATIONS, class_names_of
from brs_detr.checkpoints.file_kind import Kind, file_kind
from brs_detr.checkpoints.pickle_globals import code_in_pickles
from brs_detr.checkpoints.plain_file import load_plain, refuse_other_kinds
from brs_detr.checkpoints.stored_config import find_refusals, shown_refusals
from brs_detr.config.config_text import parse_config_text
from brs_detr.errors import UserError
from brs_detr.extras import add_extra
from brs_detr.run.run_folder import RunFolder, checkpoint_file
from brs_detr.runtime.artefact_info import METADATA_KEY, ArtefactInfo, Preprocessing
from brs_detr.runtime.calibration import Calibration, by_name

_ARCHIVES: dict[Kind, str] = {
    "torch-export": "exported program (torch.export)",
    "aoti": "compiled program (AOTInductor)",
    "torchscript": "TorchScript program",
}

_BACKBONES = (
    (r"layer1\.0\.conv1\.weight", "ResNet, as torchvision or timm save it"),
    (r"layers\.0\.blocks\.0\.attn\.qkv\.weight", "Swin, as its authors release it"),
    (r"layers_?0?\.?0?\.blocks\.0\.attn\.relative_position_bias_table", "Swin, as timm saves it"),
    (r"stages\.0\.blocks\.0\.attn\.w_msa\.qkv\.weight", "Swin, as mmdet saves it"),
    (r"stages\.0\.blocks\.0\.conv_dw\.weight", "ConvNeXt, as timm saves it"),
)


@dataclass(frozen=True)
class FileInfo:
    """What a file is.

    Args:
        kind: in words.
        facts: what is known of it, by name; values are plain.
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
    size = {"size_mib": round(path.stat().st_size / 2**20, 2)}
    if kind == "onnx" or (path.suffix == ".onnx" and kind == "unknown"):
        return _with(size, _onnx(path))
    if kind in _ARCHIVES:
        return _with(size, _archive(path, _ARCHIVES[kind]))
    if kind == "safetensors":
        return _with(size, _safetensors(path))
    if kind == "json":
        return _with(size, _json(path))
    refuse_other_kinds(path, kind)
    return _with(size, _pickle(path))


def _with(facts: Mapping[str, Any], info: FileInfo) -> FileInfo:
    return FileInfo(info.kind, {**info.facts, **facts})


def _run(folder: Path) -> FileInfo:
    checkpoint = checkpoint_file(folder)
    run = RunFolder(folder)
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
        raise UserError("To look into ONNX files, onnxruntime is needed.", add_extra("runtime")) from None
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # or it computes constants
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception of its own for each of a dozen faults
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is damaged or not an ONNX model: {reason}", "Copy the file again.") from None
    meta = session.get_modelmeta()
    facts = {
        "inputs": [f"{value.name}: {value.type} {value.shape}" for value in session.get_inputs()],
        "outputs": [f"{value.name}: {value.type} {value.shape}" for value in session.get_outputs()],
    }
    text = meta.custom_metadata_map.get(METADATA_KEY)
    if text is None:
        return FileInfo("ONNX model of somebody else", {"producer": meta.producer_name, **facts})
    return FileInfo("exported detector (ONNX)", {**_artefact(ArtefactInfo.from_json(text, path)), **facts})


def _archive(path: Path, kind: str) -> FileInfo:
    info = read_archived_info(path)
    if info is None:
        return FileInfo(f"{kind} of somebody else")
    return FileInfo(f"exported detector: {kind}", _artefact(info))


def _artefact(info: ArtefactInfo) -> dict[str, Any]:
    facts = {
        "head": info.head,
        "classes": list(info.class_names),
        "calibrated": info.calibrated,
        "score_threshold": by_name(info.score_threshold, info.class_names),
        "precision": info.precision,
        "image_size": _size(info.preprocessing),
        "batch": info.batch_size or "any",
        "preprocessing": "inside" if info.preprocessing.inside else "beside",
        "postprocessing": "inside" if info.postprocessing.inside else "beside",
        "source": info.source,
        "versions": dict(info.versions),
        "parity": dict(info.parity),
    }
    return {name: value for name, value in facts.items() if value not in ("", {})}


def _size(settings: Preprocessing) -> str:
    if settings.fixed_size is not None:
        return "fitted into {} x {}".format(*settings.fixed_size)
    return (
        "as it is"
        if settings.short_side is None
        else f"sides of {settings.short_side} and {settings.long_side} at most"
    )


def _safetensors(path: Path) -> FileInfo:
    from brs_detr.checkpoints.safetensors_checkpoint import read_header

    tensors, meta = read_header(path)
    if meta is not None:
        class_names_of(meta, path)
        return FileInfo("checkpoint of this package (safetensors)", {**_meta(meta, path), **_tensors(tensors)})
    return FileInfo(f"weights: {_backbone(tensors)}", _tensors(tensors))


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
    raise UserError(
        f"{path} is JSON, but neither annotations nor results.", "Give a checkpoint or an exported detector."
    )


def _pickle(path: Path) -> FileInfo:
    try:
        content = load_plain(path, with_values=False)
    except UserError:
        code = code_in_pickles(path)
        if not code:
            raise
        return FileInfo("pickle that would run code when it is read", {"would_run": code[:20]})
    meta = content.get("meta") if isinstance(content, dict) else None
    inner = content if isinstance(content, dict) else {}
    state = next((inner[key] for key in ("state_dict", "model") if isinstance(inner.get(key), dict)), inner)
    tensors = {str(name): (tuple(value.shape), str(value.dtype)) for name, value in state.items() if _is_tensor(value)}
    if not tensors:
        raise UserError(f"{path} holds no weights.", "Give a checkpoint, a state dict, or a .safetensors file.")
    if isinstance(meta, dict) and "cfg" in meta and meta.get("dataset_meta"):
        class_names_of(meta, path)
        return FileInfo("checkpoint of this package", {**_meta(meta, path), **_tensors(tensors)})
    if any(re.search(r"transformer\.decoder\.layers\.\d+\.attentions\.1\.", name) for name in tensors):
        classes = meta.get("CLASSES") if isinstance(meta, dict) else None
        classes = [classes] if isinstance(classes, str) else classes
        facts = {"classes": list(map(str, classes))} if isinstance(classes, (list, tuple)) else {}
        return FileInfo(
            "official checkpoint of Co-DETR or BRS-DETR (mmdet 2)",
            {**facts, **_tensors(tensors), "next": "brs-detr finetune DATA --weights FILE"},
        )
    return FileInfo(f"weights: {_backbone(tensors)}", _tensors(tensors))


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _meta(meta: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What a checkpoint of this package says of itself, and what it asks for in vain."""
    calibrations = _calibrations(meta)
    metrics = {str(name).removeprefix("coco/"): value for name, value in (meta.get("metrics") or {}).items()}
    facts = {
        "config": _config_name(str(meta["cfg"])),
        "classes": list(map(str, meta["dataset_meta"]["classes"])),
        "epoch": meta.get("epoch"),
        "AP": metrics.get("AP"),
        "AP50": metrics.get("AP50"),
        "calibrations": calibrations or None,
        "raw_score_threshold" if calibrations else "score_threshold": metrics.get("F1_threshold"),
        "seed": meta.get("seed"),
        "versions": _versions(meta) or None,
        "refused": _refused(meta["cfg"], path) or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _calibrations(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Of each head whose scores are known, what that was learnt from and which scores are kept."""
    names = tuple(map(str, meta["dataset_meta"]["classes"]))
    found = {}
    for head, stored in meta.get(CALIBRATIONS, {}).items():
        calibration = Calibration.from_json(stored, len(names))
        facts = {
            "kind": calibration.kind,
            "images": calibration.num_images,
            "score_threshold": by_name(calibration.thresholds, names),
            "chosen_for": calibration.goal,
        }
        found[str(head)] = {name: value for name, value in facts.items() if value != ""}
    return found


def _refused(text: str, path: Path) -> list[str]:
    """What of a config no model would be built from."""
    try:
        return shown_refusals(find_refusals(parse_config_text(text, str(path))))
    except UserError as error:
        return [error.message]


def _versions(meta: Mapping[str, Any]) -> dict[str, str]:
    trained = {"brs_detr": meta["brs_detr_version"]} if meta.get("brs_detr_version") else {}
    others = {"mmengine": meta["mmengine_version"]} if meta.get("mmengine_version") else {}
    stored = meta["versions"] if isinstance(meta.get("versions"), dict) else {}
    return {str(name): str(version) for name, version in {**stored, **trained, **others}.items()}


def _config_name(text: str) -> str:
    """Type of the detector and of its backbone, as far as the text of the config says."""
    types = re.findall(r"""['"]?type['"]?\s*[=:]\s*['"](\w+)['"]""", text)
    known = ("CoDETR", "DeformableDETR", "FasterRCNN", "ATSS", "ResNet", "SwinTransformer", "TimmBackbone")
    found = [name for name in dict.fromkeys(types) if name in known]
    is_ranking = any("RankSort" in name or name.endswith("APLoss") for name in types)
    return ", ".join(found + ["ranking losses"] * is_ranking) or "unknown"


def _tensors(tensors: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, Any]:
    parts: Counter[str] = Counter()
    for name, (shape, _) in tensors.items():
        parts[name.split(".")[0]] += _product(shape)
    dtypes = sorted({dtype.removeprefix("torch.") for _, dtype in tensors.values()})
    by_part = dict(parts.most_common(8))
    return {"tensors": len(tensors), "parameters": sum(parts.values()), "by_part": by_part, "dtypes": dtypes}


def _product(shape: Iterable[int]) -> int:
    result = 1
    for side in shape:
        result *= side
    return result


def _backbone(tensors: Iterable[str]) -> str:
    names = [name.removeprefix("module.").removeprefix("model.") for name in tensors]
    for pattern, what in _BACKBONES:
        if any(re.match(pattern, name) for name in names):
            return what
    return "of an unknown model"

"""Two processes over gloo: gradients are averaged; each ranks its own images, or all rank together."""

from __future__ import annotations

import os

import official_models
import pytest
import torch
import torch.distributed as dist
from made_up_images import SIZE, make_samples
from mmdet.registry import MODELS
from mmengine.model import MMDistributedDataParallel
from torch import nn

COUNTS = {"objects": (2, 3), "one without": (3, 0), "both without": (0, 0)}
CASES = [("brs", False), ("brs", True), ("codetr", False)]  # and whether all rank together


def build(name: str, gather: bool, memory: int = 0) -> nn.Module:
    config = official_models.model_config(name)
    for head in (config.query_head, config.rpn_head, config.roi_head.bbox_head, config.atss_head):
        if name == "brs":
            head.update(gather_ranking=gather, ranking_memory=memory)
    torch.manual_seed(0)
    return MODELS.build(config).double().train()


def batch(counts: tuple[int, int], seed: int = 3) -> tuple[torch.Tensor, list]:
    """Two images."""
    torch.manual_seed(seed)
    images, samples = torch.randn(2, 3, *SIZE, dtype=torch.float64), make_samples(*counts)
    for sample in samples:
        sample.gt_instances.bboxes = sample.gt_instances.bboxes.double()
    return images, samples


def step(model: nn.Module, images: torch.Tensor, samples: list) -> tuple[dict, dict]:
    """Losses and gradients."""
    model.zero_grad()
    losses = model(images, samples, mode="loss")
    bare = getattr(model, "module", model)
    bare.parse_losses(losses)[0].backward()
    values = {name: torch.as_tensor(loss).detach() for name, loss in losses.items() if not isinstance(loss, list)}
    return values, {name: parameter.grad for name, parameter in bare.named_parameters() if parameter.grad is not None}


def one_of_two(rank: int, folder: str) -> None:
    """What each process does."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", 2), rank=rank, world_size=2)
    results = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        official_models.promote_to_float64(monkeypatch)
        for name, gather in CASES:
            wrapped = MMDistributedDataParallel(build(name, gather), broadcast_buffers=False)
            for case, counts in COUNTS.items():
                images, samples = batch(counts)
                losses, gradients = step(wrapped, images[rank : rank + 1], samples[rank : rank + 1])
                results[name, gather, case] = losses, {key: value.clone() for key, value in gradients.items()}
        remembering = MMDistributedDataParallel(build("brs", gather=True, memory=1), broadcast_buffers=False)
        for images, samples in (batch((1, 2), seed=4), batch((2, 3))):
            losses, gradients = step(remembering, images[rank : rank + 1], samples[rank : rank + 1])
        results["with memory"] = losses, {key: value.clone() for key, value in gradients.items()}
    torch.save(results, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Of both processes."""
    folder = tmp_path_factory.mktemp("two")
    torch.multiprocessing.spawn(one_of_two, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pth") for rank in range(2)]


@pytest.fixture(autouse=True)
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    official_models.promote_to_float64(monkeypatch)


def assert_equal(found: dict, expected: dict, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        scale = value.abs().max().clamp(min=1e-6)
        assert (found[name] - value).abs().max() <= tolerance * scale, name


@pytest.mark.parametrize("case", COUNTS)
@pytest.mark.parametrize(("name", "gather"), CASES)
@pytest.mark.fault(
    "Several processes",
    "one process has objects and the other none",
    "both compute the same graph, without `find_unused_parameters`; gradients are bit-identical",
)
def test_both_processes_have_the_same_gradients(results, name: str, gather: bool, case: str) -> None:
    (_, first), (_, second) = (result[name, gather, case] for result in results)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) and value.isfinite().all() for key, value in first.items())


@pytest.mark.parametrize("case", COUNTS)
def test_ranking_in_each_process_is_the_mean_over_the_images(results, case: str) -> None:
    model, (images, samples) = build("brs", False), batch(COUNTS[case])
    alone = []
    for index in range(2):
        _, gradients = step(model, images[index : index + 1], samples[index : index + 1])
        alone.append({name: value.clone() for name, value in gradients.items()})
    mean = {name: (alone[0][name] + alone[1][name]) / 2 for name in alone[0]}
    assert_equal(results[0]["brs", False, case][1], mean, 1e-12)


@pytest.mark.parametrize("case", COUNTS)
def test_ranking_among_all_is_one_process_with_the_whole_batch(results, case: str) -> None:
    losses, gradients = step(build("brs", False), *batch(COUNTS[case]))
    found = [result["brs", True, case] for result in results]
    ranking = {name: loss for name, loss in losses.items() if "rank" in name or "sort" in name}
    assert len(ranking) == 2 * (1 + 2 + 2 * 2 + 3)  # encoder, layers, auxiliary queries, RPN, RoI, ATSS
    for process in found:
        assert_equal({name: process[0][name] for name in ranking}, ranking, 1e-9)
    means = {name: (found[0][0][name] + found[1][0][name]) / 2 for name in losses if "loss" in name}
    assert_equal(means, {name: loss for name, loss in losses.items() if "loss" in name}, 1e-9)
    assert_equal(found[0][1], gradients, 1e-9)


def test_what_is_remembered_is_gathered_too(results) -> None:
    """Images of all processes, of this batch and the one before, rank together."""
    model = build("brs", gather=False, memory=1)
    for images, samples in (batch((1, 2), seed=4), batch((2, 3))):
        _, gradients = step(model, images, samples)
    assert_equal(results[0]["with memory"][1], gradients, 1e-9)
    apart = results[0]["brs", True, "objects"][1]
    assert any((apart[name] - value).abs().max() > 1e-3 * value.abs().max() for name, value in gradients.items())


def test_ranking_apart_and_together_differ(results) -> None:
    apart, together = (results[0]["brs", gather, "objects"][1] for gather in (False, True))
    name = "query_head.cls_branches.0.weight"
    assert (apart[name] - together[name]).abs().max() > 1e-3 * apart[name].abs().max()

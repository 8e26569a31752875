"""The examples of ``docs/examples`` run, learn, and stay short."""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

from brs_detr.losses import rank_sort_loss

FOLDER = Path(__file__).parents[2] / "docs" / "examples"
FILES = sorted(FOLDER.glob("*.py"))


@functools.cache
def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def example(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.cls.name)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small are slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ranking(losses: dict[str, float]) -> float:
    return sum(value for name, value in losses.items() if name.endswith(("rank", "sort")))


def assert_learns(losses: list[dict[str, float]]) -> None:
    values = torch.tensor([ranking(step) for step in losses])
    assert values.isfinite().all()
    assert values[-10:].mean() < 0.4 * values[:3].mean()


def assert_all_receive_gradients(model: torch.nn.Module) -> None:
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]
    assert without == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_has_less_than_60_lines_and_is_explained(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
    assert path.name in (FOLDER / "README.md").read_text()


def test_plain_torch_imports_torch_and_the_losses_alone() -> None:
    tree = ast.parse((FOLDER / "plain_torch.py").read_text())
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "torch", "brs_detr.losses"}


class TestPlainTorch:
    name = "plain_torch"

    def test_average_precision_of_unseen_candidates_rises(self, example: ModuleType) -> None:
        losses, (before, after) = example.main(steps=120)
        assert torch.tensor(losses).isfinite().all()
        assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
        assert before < 0.1 and after > 0.6

    def test_targets_are_the_iou_of_displaced_squares(self, example: ModuleType) -> None:
        features, targets = example.make_candidates(2000, torch.Generator().manual_seed(1))
        square = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        iou = box_iou(square + 2 * features[:, [0, 1, 0, 1]], square).squeeze(1)
        assert 5 < (targets > 0).sum() < 100
        torch.testing.assert_close(targets, torch.where(iou >= 0.5, iou, 0))

    def test_average_precision_is_what_its_definition_says(self, example: ModuleType) -> None:
        scores = torch.tensor([[0.9], [0.8], [0.7], [0.6], [0.5]])
        targets = torch.tensor([0.0, 0.6, 0.0, 0.9, 0.0])
        assert example.average_precision(torch.nn.Identity(), scores, targets) == pytest.approx((1 / 2 + 2 / 4) / 2)


class TestTorchvisionRetinaNet:
    name = "torchvision_retinanet"

    def test_finds_objects_in_unseen_pictures(self, example: ModuleType) -> None:
        losses, model = example.main(steps=80)
        assert_learns(losses)
        assert_all_receive_gradients(model)
        images, targets = example.make_images(16)
        with torch.no_grad():
            detections = model.eval()(images)
        found = [
            bool((box_iou(detected["boxes"][:1], target["boxes"]) > 0.5).any())
            and detected["labels"][:1].equal(target["labels"])
            for detected, target in zip(detections, targets, strict=True)
        ]
        assert sum(found) >= 12

    @staticmethod
    def losses(example: ModuleType, logits: Tensor, matched_inds: list[list[int]]) -> dict[str, Tensor]:
        """Return the losses of two images [2, 3 anchors, 2 classes], the second without objects."""
        head = example.RankSortHead(in_channels=64, num_anchors=1, num_classes=2)
        anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0], [0.0, 0.0, 10.0, 20.0]])
        targets = [
            {"boxes": torch.tensor([[0.0, 0.0, 10.0, 12.0]]), "labels": torch.tensor([1])},
            {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)},
        ]
        outputs = {"cls_logits": logits, "bbox_regression": torch.zeros(2, 3, 4, requires_grad=True)}
        return head.compute_loss(targets, outputs, [anchors, anchors], [torch.tensor(inds) for inds in matched_inds])

    def test_ranks_pictures_together_by_the_iou_of_decoded_boxes(self, example: ModuleType) -> None:
        logits = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0))
        logits[0, 2, 1] = logits[0, 0, 1] + 0.3  # the worse box ranks first
        losses = self.losses(example, logits, [[0, -1, 0], [-1, -1, -1]])
        dense = torch.zeros(2, 3, 2)
        dense[0, 0, 1], dense[0, 2, 1] = 10 / 12, 12 / 20
        expected = rank_sort_loss(logits.flatten(), dense.flatten())
        assert expected.rank > 0 and expected.sort > 0
        torch.testing.assert_close(losses["loss_rank"], expected.rank)
        torch.testing.assert_close(losses["loss_sort"], expected.sort)
        torch.testing.assert_close(losses["loss_iou"], expected.rank + expected.sort)

    def test_ignored_anchors_receive_nothing(self, example: ModuleType) -> None:
        logits = torch.zeros(2, 3, 2, requires_grad=True)
        self.losses(example, logits, [[0, -2, -1], [-1, -1, -2]])["loss_rank"].backward()
        assert logits.grad[0, 1].eq(0).all() and logits.grad[1, 2].eq(0).all()
        assert logits.grad[0, 0, 1] < 0 < logits.grad[1, 0, 0]

    def test_a_batch_without_objects_costs_nothing(self, example: ModuleType) -> None:
        losses = self.losses(example, torch.zeros(2, 3, 2, requires_grad=True), [[-1, -1, -1], [-1, -1, -1]])
        assert [value.item() for value in losses.values()] == [0, 0, 0]
        sum(losses.values()).backward()


class TestTransformersDeformableDetr:
    name = "transformers_deformable_detr"

    CONFIG = SimpleNamespace(class_cost=5, bbox_cost=5, giou_cost=2, num_labels=2)
    LABELS = [
        {"boxes": torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.7, 0.6, 0.2, 0.4]]), "class_labels": torch.tensor([1, 0])},
        {"boxes": torch.zeros(0, 4), "class_labels": torch.zeros(0, dtype=torch.long)},
    ]

    @staticmethod
    def outputs(example: ModuleType, labels: list[dict[str, Tensor]]) -> tuple[Tensor, ...]:
        """Return logits and boxes of three layers for two images, five queries and two classes, and their loss."""
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(3, 2, 5, 2, generator=generator).requires_grad_()
        boxes = (0.2 + 0.5 * torch.rand(3, 2, 5, 4, generator=generator)).requires_grad_()
        config = TestTransformersDeformableDetr.CONFIG
        return logits, boxes, *example.ranking_loss(logits[-1], labels, "cpu", boxes[-1], config, logits, boxes)

    def test_learns(self, example: ModuleType) -> None:
        losses, model = example.main(steps=60)
        assert_learns(losses)
        assert_all_receive_gradients(model)
        batch = example.make_images(32)
        with torch.no_grad():
            output = model.eval()(batch["pixel_values"])
        best = output.logits.flatten(1).argmax(1)
        labels = torch.cat([image["class_labels"] for image in batch["labels"]])
        assert (best % 2 == labels).sum() >= 26  # 16 by chance

    def test_each_layer_is_ranked_by_itself(self, example: ModuleType) -> None:
        logits, boxes, _, losses, _ = self.outputs(example, self.LABELS)
        objects, classes = self.LABELS[0]["boxes"], self.LABELS[0]["class_labels"]
        for layer in range(3):
            iou = box_iou(box_convert(boxes[layer, 0], "cxcywh", "xyxy"), box_convert(objects, "cxcywh", "xyxy"))
            candidates = []  # the matched pair of queries is one of these
            for first in range(5):
                for second in set(range(5)) - {first}:
                    targets = torch.zeros(2, 5, 2)
                    targets[0, first, classes[0]] = iou[first, 0].detach().clamp(min=1e-6)
                    targets[0, second, classes[1]] = iou[second, 1].detach().clamp(min=1e-6)
                    loss = rank_sort_loss(logits[layer].flatten(), targets.flatten())
                    candidates.append(torch.stack([loss.rank, loss.sort]))
            found = torch.stack([losses["rank"][layer], losses["sort"][layer]])
            assert torch.stack(candidates).sub(found).abs().amax(1).min() < 1e-6

    def test_every_layer_receives_gradients_and_boxes_weigh_as_much_as_the_ranking(self, example: ModuleType) -> None:
        logits, boxes, total, losses, _ = self.outputs(example, self.LABELS)
        total.backward()
        assert logits.grad.abs().sum((1, 2, 3)).gt(0).all()
        assert boxes.grad.abs().sum((1, 2, 3)).gt(0).all()
        assert boxes.grad[:, 1].eq(0).all()  # nothing to match
        assert total.item() == pytest.approx(2 * (losses["rank"] + losses["sort"]).sum().item(), rel=1e-5)

    def test_a_batch_without_objects_costs_nothing(self, example: ModuleType) -> None:
        logits, _, total, _, _ = self.outputs(example, [self.LABELS[1]] * 2)
        total.backward()
        assert total == 0 and logits.grad.eq(0).all()

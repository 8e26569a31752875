"""What was found in a dataset: faults by kind, counted, with examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from brs_detr.data import kinds
from brs_detr.data.kinds import FaultKind
from brs_detr.errors import UserError
from brs_detr.printable import cut, printable
from brs_detr.runtime.images import TooLargeImage, UnreadableImage

_NUM_KEPT = 50
_NUM_SHOWN = 3
_MAX_CHARACTERS = 500

Fault = tuple[FaultKind, str]
"""A kind of fault, and a text that says where it is."""


def kind_of(error: UnreadableImage) -> FaultKind:
    """Why an image cannot be read."""
    return kinds.LARGE_IMAGE if isinstance(error, TooLargeImage) else kinds.UNREADABLE_IMAGE


@dataclass(frozen=True)
class Example:
    """One fault.

    Args:
        text: names its file or id.
        image_id: id of its image.
        file_name: of that image, as the dataset writes it.
        annotation_id: id of its annotation.
        files: image files to look at.
    """

    text: str
    image_id: int | None = None
    file_name: str | None = None
    annotation_id: int | None = None
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", cut(printable(self.text), _MAX_CHARACTERS))  # it may quote anything


@dataclass(frozen=True)
class Finding:
    """All faults of one kind.

    Args:
        kind: of the faults.
        count: how many there are.
        shown: the first ones.
        total: number of images, boxes or classes among which they are, where that tells more.
    """

    kind: FaultKind
    count: int
    shown: tuple[Example, ...]
    total: int | None = None

    @classmethod
    def of(cls, kind: FaultKind, faults: Sequence[str | Example], total: int | None = None) -> Finding:
        """Count faults and keep the first ones as examples."""
        kept = (fault if isinstance(fault, Example) else Example(fault) for fault in faults[:_NUM_KEPT])
        return cls(kind, len(faults), tuple(kept), total)

    def joined(self, other: Finding) -> Finding:
        """This finding and another one of the same kind as one."""
        total = None if self.total is None or other.total is None else self.total + other.total
        shown = (*self.shown, *other.shown)[:_NUM_KEPT]
        return replace(self, count=self.count + other.count, shown=shown, total=total)

    @property
    def amount(self) -> str:
        """The count, and the total where there is one."""
        return str(self.count) if self.total is None else f"{self.count} of {self.total}"

    @property
    def examples(self) -> tuple[str, ...]:
        """Texts of the first few examples."""
        return tuple(example.text for example in self.shown[:_NUM_SHOWN])

    def __str__(self) -> str:
        more = f"; and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return f"{self.kind.what}: {self.amount} ({'; '.join(self.examples)}{more})"


@dataclass(frozen=True)
class Findings:
    """What was found in one annotation file and its images, one entry for each kind of fault."""

    file: Path
    found: tuple[Finding, ...] = ()

    @property
    def fatal(self) -> tuple[Finding, ...]:
        """Findings that make training impossible or meaningless."""
        return tuple(finding for finding in self.found if finding.kind.is_fatal)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that are handled, and that the user should know of."""
        return tuple(finding for finding in self.found if finding.kind.severity == "warning")

    @property
    def are_of_entries(self) -> bool:
        """Whether entries are malformed or too many, so that nothing else was checked."""
        return bool(self.count(kinds.MALFORMED) or self.count(kinds.TOO_MANY_CLASSES))

    def count(self, kind: FaultKind) -> int:
        """Number of faults of one kind."""
        return sum(finding.count for finding in self.found if finding.kind == kind)

    def refuse_fatal(self) -> None:
        """Raise one UserError that names every fatal finding, if there is any."""
        if self.fatal:
            raise UserError(f"{self.file} cannot be used:{listed(self.fatal)}")


def listed(findings: Iterable[Finding]) -> str:
    """Findings with their cures, each on lines of its own."""
    return "".join(f"\n  - {finding}\n      {finding.kind.cure}" for finding in findings)


def findings_of(faults: Iterable[tuple[FaultKind, str | Example]]) -> tuple[Finding, ...]:
    """Gather faults by kind, kinds in the order of their first fault."""
    examples: dict[FaultKind, list[str | Example]] = {}
    for kind, example in faults:
        examples.setdefault(kind, []).append(example)
    return tuple(Finding.of(kind, texts) for kind, texts in examples.items())


def merged(file: Path, *parts: Iterable[Finding]) -> Findings:
    """Join findings, those of one kind into one."""
    by_kind: dict[FaultKind, Finding] = {}
    for part in parts:
        for finding in part:
            by_kind[finding.kind] = by_kind[finding.kind].joined(finding) if finding.kind in by_kind else finding
    return Findings(file, tuple(by_kind.values()))

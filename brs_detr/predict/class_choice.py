"""Which classes a user asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from brs_detr.errors import UserError, did_you_mean, shortened


def choose_labels(text: str, class_names: Sequence[str]) -> list[int]:
    """Labels of the classes that a text names, with commas between them; one at the end is passed over.

    Args:
        text: such as `car, bus`. A class name may hold commas itself; quotation marks around it are needed only where
            the text could be read in two ways: `"a, b",c`.
        class_names: of the model.

    Raises:
        UserError: a class is unknown, or the text can be read in two ways.
    """
    known = {name.strip(): name for name in class_names}
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError(f"--classes {text!r} names no class.", f"The model knows: {shortened(class_names)}.")
    readings = list(_readings(text.split(","), known)) or list(_readings(parts, known))
    if not readings:
        name = next((part for part in map(str.strip, parts) if part not in known), text)
        raise UserError(f"The model knows no class {name!r}.", did_you_mean(name, class_names))
    if len(readings) > 1:
        first, second = (" and ".join(map(repr, reading)) for reading in readings[:2])
        raise UserError(
            f"--classes {text!r} may mean {first}, or {second}.",
            """Put a name that holds a comma into quotation marks, as '"a, b",c', and leave no space between names.""",
        )
    return [label for label, name in enumerate(class_names) if name in readings[0]]


def _readings(parts: Sequence[str], known: Mapping[str, str]) -> Iterator[list[str]]:
    """All ways to join neighbouring parts into known names."""
    if not parts:
        yield []
    for count in range(1, len(parts) + 1):
        name = ",".join(parts[:count]).strip()
        is_quoted = len(name) > 2 and name[0] == name[-1] == '"'
        name = known.get(name) or known.get(name[1:-1] if is_quoted else "", "")
        if name:
            yield from ([name, *rest] for rest in _readings(parts[count:], known))

"""Questions in the user's words: a place in the network's outputs, and how its elements are summed.

class:dog            the score of a class, the best box of it, or its whole area in a map of classes
class:dog@120,80     a class at a pixel (y, x) of the image
score:281            an element of the output
box:1                the class of the first box; box:1/left, /top, /right, /bottom, /object
letter:4             a letter of the text that is read
landmark:12          landmark:12/x and /y where the network gives coordinates
same:other.png       how alike the embeddings of two images are: the cosine of their angle
pixel:0,12,12        a pixel (channel, y, x) of the output
mean                 the mean of the output
length               the length of an embedding
class:dog-class:cat  the difference of two questions
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from onnxscope.ask import tasks
from onnxscope.ask.asked import OPTION, Asked, difference
from onnxscope.ask.boxes import EDGES, Box, boxes
from onnxscope.ask.tasks import Task
from onnxscope.errors import BadOption
from onnxscope.files.pixels import channels_last, flat_index, parse_pixel
from onnxscope.rewriting.build import Place

KINDS = ("class", "score", "box", "letter", "landmark", "same", "pixel")
PATTERN = re.compile(rf"(?:{'|'.join(KINDS)}):.+|mean|length")
CONTRAST = re.compile(rf"(?P<first>.+?)-(?P<second>{PATTERN.pattern})")
MOST_BOXES, MOST_NAMES = 5, 10  # that an error lists


class Reader:
    """Understands questions about one image: its outputs are known."""

    def __init__(
        self,
        task: Task,
        arrays: Mapping[str, np.ndarray],
        size: tuple[int, int] | None,
        labels: Sequence[str] = (),
        embedded: Callable[[str], np.ndarray] | None = None,
        layout: str = "auto",
    ) -> None:
        """`arrays` are the tensors that explain the outputs, by the outputs' names; `size` is the image's.

        `embedded` reads a file and computes the main output for it.
        """
        self.task, self.arrays, self.size, self.labels = task, arrays, size, list(labels)
        self._embedded, self.layout = embedded, layout

    def understood(self, text: str) -> Asked:
        """A question, or the difference of two."""
        text = text.strip()
        if found := CONTRAST.fullmatch(text):
            first, second = self.term(found["first"].strip()), self.term(found["second"].strip())
            return difference(text, first, second)
        return self.term(text)

    def term(self, text: str) -> Asked:
        if not PATTERN.fullmatch(text):
            raise BadOption(
                f"'{text}' is no question",
                where=OPTION,
                remedy="ask for class:NAME, class:NAME@Y,X, score:N, box:N, box:N/left, letter:N, "
                "landmark:N, same:FILE, pixel:C,Y,X, mean or length, or for a difference A-B",
            )
        kind, _, rest = text.partition(":")
        return getattr(self, f"of_{kind}")(text, rest)  # type: ignore[no-any-return]

    # what is known of the image

    @property
    def output(self) -> str:
        """The output that questions are about where they name no other."""
        if self.task.main is None:
            raise BadOption(
                "no output of the network can be explained", where=OPTION, remedy="see 'onnxscope doctor'"
            )
        return self.task.main.output

    @property
    def main(self) -> np.ndarray:
        return np.asarray(self.arrays[self.output])

    @property
    def tensor(self) -> str:
        return self.tensor_of(self.output)

    def tensor_of(self, output: str) -> str:
        """The tensor that explains an output."""
        return next(o.explained for o in self.task.outputs if o.name == output and o.explained)

    @cached_property
    def boxes(self) -> list[Box]:
        if self.task.layout is None or self.size is None:
            self.refuse("box")
        assert self.task.layout is not None and self.size is not None
        return boxes(self.task.layout, self.arrays, self.size)

    @cached_property
    def maps(self) -> np.ndarray:
        """[rows, columns, classes]"""
        return channels_last(self.main, self.layout)

    @property
    def classes(self) -> np.ndarray:
        """[rows, columns]: the class of each place."""
        return np.asarray(self.maps.argmax(2))

    @cached_property
    def letters(self) -> list[tuple[int, int]]:
        """The step and the class of each letter that is read: repeated ones count once, and blanks not."""
        best = self.main.reshape(-1, self.main.shape[-1]).argmax(1)
        blank = (
            self.main.shape[-1] - 1 if (best == self.main.shape[-1] - 1).mean() > (best == 0).mean() else 0
        )
        return [(t, int(k)) for t, k in enumerate(best) if k != blank and (t == 0 or best[t - 1] != k)]

    @property
    def text(self) -> str:
        """The text that is read."""
        return "".join(self.labels[k] if k < len(self.labels) else f"[{k}]" for _, k in self.letters)

    @property
    def heat(self) -> bool:
        """Whether landmarks are the peaks of heat maps."""
        return self.main.ndim == 4 and min(self.main.shape[2:]) > 1

    @cached_property
    def landmarks(self) -> np.ndarray:
        """[landmarks, elements]: the elements of each landmark's heat map, or those of its x, y and more."""
        numbers = np.arange(self.main.size).reshape(self.main.shape)
        if self.heat:
            points = channels_last(numbers, self.layout)
            return np.asarray(points.reshape(-1, points.shape[2]).T)
        return numbers.reshape(-1, 3 if self.main.shape[-1] == 3 or self.main.size % 2 else 2)

    def label(self, k: int) -> str:
        return f"{self.labels[k]} ({k})" if k < len(self.labels) else str(k)

    def class_number(self, name: str, count: int) -> int:
        """The number of a class, by its number or its label."""
        if name in self.labels and self.labels.index(name) < count:
            return self.labels.index(name)
        if name.isdecimal() and int(name) < count:
            return int(name)
        if not self.labels:
            known = f"numbers below {count}, as there are no labels: give them with --labels"
        else:
            known = "such as " + ", ".join(self.labels[:MOST_NAMES])
        raise BadOption(f"there is no class '{name}'", where=OPTION, remedy=f"the classes are {known}")

    def refuse(self, kind: str) -> None:
        raise BadOption(
            f"'{kind}:…' does not fit a network that gives {self.task.name}",
            where=OPTION,
            remedy="ask for score:N, pixel:C,Y,X or mean, or correct the task with --task",
        )

    def need(self, kind: str, *fitting: str) -> None:
        if self.task.name not in fitting:
            self.refuse(kind)

    # the kinds of questions

    def at(self, text: str, words: str, *elements: int) -> Asked:
        """The mean of some elements of the main output."""
        return Asked(text, words, {Place(self.tensor): dict.fromkeys(elements, 1 / len(elements))})

    def of_score(self, text: str, rest: str) -> Asked:
        size = self.main.size
        if self.task.name == tasks.SCORES and rest in self.labels:
            rest = str(self.labels.index(rest))
        if not rest.isdecimal() or int(rest) >= size:
            raise BadOption(f"there is no score '{rest}'", where=OPTION, remedy=f"give a number below {size}")
        name = self.label(int(rest)) if self.task.name == tasks.SCORES else rest
        return self.at(text, f"the score {name}", int(rest))

    def of_class(self, text: str, rest: str) -> Asked:
        self.need("class", tasks.SCORES, tasks.BOXES, tasks.CLASS_MAP)
        name, _, place = rest.partition("@")
        if self.task.name == tasks.SCORES:
            k = self.class_number(rest, self.main.size)
            return self.at(text, f"the score of class {self.label(k)}", k)
        if self.task.name == tasks.BOXES:
            k = self.class_number(name, 1 << 20)
            found = next((n for n, box in enumerate(self.boxes, 1) if box.label == k), None)
            if found is None:
                self.no_box(f"of class {self.label(k)}")
            return self.of_box(text, str(found))
        k = self.class_number(name, self.maps.shape[2])
        numbers = channels_last(np.arange(self.main.size).reshape(self.main.shape), self.layout)[..., k]
        if place:
            y, x = self.cell(place)
            return self.at(text, f"class {self.label(k)} at {place}", int(numbers[y, x]))
        area = self.classes == k
        if not area.any():
            present = ", ".join(self.label(c) for c in np.unique(self.classes)[:MOST_NAMES])
            raise BadOption(
                f"no pixel is of class {self.label(k)}", where=OPTION, remedy=f"there are {present}"
            )
        return self.at(
            text, f"class {self.label(k)} in its area of {area.sum():,} pixels", *map(int, numbers[area])
        )

    def cell(self, place: str) -> tuple[int, int]:
        """The row and the column of the map at a pixel of the image."""
        pixel = parse_pixel(place)
        numbers = (pixel,) if isinstance(pixel, int) else tuple(pixel)
        rows, columns = self.size or self.maps.shape[:2]
        if len(numbers) != 2 or not (0 <= numbers[0] < rows and 0 <= numbers[1] < columns):
            raise BadOption(
                f"there is no pixel '{place}'", where=OPTION, remedy=f"give Y,X inside of {rows}x{columns}"
            )
        return numbers[0] * self.maps.shape[0] // rows, numbers[1] * self.maps.shape[1] // columns

    def no_box(self, what: str) -> None:
        known = [
            f"box:{n} {self.label(b.label)} {b.score:.2f}" for n, b in enumerate(self.boxes[:MOST_BOXES], 1)
        ]
        raise BadOption(f"there is no box {what}", where=OPTION, remedy=f"there are {', '.join(known)}")

    def of_box(self, text: str, rest: str) -> Asked:
        self.need("box", tasks.BOXES)
        number, _, part = rest.partition("/")
        if not number.isdecimal() or not 1 <= int(number) <= len(self.boxes):
            self.no_box(number)
        box, part = self.boxes[int(number) - 1], part or "class"
        if part not in box.places:
            raise BadOption(f"a box has no '{part}'", where=OPTION, remedy=f"ask for {', '.join(box.places)}")
        weights, constant = box.places[part]
        words = {"class": f"class {self.label(box.label)}", "object": "that there is an object"}.get(
            part, f"{part} edge"
        )
        edges = ", ".join(f"{e:.0f}" for e in box.edges)
        words = f"box {number} ({edges}; score {box.score:.2f}): {words}"
        return Asked(
            text,
            words,
            {Place(self.tensor_of(o)): dict(w) for o, w in weights.items()},
            constant,
            part in EDGES,
        )

    def of_letter(self, text: str, rest: str) -> Asked:
        self.need("letter", tasks.TEXT)
        if not rest.isdecimal() or not 1 <= int(rest) <= len(self.letters):
            raise BadOption(
                f"there is no letter {rest}",
                where=OPTION,
                remedy=f"{len(self.letters)} were read: {self.text}",
            )
        step, k = self.letters[int(rest) - 1]
        return self.at(
            text, f"letter {rest} of '{self.text}': {self.label(k)}", step * self.main.shape[-1] + k
        )

    def of_landmark(self, text: str, rest: str) -> Asked:
        self.need("landmark", tasks.POINTS)
        number, _, axis = rest.partition("/")
        points = self.landmarks
        if not number.isdecimal() or not 1 <= int(number) <= len(points):
            raise BadOption(
                f"there is no landmark {number}",
                where=OPTION,
                remedy=f"give a number from 1 to {len(points)}",
            )
        place = points[int(number) - 1]
        if self.heat:
            if axis:
                raise BadOption(
                    "heat maps have no coordinates",
                    where=OPTION,
                    remedy=f"ask for landmark:{number}, its peak",
                )
            return self.at(
                text, f"the peak of landmark {number}", int(place[self.main.reshape(-1)[place].argmax()])
            )
        if axis not in ("", "x", "y"):
            raise BadOption(f"a landmark has no '{axis}'", where=OPTION, remedy="ask for x or y")
        k = int(place[1 if axis == "y" else 0])
        return Asked(
            text, f"{axis or 'x'} of landmark {number}", {Place(self.tensor): {k: 1.0}}, coordinate=True
        )

    def of_same(self, text: str, rest: str) -> Asked:
        self.need("same", tasks.EMBEDDING, tasks.SCORES, tasks.NUMBERS)
        if self._embedded is None:
            raise BadOption("needs the model", where=OPTION, remedy="open the model with onnxscope.load")
        weights = unit(self._embedded(rest))
        words = f"how alike the embedding is to that of {rest}: the cosine of their angle"
        return Asked(text, words, {Place(self.tensor, unit=True): dict(enumerate(weights))})

    def of_length(self, text: str, rest: str) -> Asked:
        """In the direction that the embedding has, its length is a sum of its elements."""
        self.need("length", tasks.EMBEDDING, tasks.SCORES, tasks.NUMBERS)
        return Asked(
            text, "the length of the embedding", {Place(self.tensor): dict(enumerate(unit(self.main)))}
        )

    def of_pixel(self, text: str, rest: str) -> Asked:
        return self.at(
            text, f"pixel {rest} of the output", flat_index(self.main.shape, parse_pixel(rest), self.layout)
        )

    def of_mean(self, text: str, rest: str) -> Asked:
        return self.at(text, "the mean of the output", *range(self.main.size))


def unit(vector: np.ndarray) -> list[float]:
    """Its elements, divided by its length."""
    flat = vector.reshape(-1).astype(np.float64)
    return (flat / max(float(np.linalg.norm(flat)), 1e-30)).tolist()  # type: ignore[no-any-return]

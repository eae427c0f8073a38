"""A small encoder of attributes, trained with its UNet, for networks that do without BiomedCLIP's weights.

A token is the projected sum of what is known of one attribute: which attribute it is, the phrases of its value (each a
row of a table), and the numbers in it (Fourier features; Tancik et al. 2020, eq. 5), so that 40 HU and 60 HU are near
each other and told apart. A phrase outside the vocabulary has one learned vector, "unknown": sub-words hashed to rows
would give a word that no training saw the noise of an untrained row. Training meets the unknown by hiding values (any
phrase it does not have, such as `HIDDEN`), and nothing at all by giving `{}`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.context import Attributes, token_count

HIDDEN = "?"
"""A value that says nothing: the attribute is asked for, its value left open."""

_NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.IGNORECASE)  # the 3 of "mm3" is none
_NUMBERS_AT_MOST = 3  # a size has three extents
_NUMBER_SCALE = 10.0  # below, numbers are told apart by their difference, above by their ratio
_OCTAVES = range(-2, 6)
_NOTHING, _UNKNOWN, _UNKNOWN_ATTRIBUTE, _KNOWN_ROWS = range(4)


@dataclass(frozen=True, kw_only=True)
class AttributeConfig:
    """Attributes with the phrases they take; one without phrases takes numbers. Phrases are matched in any case.

    `channels` is a token's width, `width` that of the table inside.
    """

    vocabulary: tuple[tuple[str, tuple[str, ...]], ...]
    channels: int = 512
    width: int = 64

    def __post_init__(self) -> None:
        if min(self.channels, self.width) < 1:
            raise ValueError(f"channels {self.channels} and width {self.width} must be 1 or more")
        names = [name for name, _ in self.vocabulary]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the vocabulary has {', '.join(twice)} more than once")
        for name, phrases in self.vocabulary:
            if [*map(_plain, phrases)] != [part for phrase in phrases for part in _phrases(phrase)]:
                raise ValueError(f"the phrases of '{name}' must not be empty nor hold a comma")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From `to_json`, before or after JSON made lists of its tuples. Raises ValueError."""
        if unknown := sorted(set(data) - {field.name for field in fields(cls)}):
            raise ValueError(f"an attribute encoder has no '{unknown[0]}'")
        vocabulary = tuple((name, tuple(phrases)) for name, phrases in data["vocabulary"])
        return cls(**{**data, "vocabulary": vocabulary})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _phrases(value: str) -> list[str]:
    """ "round-like, protrusion into the lumen," -> its two phrases."""
    return [phrase for phrase in map(_plain, value.split(",")) if phrase]


class _Token(NamedTuple):
    """What a token is made of: rows of the table that are added up, and numbers."""

    rows: list[int]
    numbers: list[float]


def fourier_features(numbers: Tensor) -> Tensor:
    """(n k), NaN where there is none -> (n k (2 octaves + 2)): is it there, u, sin(2^o u), cos(2^o u).

    u = asinh(x / 10) is about linear below 10 and logarithmic above, so one map serves HU, millimetres and volumes.
    """
    given = ~numbers.isnan()
    u = torch.asinh(numbers.nan_to_num() / _NUMBER_SCALE)[..., None]
    angles = u * torch.tensor([2.0**octave for octave in _OCTAVES], device=numbers.device)
    features = torch.cat([torch.ones_like(u), u, angles.sin(), angles.cos()], dim=-1)
    return features * given[..., None]


class AttributeEncoder(nn.Module):
    """Attributes to tokens, as `models.context.ContextEncoder`; everything in it is learned."""

    def __init__(self, config: AttributeConfig) -> None:
        super().__init__()
        self.config = config
        self._row: dict[tuple[str, str | None], int] = {}  # of an attribute (None), or of one of its phrases
        self._numeric = {name for name, phrases in config.vocabulary if not phrases}
        for name, phrases in config.vocabulary:
            for phrase in (None, *map(_plain, phrases)):
                self._row.setdefault((name, phrase), _KNOWN_ROWS + len(self._row))
        self.table = nn.Embedding(_KNOWN_ROWS + len(self._row), config.width)
        features = _NUMBERS_AT_MOST * (2 * len(_OCTAVES) + 2)
        self.number = nn.Sequential(nn.Linear(features, config.width), nn.SiLU(), nn.Linear(config.width, config.width))
        self.project = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.channels))

    @property
    def channels(self) -> int:
        return self.config.channels

    def encode(self, batch: Sequence[Attributes]) -> Tensor:
        """As `ContextEncoder.encode`, on the weights' device; gradients flow. Filled up with the token of nothing."""
        count = token_count(batch)
        nothing = _Token([_NOTHING], [])
        tokens: list[_Token] = []
        for attributes in batch:
            known = [self._token(name, value) for name, value in attributes.items()]
            tokens += [*known, *[nothing] * (count - len(known))]
        encoded: Tensor = self(tokens)
        return encoded.view(len(batch), count, self.channels)

    def forward(self, tokens: Sequence[_Token]) -> Tensor:
        """(tokens channels), float32."""
        device = self.table.weight.device
        rows = torch.tensor([row for token in tokens for row in token.rows], device=device)
        starts = torch.tensor([0, *(len(token.rows) for token in tokens[:-1])], device=device).cumsum(0)
        summed = F.embedding_bag(rows, self.table.weight, starts, mode="sum")
        padded = [token.numbers + [math.nan] * (_NUMBERS_AT_MOST - len(token.numbers)) for token in tokens]
        numbers = torch.tensor(padded, device=device)
        is_number = ~numbers.isnan().all(dim=1, keepdim=True)
        summed = summed + self.number(fourier_features(numbers).flatten(1).to(summed.dtype)) * is_number
        projected: Tensor = self.project(summed)
        return projected.float()

    def _token(self, name: str, value: str) -> _Token:
        """An attribute without a value is its own row alone."""
        row = self._row.get((name, None), _UNKNOWN_ATTRIBUTE)
        numbers = [float(n) for n in _NUMBER.findall(value)[:_NUMBERS_AT_MOST]] if name in self._numeric else []
        if numbers:
            return _Token([row], numbers)
        return _Token([row, *(self._row.get((name, phrase), _UNKNOWN) for phrase in _phrases(value))], [])

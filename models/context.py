"""What a UNet is told about a lesion: one context token per attribute value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

Attributes = Mapping[str, str]
"""Attribute -> value, such as {"shape": "round-like,", "CT value": "57.0 HU,"}. The order is that of the tokens."""


class ContextEncoder(Protocol):
    """Attributes to tokens: BiomedCLIP's text tower (`models.text`) or a small trained one (`models.attributes`)."""

    @property
    def channels(self) -> int:
        """Width of a token: the UNet's `context_channels`."""
        ...

    def encode(self, batch: Sequence[Attributes]) -> Tensor:
        """Tokens (b n c), float32; n is that of the longest description, one at least.

        Shorter ones are filled up with tokens of nothing; nobody is told which these are, so a description has the
        same effect in any batch only beside others of its own length. `{}` is nothing at all: what condition dropout
        trains with, and guidance compares to. Raises ValueError for an empty batch.
        """
        ...


@dataclass(frozen=True)
class Silent:
    """Tells nothing of any lesion, as in training where descriptions were dropped."""

    text: ContextEncoder

    @property
    def channels(self) -> int:
        return self.text.channels

    def encode(self, batch: Sequence[Attributes]) -> Tensor:
        """The token of nothing for each (b 1 c)."""
        return self.text.encode([{}] * len(batch))


def token_count(batch: Sequence[Attributes]) -> int:
    """Tokens of every description of a batch: those of the longest, one at least. Raises ValueError without any."""
    if not batch:
        raise ValueError("no descriptions to encode: the batch is empty")
    return max(1, *(len(attributes) for attributes in batch))

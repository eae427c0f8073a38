"""What a UNet is given beside x_t: channels that say where the lesion is, tokens that say what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.context import Attributes, ContextEncoder
from models.diffusion import Denoiser, Noising, guided
from models.unet import UNet


@dataclass(frozen=True)
class Told:
    """Tokens (b n c) of a batch, None where the text is off; and, where guidance compares, those of nothing (b 1 c)."""

    tokens: Tensor | None = None
    nothing: Tensor | None = None


@dataclass(frozen=True)
class Conditioning:
    """The UNet's attributes: through `text`, None leaves them out; `guidance` 1 is as they were learned.

    Guidance (Ho & Salimans 2022) is for networks trained with descriptions dropped; it doubles the work.
    """

    text: ContextEncoder | None = None
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if self.text is None and self.guidance != 1.0:
            raise ValueError(f"guidance {self.guidance:g} strengthens the text, and the text is off")

    def tell(self, batch: Sequence[Attributes]) -> Told:
        """Descriptions with the same number of attributes: others would be filled up, and change by it.

        Raises ValueError where the numbers differ.
        """
        if self.text is None:
            return Told()
        if len(counts := {len(attributes) for attributes in batch}) > 1:
            raise ValueError(f"descriptions of {sorted(counts)} attributes in one batch: each would change the others")
        nothing = None if self.guidance == 1.0 else self.text.encode([{}] * len(batch))
        return Told(self.text.encode(batch), nothing)

    def denoiser(self, unet: UNet, beside: Tensor, told: Told) -> Denoiser:
        """eps of x_t (b c z y x), with `beside` (b . z y x) joined to its channels; in float32."""
        noising = Noising.of(device=beside.device)

        def given(tokens: Tensor | None) -> Denoiser:
            def eps(x: Tensor, t: Tensor) -> Tensor:
                out: Tensor = unet(torch.cat([x, beside], dim=1), t, tokens)
                said = out[:, : x.shape[1]].float()
                return said if unet.config.predicts == "noise" else noising.noise_in(x, said, t)

            return eps

        if told.nothing is None:
            return given(told.tokens)
        return guided(given(told.tokens), given(told.nothing), self.guidance)

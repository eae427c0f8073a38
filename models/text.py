"""BiomedCLIP's text tower: one context token per attribute value.

Zhang et al. 2023 (BiomedCLIP): PubMedBERT (Gu et al. 2021), of which the [CLS] token of the last layer is projected:
768 -> 640 -> GELU -> 512, without bias and without normalisation. Module names follow the published checkpoints, where
they stand under `cond_stage_model.`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.context import Attributes, token_count
from models.openclip import open_clip

Tokeniser = Callable[[list[str]], Tensor]
"""Texts -> token ids (texts length), padded with 0."""

CACHED_TEXTS = 4096  # 8 MiB; reports have some hundred different values, and one more per CT value


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Sizes of a BERT with a projection."""

    vocabulary: int = 30_522
    width: int = 768
    layers: int = 12
    heads: int = 12
    feedforward: int = 3072
    positions: int = 512
    channels: int = 512
    text_length: int = 256
    """Word pieces of a text at most, [CLS] and [SEP] included; what is longer is cut."""


PUBLISHED_TEXT = TextConfig()


class TextTower(nn.Module):
    """Token ids -> one vector a text. Frozen, and without weights until `load_state_dict` brings them.

    Until then they are on the meta device: nobody trains this tower, so nothing is drawn for it (that takes seconds),
    and using it unloaded fails instead of giving noise.
    """

    def __init__(self, config: TextConfig = PUBLISHED_TEXT) -> None:
        super().__init__()
        self.config = config
        with torch.device("meta"):
            encoder = _hf_text_encoder(config)
        bert = encoder.transformer
        bert.pooler = None  # unused, and not in the checkpoints
        # constants that no checkpoint holds
        bert.embeddings.position_ids = torch.arange(config.positions, device="cpu")[None]
        bert.embeddings.token_type_ids = torch.zeros((1, config.positions), dtype=torch.long, device="cpu")
        self.model: nn.Module = encoder
        self.register_load_state_dict_pre_hook(_forget_position_ids)  # type: ignore[no-untyped-call]
        self.requires_grad_(False).eval()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = True) -> Any:
        """As torch's, but the tensors given are taken as they are: there is nothing yet to copy them to."""
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def forward(self, ids: Tensor) -> Tensor:
        """(texts length), 0 where there is no text -> (texts channels)."""
        vectors: Tensor = self.model(ids)
        return vectors


def _hf_text_encoder(config: TextConfig) -> Any:
    hf_model = open_clip().hf_model
    bert = hf_model.transformers.BertConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.feedforward,
        max_position_embeddings=config.positions,
    )
    return hf_model.HFTextEncoder(
        "bert",
        config=bert,
        output_dim=config.channels,
        pooler_type="cls_last_hidden_state_pooler",
        proj_type="mlp",
        pretrained=False,
    )


def _forget_position_ids(_module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Written by transformers before 4.31: 0, 1, 2, ..., which a tower knows by itself."""
    state_dict.pop(f"{prefix}model.transformer.embeddings.position_ids", None)


class TextEncoder:
    """Attributes -> tokens by a text tower, whose weights must not change any more. Every text is encoded once.

    A text goes through the tower by itself and without padding, so its vector depends on nothing else, to the bit: not
    on its batch, nor on what was encoded before. Padding changes nothing but the rounding (attention leaves it out,
    and only [CLS] is read) and takes five times as long: attribute values have about ten of the 256 word pieces.
    """

    def __init__(self, tower: TextTower, tokenise: Tokeniser, *, cached_texts: int = CACHED_TEXTS) -> None:
        self.tower, self.tokenise, self.cached_texts = tower, tokenise, cached_texts
        self._vectors: OrderedDict[str, Tensor] = OrderedDict()  # the least recently used first

    @property
    def channels(self) -> int:
        return self.tower.config.channels

    def encode(self, batch: Sequence[Attributes]) -> Tensor:
        """As `ContextEncoder.encode`, on the tower's device. Short descriptions are filled up with vectors of ""."""
        count = token_count(batch)
        texts = [[*attributes.values(), *[""] * (count - len(attributes))] for attributes in batch]
        return torch.stack([torch.stack([self._vector(text) for text in row]) for row in texts])

    def _vector(self, text: str) -> Tensor:
        """(channels), remembered."""
        if text not in self._vectors:
            self._vectors[text] = self._through_tower(text)
            if len(self._vectors) > self.cached_texts:
                self._vectors.popitem(last=False)
        self._vectors.move_to_end(text)
        return self._vectors[text]

    @torch.no_grad()
    def _through_tower(self, text: str) -> Tensor:
        ids = self.tokenise([text])
        weight = next(self.tower.parameters())
        ids = ids[:, : int((ids != 0).sum())].to(weight.device)
        with torch.autocast(weight.device.type, enabled=False):  # whatever the networks around run in
            vector: Tensor = self.tower(ids)[0].float()
        return vector

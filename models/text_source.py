"""Where a text tower comes from: a local folder, or a name on the Hugging Face hub that becomes one.

The folder holds the tokenizer (`tokenizer.json` or `vocab.txt`), may hold sizes other than the published ones
(`config.json` of a BERT, `open_clip_config.json`), and, where no checkpoint brings the weights,
`open_clip_model.safetensors` or `open_clip_pytorch_model.bin`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.openclip import open_clip
from models.tensor_file import read_tensors
from models.text import PUBLISHED_TEXT, TextConfig, TextEncoder, TextTower

BIOMEDCLIP = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
_TOKENIZERS = ("tokenizer.json", "vocab.txt")
_SMALL_FILES = (
    *_TOKENIZERS,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "config.json",
    "open_clip_config.json",
)
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_BERT_SIZES = {
    "vocab_size": "vocabulary",
    "hidden_size": "width",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "intermediate_size": "feedforward",
    "max_position_embeddings": "positions",
}


class TextSourceError(ValueError):
    """A text tower's folder or hub name that cannot be used, and what would be right."""


def load_text_encoder(
    source: str | Path = BIOMEDCLIP,
    weights: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
) -> TextEncoder:
    """Tokenizer and sizes from a folder or a hub name; weights, keyed as in `TextTower`, from there too if not given.

    Raises TextSourceError (nothing of that name, files missing, weights that do not fit), CheckpointError (weights
    that cannot be read).
    """
    folder = find_folder(source, with_weights=weights is None)
    config = read_text_config(folder)
    tokeniser = _tokeniser(folder, config)
    tower = TextTower(config)
    given = read_text_weights(folder) if weights is None else weights
    _check_fit(tower, given, f"text weights of '{folder}'" if weights is None else "the checkpoint's text weights")
    tower.load_state_dict(given)
    return TextEncoder(tower.to(device), tokeniser)


def find_folder(source: str | Path, *, with_weights: bool) -> Path:
    """A local folder as it is; a hub name ("owner/model") downloaded, or from the hub's cache without a network."""
    folder = Path(source)
    if not folder.is_dir():
        folder = _from_hub(str(source), [*_SMALL_FILES, *(_WEIGHTS if with_weights else ())])
    for needed in (_TOKENIZERS, *([_WEIGHTS] if with_weights else [])):
        if not any((folder / name).is_file() for name in needed):
            raise TextSourceError(f"the text tower's folder '{folder}' lacks {' or '.join(needed)}")
    return folder


def _from_hub(name: str, files: list[str]) -> Path:
    from huggingface_hub import snapshot_download  # only here is it needed, and a folder works without it
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (OSError, ValueError, HfHubHTTPError) as error:
        wanted = f"{' or '.join(_TOKENIZERS)}" + (f", and {' or '.join(_WEIGHTS)}" if _WEIGHTS[0] in files else "")
        raise TextSourceError(
            f"text tower '{name}': no such folder, and the hub does not give it ({type(error).__name__}); "
            f"name a folder that holds {wanted}, copied from {BIOMEDCLIP}"
        ) from error


def read_text_config(folder: Path) -> TextConfig:
    """The published sizes, but for what the folder's files say."""
    config = PUBLISHED_TEXT
    bert = _read_json(folder / "config.json")
    if bert.get("model_type", "bert") != "bert":
        raise TextSourceError(f"'{folder / 'config.json'}' is of a '{bert['model_type']}' model, a bert is wanted")
    config = replace(config, **{ours: bert[theirs] for theirs, ours in _BERT_SIZES.items() if theirs in bert})
    clip = _read_json(folder / "open_clip_config.json").get("model_cfg", {})
    return replace(
        config,
        channels=clip.get("embed_dim", config.channels),
        text_length=clip.get("text_cfg", {}).get("context_length", config.text_length),
    )


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TextSourceError(f"'{path}' is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise TextSourceError(f"'{path}' should hold a JSON object")
    return found


def _tokeniser(folder: Path, config: TextConfig) -> Any:
    """open_clip's around the folder's WordPiece: white space cleaned, lower case, padded with 0."""
    try:
        tokeniser = open_clip().tokenizer.HFTokenizer(str(folder), context_length=config.text_length)
    except (OSError, ValueError) as error:
        raise TextSourceError(f"no tokenizer can be made of '{folder}': {str(error).splitlines()[0]}") from error
    words = len(tokeniser.tokenizer)
    if words > config.vocabulary:
        raise TextSourceError(f"the tokenizer of '{folder}' has {words} word pieces, its model {config.vocabulary}")
    return tokeniser


def read_text_weights(folder: Path) -> dict[str, Tensor]:
    """The text half of an open_clip model, keyed as in `TextTower`. Raises CheckpointError for a damaged file."""
    safe, pickled = (folder / name for name in _WEIGHTS)
    file = read_tensors(safe if safe.is_file() else pickled)
    return {f"model.{k.removeprefix('text.')}": v.clone() for k, v in file.tensors.items() if k.startswith("text.")}


def _check_fit(tower: TextTower, weights: Mapping[str, Tensor], what: str) -> None:
    wanted = {key: tuple(tensor.shape) for key, tensor in tower.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items() if not key.endswith(".position_ids")}
    for key in [*wanted, *found]:
        if key not in found:
            raise TextSourceError(f"{what} lack '{key}'")
        if key not in wanted:
            raise TextSourceError(f"{what} hold '{key}', which is none of the tower's")
        if found[key] != wanted[key]:
            raise TextSourceError(f"{what}: '{key}' is {found[key]}, {wanted[key]} is wanted")

"""The text tower against the reference's numbers, and its encoder against any other order of work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from golden import Golden, error, rule_rs1
from models.context import ContextEncoder
from models.tensor_file import CheckpointError
from models.text import PUBLISHED_TEXT, TextConfig, TextEncoder, TextTower
from models.text_source import TextSourceError, find_folder, load_text_encoder, read_text_config, read_text_weights

TINY = TextConfig(vocabulary=20, width=24, layers=2, heads=2, feedforward=48, positions=40, channels=16, text_length=32)
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "round",
    "-",
    "like",
    ",",
    ".",
    "cystic",
    "liver",
    "wall",
    "thick",
]
WORDS += ["##ening", "a", "b", "5", "7", "0"]
TEXTS = ["", "round-like,", "cystic,", "liver", "wall thickening, round", "57.0,", "a b a b"]

descriptions = st.dictionaries(st.sampled_from(["shape", "density", "CT value"]), st.sampled_from(TEXTS))


def tiny_weights() -> dict[str, Tensor]:
    return rule_rs1([(key, tuple(value.shape)) for key, value in TextTower(TINY).state_dict().items()], 7)


def write_folder(folder: Path, **changes: Any) -> Path:
    """A tiny tower's folder, with weights; `changes` are of config.json."""
    folder.mkdir()
    config = {
        "model_type": "bert", "vocab_size": TINY.vocabulary, "hidden_size": TINY.width,
        "num_hidden_layers": TINY.layers, "num_attention_heads": TINY.heads, "intermediate_size": TINY.feedforward,
        "max_position_embeddings": TINY.positions, **changes,
    }  # fmt: skip
    clip = {"model_cfg": {"embed_dim": TINY.channels, "text_cfg": {"context_length": TINY.text_length}}}
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    for name, content in (("config", config), ("open_clip_config", clip), ("tokenizer_config", tokenizer)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    save_text(tiny_weights(), folder / "open_clip_model.safetensors")
    return folder


def save_text(weights: Mapping[str, Tensor], path: Path) -> None:
    """As open_clip names them, beside the image tower's."""
    named = {f"text.{key.removeprefix('model.')}": value for key, value in weights.items()}
    save_file({**named, "visual.proj": torch.ones(2), "logit_scale": torch.ones(1)}, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("text") / "tiny")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TextEncoder:
    return load_text_encoder(folder)


@pytest.fixture(scope="module")
def alone(encoder: TextEncoder) -> dict[str, Tensor]:
    """Each text by an encoder that has seen no other."""
    return {text: TextEncoder(encoder.tower, encoder.tokenise).encode([{"any": text}])[0, 0] for text in TEXTS}


def test_reference_of_published_size(golden: Golden) -> None:
    case, manifest = golden.case("text"), golden.manifest("biomedclip_text")
    weights = rule_rs1(list(manifest.items()), case.config["fill_seed"], case.config["weights_sha256"])
    encoder = load_text_encoder(golden.root / "biomedclip", weights)
    assert encoder.tower.config == PUBLISHED_TEXT
    batch = json.loads(str(case.arrays["attributes_json"]))
    count = case["input_ids"].shape[1]
    assert [len(attributes) for attributes in batch] == case["n_attr"].tolist()
    for attributes, ids in zip(batch, case["input_ids"], strict=True):
        texts = [*attributes.values(), *[""] * (count - len(attributes))]
        assert torch.equal(encoder.tokenise(texts), ids)
    assert error(encoder.encode(batch), case["context"]) < 2e-5


def test_published_keys_and_shapes(golden: Golden) -> None:
    ours = {key: tuple(value.shape) for key, value in TextTower().state_dict().items()}
    assert list(ours.items()) == list(golden.manifest("biomedclip_text").items())


def test_padding_changes_only_the_rounding(encoder: TextEncoder) -> None:
    padded = encoder.tower(encoder.tokenise(TEXTS))
    assert torch.allclose(encoder.encode([{text: text} for text in TEXTS])[:, 0], padded, rtol=0, atol=1e-5)


@given(batches=st.lists(st.lists(descriptions, min_size=1, max_size=3), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_a_token_depends_on_its_text_alone(
    encoder: TextEncoder, alone: dict[str, Tensor], batches: list[list[dict[str, str]]]
) -> None:
    shared = TextEncoder(encoder.tower, encoder.tokenise, cached_texts=2)
    for batch in batches:
        tokens = shared.encode(batch)
        count = max(1, *map(len, batch))
        assert tokens.shape == (len(batch), count, TINY.channels)
        for row, attributes in zip(tokens, batch, strict=True):
            texts = [*attributes.values(), *[""] * (count - len(attributes))]
            assert all(torch.equal(token, alone[text]) for token, text in zip(row, texts, strict=True))


def test_different_texts_have_different_tokens(encoder: TextEncoder) -> None:
    tokens = encoder.encode([{text: text for text in TEXTS}])[0]
    assert float(torch.cdist(tokens, tokens).fill_diagonal_(torch.inf).min()) > 1e-2


def test_a_text_is_encoded_once_while_it_is_remembered(encoder: TextEncoder) -> None:
    asked: list[str] = []

    def tokenise(texts: list[str]) -> Tensor:
        asked.extend(texts)
        ids: Tensor = encoder.tokenise(texts)
        return ids

    watched = TextEncoder(encoder.tower, tokenise, cached_texts=2)
    for text in ["cystic,", "liver", "cystic,", "round-like,", "cystic,", "liver"]:
        watched.encode([{"any": text}])
    assert asked == ["cystic,", "liver", "round-like,", "liver"]  # liver was used least recently, and forgotten


def test_autocast_around_it_leaves_a_text_alone(encoder: TextEncoder) -> None:
    exact = encoder.encode([{"shape": "cystic,"}])
    with torch.autocast("cpu", torch.bfloat16):
        inside = TextEncoder(encoder.tower, encoder.tokenise).encode([{"shape": "cystic,"}])
    assert torch.equal(inside, exact)


def test_no_descriptions_are_an_error_and_an_empty_one_is_nothing(encoder: TextEncoder) -> None:
    takes: ContextEncoder = encoder
    assert torch.equal(takes.encode([{}]), takes.encode([{"any": ""}]))
    with pytest.raises(ValueError, match="the batch is empty"):
        takes.encode([])


def test_stored_positions_are_ignored() -> None:
    tower, weights = TextTower(TINY), tiny_weights()
    stored = torch.arange(TINY.positions)[None].flip(1)
    tower.load_state_dict({**weights, "model.transformer.embeddings.position_ids": stored})
    assert torch.equal(tower.model.transformer.embeddings.position_ids, stored.flip(1))
    assert set(tower.state_dict()) == set(weights)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        tower.load_state_dict({**weights, "model.transformer.embeddings.colours": stored})


def test_a_tower_without_weights_says_nothing() -> None:
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        TextTower(TINY)(torch.tensor([[2, 3]]))


def test_folder_brings_sizes_and_weights(folder: Path, encoder: TextEncoder) -> None:
    assert read_text_config(folder) == TINY
    by_hand = TextTower(TINY)
    by_hand.load_state_dict(tiny_weights())
    assert torch.equal(encoder.encode([{"any": "liver"}])[0, 0], by_hand(torch.tensor([[2, 11, 3]]))[0])


def test_pickled_weights_of_a_folder(folder: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "pickled")
    (other / "open_clip_model.safetensors").unlink()
    weights = read_text_weights(folder)
    stored = {f"text.{key.removeprefix('model.')}": value for key, value in weights.items()}
    torch.save({**stored, "visual.proj": torch.ones(2)}, other / "open_clip_pytorch_model.bin")
    again = read_text_weights(other)
    assert set(again) == set(weights)
    assert all(torch.equal(again[key], weights[key]) for key in weights)


def test_a_folder_without_sizes_has_the_published_ones(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    assert read_text_config(find_folder(tmp_path, with_weights=False)) == PUBLISHED_TEXT


@pytest.mark.parametrize("hub", [False, True])
def test_a_missing_folder_says_what_it_must_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: bool) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    name = "somebody/some-tower" if hub else str(tmp_path / "nowhere" / "at" / "all")
    with pytest.raises(TextSourceError, match=r"holds tokenizer.json or vocab.txt, and open_clip_model") as caught:
        find_folder(name, with_weights=True)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def break_weights(folder: Path, change: Any) -> None:
    save_text(change(tiny_weights()), folder / "open_clip_model.safetensors")


PROJECTION = "model.proj.2.weight"
BROKEN = {
    "no tokenizer": (lambda f: (f / "vocab.txt").unlink(), "lacks tokenizer.json or vocab.txt"),
    "no weights": (lambda f: (f / "open_clip_model.safetensors").unlink(), "lacks open_clip_model.safetensors or"),
    "truncated": (lambda f: (f / "open_clip_model.safetensors").write_bytes(b"\0" * 90), "begins with b'\\x00"),
    "no json": (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "should hold a JSON object"),
    "vocabulary": (
        lambda f: (f / "vocab.txt").write_text("\n".join([*WORDS, "x"])),
        "has 21 word pieces",
    ),
    "lacking": (
        lambda f: break_weights(f, lambda w: {k: v for k, v in w.items() if k != PROJECTION}),
        f"lack '{PROJECTION}'",
    ),
    "unexpected": (
        lambda f: break_weights(f, lambda w: {**w, "model.proj.9.weight": torch.ones(1)}),
        "hold 'model.proj.9.weight', which is none of the tower's",
    ),
    "misshapen": (
        lambda f: break_weights(f, lambda w: {**w, PROJECTION: torch.ones(3, 2)}),
        f"'{PROJECTION}' is (3, 2), (16, 20) is wanted",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_folder_is_one_clear_line(tmp_path: Path, fault: str) -> None:
    folder = write_folder(tmp_path / "broken")
    damage, line = BROKEN[fault]
    damage(folder)
    with pytest.raises((TextSourceError, CheckpointError)) as caught:
        load_text_encoder(folder)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextSourceError, match="of a 'gpt2' model, a bert is wanted"):
        load_text_encoder(write_folder(tmp_path / "other", model_type="gpt2"))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    folder, mark = write_folder(tmp_path / "evil"), tmp_path / "ran"
    (folder / "open_clip_model.safetensors").unlink()

    class Payload:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path.touch, (str(mark),)

    torch.save({"text.proj.0.weight": Payload()}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="is refused"):
        load_text_encoder(folder)
    assert not mark.exists()


def test_importing_the_models_does_not_import_open_clip() -> None:
    """Seconds of a worker's start that only the text tower needs; and torchvision stays as it is until then."""
    look = "import sys, models.text_source; print({'open_clip', 'torchvision', 'transformers'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

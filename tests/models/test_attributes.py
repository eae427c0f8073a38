"""The trainable encoder of attributes: what it tells apart, what it does not see, and that HU can steer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.attributes import HIDDEN, AttributeConfig, AttributeEncoder, fourier_features
from models.context import ContextEncoder

VOCABULARY = (
    ("shape", ("round-like", "irregular", "protrusion into the lumen")),
    ("lesion location", ("liver", "vertebrae L5", "vertebrae L4")),
    ("specific features", ("stone",)),
    ("lesion type", ("stone", "cyst")),
    ("CT value", ()),
    ("size", ()),
)
NAMES = [name for name, _ in VOCABULARY]
VALUES = [
    "", "round-like,", "round-like,protrusion into the lumen,", "liver", "vertebrae L5", "stone,", "57.0 HU,", "-3 HU",
    "12.0 x 14.0 x 10.0 mm,", "of course 7", HIDDEN,
]  # fmt: skip

descriptions = st.dictionaries(st.sampled_from([*NAMES, "colour"]), st.sampled_from(VALUES))


def make(channels: int = 32, vocabulary: tuple[tuple[str, tuple[str, ...]], ...] = VOCABULARY) -> AttributeEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return AttributeEncoder(AttributeConfig(vocabulary=vocabulary, channels=channels, width=16))


@pytest.fixture(scope="module")
def encoder() -> AttributeEncoder:
    return make()


def token(encoder: AttributeEncoder, name: str, value: str) -> Tensor:
    return encoder.encode([{name: value}])[0, 0]


def same(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=0, atol=1e-6))


@given(batch=st.lists(descriptions, min_size=1, max_size=4))
@settings(deadline=None)
def test_a_token_depends_on_its_attribute_and_value_alone(
    encoder: AttributeEncoder, batch: list[dict[str, str]]
) -> None:
    takes: ContextEncoder = encoder
    tokens = takes.encode(batch)
    count = max(1, *map(len, batch))
    assert tokens.shape == (len(batch), count, takes.channels)
    nothing = takes.encode([{}])[0, 0]
    for row, attributes in zip(tokens, batch, strict=True):
        wanted = [token(encoder, *pair) for pair in attributes.items()]
        assert same(row, torch.stack([*wanted, *[nothing] * (count - len(wanted))]))


def test_what_differs_has_different_tokens(encoder: AttributeEncoder) -> None:
    meanings = [
        ("shape", ""), ("shape", "round-like"), ("shape", "irregular"), ("shape", "round-like,irregular"),
        ("shape", HIDDEN), ("shape", "round-like," + HIDDEN), ("lesion location", "liver"),
        ("lesion location", "vertebrae L5"), ("lesion location", "vertebrae L4"), ("lesion type", "stone"),
        ("specific features", "stone"), ("CT value", ""), ("CT value", "0 HU"), ("CT value", "57 HU"),
        ("CT value", "60 HU"), ("CT value", "-57 HU"), ("size", "57 mm"), ("size", "57 x 57 mm"),
        ("size", "12 x 14 x 10 mm"), ("size", "12 x 10 x 14 mm"), ("colour", "red"), ("colour", ""),
        ("CT value", "high"),
    ]  # fmt: skip
    tokens = torch.stack([token(encoder, *meaning) for meaning in meanings] + [encoder.encode([{}])[0, 0]])
    assert float(torch.cdist(tokens, tokens).fill_diagonal_(torch.inf).min()) > 0.05


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("shape", "round-like,irregular", " Irregular ,, ROUND-like,"),
        ("CT value", "57.0 HU,", "Mean density of the lesion region is approximately 57 HU,"),
        ("CT value", "-5e1", "-50.0 HU"),
        ("size", "12.0 x 14.0 x 10.0 mm,", "[[12 14 10]] pixel"),
        ("size", "880 mm3,", "880 mm"),
        ("size", "10-12 mm", "10 12"),
        ("shape", "spherical", HIDDEN),
        ("lesion location", "vertebrae L9", "9"),
        ("CT value", "high", "unknown"),
    ],
)
def test_what_means_the_same_has_one_token(encoder: AttributeEncoder, name: str, one: str, other: str) -> None:
    assert same(token(encoder, name, one), token(encoder, name, other))


@given(number=st.floats(-3000, 3000), step=st.floats(0.5, 50))
def test_numbers_are_told_apart_and_neighbours_are_near(number: float, step: float) -> None:
    low, high, nearer = fourier_features(torch.tensor([number, number + step, number + step / 1e4]))
    assert bool(torch.isfinite(low).all())
    assert float((low - nearer).norm()) < 0.1 * float((low - high).norm())


def test_a_missing_number_has_no_features() -> None:
    features = fourier_features(torch.tensor([torch.nan, 0.0]))
    assert float(features[0].abs().sum()) == 0
    assert float(features[1].abs().sum()) > 0


def test_density_can_be_read_off_its_token_after_training() -> None:
    """A linear reading of the token, trained on some HU values, is right between them."""
    encoder = make()
    with torch.enable_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        reading = torch.nn.Linear(encoder.channels, 1)
        optimiser = torch.optim.Adam([*encoder.parameters(), *reading.parameters()], lr=3e-3)
        hu = torch.arange(-120.0, 200.0, 8.0)
        batch = [{"shape": "irregular,", "CT value": f"{value} HU,"} for value in hu.tolist()]
        for _ in range(300):
            loss = (100 * reading(encoder.encode(batch)[:, 1])[:, 0] - hu).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    unseen = [{"CT value": f"{value} HU,"} for value in (hu + 4).tolist()[:-1]]
    read = 100 * reading(encoder.encode(unseen)[:, 0])[:, 0]
    assert float((read - (hu[:-1] + 4)).abs().median()) < 3


def test_every_weight_takes_part_in_training() -> None:
    encoder = make()
    with torch.enable_grad():
        everything = [{name: phrase for name, phrases in VOCABULARY for phrase in phrases}, {"colour": "red"}, {}]
        everything += [{name: phrase} for name, phrases in VOCABULARY for phrase in phrases]
        everything.append({"size": "12 x 14 x 10 mm", "CT value": "-5 HU"})
        encoder.encode(everything).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert bool((encoder.table.weight.grad.abs().sum(dim=1) > 0).all())


@pytest.mark.parametrize("channels", [64, 512])
def test_it_is_small(channels: int) -> None:
    organs = tuple(f"organ {n}" for n in range(104))
    config = AttributeConfig(vocabulary=(*VOCABULARY, ("organ", organs)), channels=channels)
    assert sum(parameter.numel() for parameter in AttributeEncoder(config).parameters()) < 100_000


def test_a_stored_encoder_is_the_same(encoder: AttributeEncoder, tmp_path: Path) -> None:
    save_file(encoder.state_dict(), tmp_path / "attributes.safetensors")
    config = AttributeConfig.from_json(json.loads(json.dumps(encoder.config.to_json())))
    assert config == encoder.config
    with torch.device("meta"):
        again = AttributeEncoder(config)
    again.load_state_dict(load_file(tmp_path / "attributes.safetensors"), assign=True)
    batch = [dict.fromkeys(NAMES, value) for value in VALUES]
    assert torch.equal(again.encode(batch), encoder.encode(batch))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"channels": 0}, "channels 0 and width 64 must be 1 or more"),
        ({"vocabulary": [["shape", ["a"]], ["shape", ["b"]]]}, "the vocabulary has shape more than once"),
        ({"vocabulary": [["shape", ["a,b"]]]}, "the phrases of 'shape' must not be empty nor hold a comma"),
        ({"vocabulary": [["shape", [" "]]]}, "the phrases of 'shape' must not be empty nor hold a comma"),
        ({"chanels": 5}, "an attribute encoder has no 'chanels'"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(change: dict[str, object], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        AttributeConfig.from_json({"vocabulary": VOCABULARY, **change})


def test_no_descriptions_are_an_error(encoder: AttributeEncoder) -> None:
    with pytest.raises(ValueError, match="the batch is empty"):
        encoder.encode([])

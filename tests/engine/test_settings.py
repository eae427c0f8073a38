"""Settings: parsed once, told apart by what they generate."""

from __future__ import annotations

import pytest

from engine.core.errors import SettingsError
from engine.settings import parse_settings

BASE = {"output": "runs/x", "cases": {"source": "cases.jsonl"}, "lesions": {"mix": [{"organ": "liver", "weight": 2}]}}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("executon.workers=2", "unknown key 'executon'; did you mean 'execution'?"),
        ("execution.workrs=2", "unknown key 'execution.workrs'; did you mean 'workers'?"),
        ("execution.mask_pool.mn=2", "did you mean 'min'?"),
        ("seed=abc", "seed: Input should be a valid integer"),
        ("lesions.mix=[{organ: livver}]", "did you mean 'liver'?"),
        ("lesions.mix=[{organ: liver, density: hypodens}]", "did you mean 'hypodense'?"),
        ("lesions.mix=[{lesion_type: cyst}]", "needs an organ"),
        ("lesions.per_sample=[3, 1]", "[fewest, most]"),
        ("cases.lists={image: a.txt}", "either cases.source or cases.lists"),
        ("execution.mask_pool={min: 1}", "go together"),
        ("write.form=volum", "'volume', 'crop' or 'patch'"),
        ("blend.margin_mm=-1", "greater than or equal to 0"),
        ("noequals", "should read key=value"),
        ("seed.deeper=1", "is a value, not a section"),
    ],
)
def test_mistakes_are_one_line_that_helps(override: str, told: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_settings({**BASE, "seed": 1}, [override])
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    ["output=elsewhere", "execution.workers=7", "execution.block_size=1", "write.form=patch", "cases.source=b.parquet"],
)
def test_hash_leaves_out_where_and_how_fast(override: str) -> None:
    assert parse_settings(BASE, [override]).config_hash == parse_settings(BASE).config_hash


@pytest.mark.parametrize(
    "override",
    [
        "seed=2",
        "blend.margin_mm=2",
        "cases.variants_per_case=2",
        "lesions.mix=[{organ: spleen}]",
        "write.label_organ=false",
    ],
)
def test_hash_knows_what_changes_the_dataset(override: str) -> None:
    assert parse_settings(BASE, [override]).config_hash != parse_settings(BASE).config_hash

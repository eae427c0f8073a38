"""The report and its two JSON forms."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import ReportError
from engine.core.report import Report, Wanted, from_reference, to_reference
from engine.core.vocabulary import (
    Cavity,
    Density,
    EnhancementStatus,
    LesionType,
    Shape,
    SpecificFeatures,
    SurfaceCharacteristics,
    Vocabulary,
)

VOCABULARIES = Vocabulary.__subclasses__()

TYPE_JSON = {
    "57": [
        "irregular wall thickening,",
        "",
        {
            "enhancement status": "enhanced CT,",
            "lesion location": "57",
            "shape": "irregular,wall thickening,",
            "size": "[[28 29 26]] pixel,",
            "density": "low density lesion,",
            "density variations": "heterogeneous,",
            "CT value": "Mean density of the lesion region is approximately 57 HU,",
            "surface characteristics": "serosal surface irregularity,",
            "relationship with adjacent organs": "close relationship with adjacent organs,",
            "specific features": "presence of increased density areas,presence of decreased density areas,",
            "cavity": "wall thickening,",
        },
        [[[120, 130, 140]], [[28, 29, 26]]],
    ]
}
"""One lesion in the form that the reference reads."""


@given(st.data())
def test_our_form_loses_nothing(any_report, data):
    report = data.draw(any_report)
    assert Report.loads(report.dumps()) == report
    assert Report.loads(report.dumps()).dumps() == report.dumps()


@given(st.data())
def test_the_reference_form_keeps_every_attribute(any_report, data):
    report = data.draw(any_report)
    whole = replace(report, size_mm=tuple(float(max(1, round(v))) for v in report.size_mm))
    text = json.dumps(to_reference(whole, centre_vox=(3, 4, 5)))
    (back,) = from_reference(json.loads(text))
    for f in fields(Wanted):
        if f.name in ("organ", "contrast_hu", "centre_mm", "free_text"):
            continue
        want = getattr(whole, f.name)
        if f.name == "specific_features":
            want = want or None
        if f.name == "ct_value_hu" and want is not None:
            want = pytest.approx(want, abs=0.1)
        assert getattr(back, f.name) == want, f.name


def test_a_reference_file_is_read():
    (wanted,) = from_reference(TYPE_JSON, lesion_type=LesionType.CANCER)
    assert wanted == Wanted(
        organ="colon",
        lesion_type=LesionType.CANCER,
        enhancement_status=EnhancementStatus.ENHANCED,
        shape=(Shape.WALL_THICKENING,),
        density=Density.HYPODENSE,
        density_variations=wanted.density_variations,
        surface_characteristics=SurfaceCharacteristics.IRREGULAR_SEROSA,
        adjacent_organs=wanted.adjacent_organs,
        specific_features=(SpecificFeatures.INCREASED_AREAS, SpecificFeatures.DECREASED_AREAS),
        cavity=Cavity.WALL,
        size_mm=(26.0, 29.0, 28.0),  # theirs is (x, y, z), ours (S, A, L)
        ct_value_hu=57.0,
    )


def test_what_the_reference_writes_is_what_we_write():
    (wanted,) = from_reference(TYPE_JSON, lesion_type=LesionType.CANCER)
    report = Report(**{f.name: getattr(wanted, f.name) for f in fields(Wanted)} | {"contrast_hu": 10.0})
    ours = to_reference(report)["57"][2]
    theirs = TYPE_JSON["57"][2]
    assert list(ours) == list(theirs)
    for key in set(theirs) - {"density", "shape"}:  # those two were written as synonyms
        assert ours[key] == theirs[key]


@pytest.mark.parametrize("vocabulary", VOCABULARIES, ids=lambda v: v.__name__)
def test_every_text_and_synonym_is_read(vocabulary):
    for member in vocabulary:
        for text in member.value:
            for spelling in (text, text.upper(), f" {text} ,", text.replace(" ", "  ")):
                assert vocabulary.parse(spelling) is member


@pytest.mark.parametrize("vocabulary", [Shape, SpecificFeatures, SurfaceCharacteristics], ids=lambda v: v.__name__)
@given(data=st.data())
def test_several_values_are_read_in_order(vocabulary, data):
    members = data.draw(st.lists(st.sampled_from(vocabulary), min_size=1, max_size=4, unique=True))
    assert vocabulary.parse_all("".join(m.text + "," for m in members)) == tuple(members)


def test_texts_are_unambiguous():
    for vocabulary in VOCABULARIES:
        texts = [text.lower() for member in vocabulary for text in member.value]
        assert len(texts) == len(set(texts))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"density": "hypodens"}, "density: unknown value 'hypodens'; did you mean 'hypodense'?"),
        (
            {"colour": "red"},
            "unknown attribute 'colour'; known are organ, lesion_type, enhancement_status, shape, density, "
            "density_variations, surface_characteristics, adjacent_organs, specific_features, cavity, size_mm, "
            "contrast_hu, ct_value_hu, centre_mm, free_text",
        ),
        (
            {"enhancement_status": "MRI"},
            "enhancement status: unknown value 'mri'; known are enhanced CT, non-contrast CT",
        ),
        ({"desnity": "hypodense"}, "unknown attribute 'desnity'; did you mean 'density'?"),
        ({"organ": "livr"}, "unknown organ 'livr'; did you mean 'liver'?"),
        ({"size_mm": [1, 2]}, "size_mm: '[1, 2]' should be one diameter or three extents (S, A, L), in mm above 0"),
        ({"size_mm": -4}, "size_mm: '-4' should be one diameter or three extents (S, A, L), in mm above 0"),
        ({"contrast_hu": "dark"}, "contrast_hu: 'dark' holds no number"),
        ({"centre_mm": [1, 2]}, "centre_mm: '[1, 2]' should be three numbers [x, y, z], world RAS millimetres"),
        ({"density": "hypodense,hyperdense"}, "density: 'hypodense,hyperdense' names 2 values, should be one"),
    ],
)
def test_a_wrong_attribute_is_one_clear_line(data, line):
    with pytest.raises(ReportError) as caught:
        Wanted.from_json(data)
    assert str(caught.value) == line


def test_reference_keys_and_loose_numbers_are_read():
    wanted = Wanted.from_json({"organ type": "Bladder", "lesion type": "tumour", "CT value": "42.0 HU,", "size": "12"})
    assert (wanted.organ, wanted.lesion_type, wanted.ct_value_hu) == ("urinary_bladder", LesionType.CANCER, 42.0)
    assert wanted.size_mm == (12.0, 12.0, 12.0)


def test_what_is_missing_is_named():
    with pytest.raises(ReportError, match="report lacks adjacent_organs, cavity, contrast_hu"):
        Report.from_json({"organ": "liver"})
    with pytest.raises(ReportError, match="entry '5' should be"):
        from_reference({"5": ["round-like"]})


@given(st.data())
def test_over_prefers_what_is_set(any_report, data):
    base = data.draw(any_report)
    assert Wanted(organ="colon").over(base) == replace(base, organ="colon")
    assert Wanted().over(base) == base


@pytest.mark.parametrize(("contrast", "sign"), [(-30.0, -1), (12.0, 1), (0.0, 0), (0.9, 0), (-0.9, 0)])
def test_a_contrast_below_one_hu_leaves_the_sign_open(make_report, contrast, sign):
    assert make_report(contrast_hu=contrast).contrast_sign == sign

"""Every kind of case list reads as the same rows, and what contradicts itself is refused with one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.core.errors import CaseListError
from engine.io.case_rows import BATCH_ROWS, CASE_SCHEMA
from engine.io.cases import CaseList, open_cases
from engine.settings import Cases, ListFiles

LIVER_CYST = {"organ type": "liver", "lesion type": "cyst"}


def rows_of(cases: CaseList) -> list[dict[str, Any]]:
    """All rows, read twice: a list is re-iterable."""
    batches = list(cases.batches())
    assert all(batch.schema == CASE_SCHEMA for batch in batches)
    assert [b.to_pylist() for b in cases.batches()] == [b.to_pylist() for b in batches]
    return [row for batch in batches for row in batch.to_pylist()]


def read(source: str | Path, **options: Any) -> list[dict[str, Any]]:
    return rows_of(open_cases(Cases(source=str(source), **options)))


def refusal(**options: Any) -> str:
    """The line that a list is refused with."""
    with pytest.raises(CaseListError) as caught:
        rows_of(open_cases(Cases(**options)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def row(case_id: str, ct: str, organs: str = "", wanted: Any = None, variants: int = 0) -> dict[str, Any]:
    text = json.dumps(wanted, sort_keys=True, separators=(",", ":")) if wanted else ""
    return {"case_id": case_id, "ct_uri": ct, "organs_uri": organs, "wanted": text, "variants": variants}


@pytest.fixture
def memory() -> Iterator[str]:
    """An empty remote folder."""
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/cases-test/.keep", b"")
    yield "memory://cases-test"
    fs.rm("/cases-test", recursive=True)


@pytest.fixture(params=["local", "remote"])
def put(request: pytest.FixtureRequest, tmp_path: Path, memory: str) -> Callable[[str, str | bytes], str]:
    """Write a file below a local or a remote folder; returns that folder."""
    root = str(tmp_path) if request.param == "local" else memory

    def write(name: str, content: str | bytes = b"") -> str:
        fs, path = fsspec.core.url_to_fs(f"{root}/{name}")
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        fs.pipe_file(path, content.encode() if isinstance(content, str) else content)
        return root

    return write


def parquet_bytes(**columns: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


Put = Callable[..., str]

# Parquet


def test_parquet_columns_under_any_of_their_names(put: Put) -> None:
    content = parquet_bytes(
        case_id=["p1", "p2"],
        image=["p1/ct.nii.gz", "/abs/ct.nii.gz"],
        seg=["p1/organs.nii.gz", None],
        attributes=[json.dumps(LIVER_CYST), ""],
        variants=[3, None],
        hospital=["x", "y"],
    )
    root = put("lists/cases.parquet", content)
    cases = open_cases(Cases(source=f"{root}/lists/cases.parquet"))
    assert cases.base == f"{root}/lists"
    assert rows_of(cases) == [
        row("p1", "p1/ct.nii.gz", "p1/organs.nii.gz", [LIVER_CYST], 3),
        row("p2", "/abs/ct.nii.gz"),
    ]


def test_parquet_folder_and_glob_are_read_in_name_order(put: Put) -> None:
    for name in ("b", "a"):
        root = put(f"list/{name}.parquet", parquet_bytes(case_id=[name], ct=[f"{name}.nii"]))
    put("list/_metadata.parquet", b"not a list")
    expected = [row("a", "a.nii"), row("b", "b.nii")]
    assert read(f"{root}/list") == expected
    assert read(f"{root}/list/[ab].parquet") == expected


@pytest.mark.parametrize(
    ("lesions", "expected"),
    [
        (pa.array([{"organ": "liver", "size_mm": None}, None]), [[{"organ": "liver"}], None]),
        (pa.array([[{"organ": "liver"}, {"organ": "colon"}], []]), [[{"organ": "liver"}, {"organ": "colon"}], None]),
        (
            pa.array([[("organ", "liver")], None], pa.map_(pa.string(), pa.string())),
            [[{"organ": "liver"}], None],
        ),
        (pa.array(['[{"b": 1, "a": 2}]', "{}"]).dictionary_encode(), [[{"a": 2, "b": 1}], None]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_parquet_lesions_as_struct_list_map_or_text(tmp_path: Path, lesions: pa.Array, expected: list[Any]) -> None:
    pq.write_table(
        pa.table({"case_id": ["a", "b"], "ct": ["a.nii", "b.nii"], "lesions": lesions}), tmp_path / "c.parquet"
    )
    assert read(tmp_path / "c.parquet") == [
        row("a", "a.nii", wanted=expected[0]),
        row("b", "b.nii", wanted=expected[1]),
    ]


def test_parquet_numbers_as_ids_and_several_batches(tmp_path: Path) -> None:
    count = BATCH_ROWS + 5
    numbers = pa.array(range(count))
    pq.write_table(pa.table({"case_id": numbers, "ct": numbers.cast(pa.string())}), tmp_path / "c.parquet")
    batches = list(open_cases(Cases(source=str(tmp_path / "c.parquet"))).batches())
    assert [b.num_rows for b in batches] == [BATCH_ROWS, 5]
    assert batches[1].column("case_id")[4].as_py() == str(count - 1)


def test_missing_ids_are_named_after_the_paths_of_their_rows(tmp_path: Path) -> None:
    ct = ["a/ct.nii.gz", "b/ct.nii.gz", "c/ct.nii.gz"]
    pq.write_table(pa.table({"case_id": [None, "given", None], "ct": ct}), tmp_path / "c.parquet")
    assert [r["case_id"] for r in read(tmp_path / "c.parquet")] == ["a", "given", "c"]


# JSON lines


def test_json_lines(put: Put) -> None:
    lines = [
        {"case_id": "p1", "ct": "p1/ct.nii.gz", "organs": "p1/o.nii.gz", "lesions": LIVER_CYST, "variants": 2},
        {"case_id": "p2", "ct": "p2/ct.nii.gz", "lesions": [LIVER_CYST, {"organ": "spleen"}]},
        {"case_id": "p3", "image": "p3/ct.nii.gz", **LIVER_CYST, "meta": {"age": 61}},
        {"case_id": 4, "ct_uri": "p4/ct.nii.gz", "lesions": json.dumps(LIVER_CYST)},
        {"ct": "p5/ct.nii.gz", "type_json": "p5/type.json", "lesion type": "cyst"},
    ]
    root = put("cases.jsonl", "\ufeff" + "\n\n".join(map(json.dumps, lines)) + "\r\n")
    assert read(f"{root}/cases.jsonl") == [
        row("p1", "p1/ct.nii.gz", "p1/o.nii.gz", [LIVER_CYST], 2),
        row("p2", "p2/ct.nii.gz", wanted=[LIVER_CYST, {"organ": "spleen"}]),
        row("p3", "p3/ct.nii.gz", wanted=[LIVER_CYST]),
        row("4", "p4/ct.nii.gz", wanted=[LIVER_CYST]),
        row("ct", "p5/ct.nii.gz", wanted=[{"type_json": "p5/type.json", "lesion type": "cyst"}]),
    ]


# The reference's aligned list files


def lists(root: str, **files: str) -> dict[str, Any]:
    return {"lists": ListFiles(**{kind: f"{root}/{name}" for kind, name in files.items()})}


def test_aligned_list_files(put: Put) -> None:
    put("img_list.txt", "p1/ct.nii.gz\r\np2/ct.nii.gz\n\n")
    put("maps/seg_list.txt", "p1.nii.gz\n/abs/p2.nii.gz\n")
    put("attr_list.txt", json.dumps(LIVER_CYST) + "\n\n")
    root = put("reports/list.txt", "../p1/type.json\n\n")
    files = lists(
        root, image="img_list.txt", organs="maps/seg_list.txt", attributes="attr_list.txt", report="reports/list.txt"
    )
    assert rows_of(open_cases(Cases(**files))) == [
        row("p1", "p1/ct.nii.gz", "maps/p1.nii.gz", [{**LIVER_CYST, "type_json": "p1/type.json"}]),
        row("p2", "p2/ct.nii.gz", "/abs/p2.nii.gz"),
    ]


def test_aligned_list_of_images_alone(tmp_path: Path) -> None:
    (tmp_path / "img.txt").write_text("a.nii\nb.nii")
    assert rows_of(open_cases(Cases(**lists(str(tmp_path), image="img.txt")))) == [row("a", "a.nii"), row("b", "b.nii")]


@pytest.mark.parametrize("organs", ["a\n", "a\nb\nc\n"])
def test_list_files_of_unequal_length(tmp_path: Path, organs: str) -> None:
    (tmp_path / "img.txt").write_text("a.nii\nb.nii\n")
    (tmp_path / "seg.txt").write_text(organs)
    line = refusal(**lists(str(tmp_path), image="img.txt", organs="seg.txt"))
    assert f"{tmp_path}/img.txt has 2 lines, {tmp_path}/seg.txt has {organs.count(chr(10))}" in line


# Folder, glob, one volume


def dicom(name: str = "") -> bytes:
    return b"\0" * 128 + b"DICM" + name.encode()


@pytest.fixture
def zoo(put: Put) -> str:
    """A folder with a case in every format, and what is no case."""
    for name in (
        "a.nii",
        "b.nii.gz",
        "c.NRRD",
        "deep/er/d.mha",
        "e.mhd",
        "e.raw",
        ".hidden.nii",
        ".git/f.nii",
        "notes.txt",
    ):
        put(f"zoo/{name}")
    put("zoo/series1/001.dcm", dicom())
    put("zoo/series2/IM0001", dicom())
    put("zoo/series2/IM0002", dicom())
    put("zoo/series3/1.2.840.1", dicom())
    return put("zoo/nodicom/README", "not a DICOM file") + "/zoo"


def test_folder_of_every_format(zoo: str) -> None:
    cases = open_cases(Cases(source=zoo))
    assert cases.base == zoo
    paths = {r["ct_uri"]: r["case_id"] for r in rows_of(cases)}
    assert paths == {
        "a.nii": "a",
        "b.nii.gz": "b",
        "c.NRRD": "c",
        "deep/er/d.mha": "d",
        "e.mhd": "e",
        "series1": "series1",
        "series2": "series2",
        "series3": "series3",
    }


def test_glob_takes_files_and_series(zoo: str) -> None:
    cases = open_cases(Cases(source=f"{zoo}/*"))
    assert cases.base == zoo
    assert [r["ct_uri"] for r in rows_of(cases)] == [
        "a.nii",
        "b.nii.gz",
        "c.NRRD",
        "e.mhd",
        "series1",
        "series2",
        "series3",
    ]
    assert [r["ct_uri"] for r in read(f"{zoo}/**/*.mha")] == ["deep/er/d.mha"]


def test_a_name_with_brackets_is_no_glob_if_it_is_there(put: Put) -> None:
    root = put("[2019]/ct.nii")
    assert read(f"{root}/[2019]") == [row("ct", "ct.nii")]


def test_a_folder_that_is_a_series_is_one_case(zoo: str) -> None:
    cases = open_cases(Cases(source=f"{zoo}/series2"))
    assert (cases.base, rows_of(cases)) == (zoo, [row("series2", "series2")])


def test_one_volume_with_its_organ_map(zoo: str) -> None:
    assert read(f"{zoo}/b.nii.gz", organs="{dir}/{stem}_organs.nii.gz") == [row("b", "b.nii.gz", "b_organs.nii.gz")]


@pytest.mark.parametrize(
    ("files", "template", "expected"),
    [
        (
            ["p1/ct.nii.gz", "p1/labels.nii.gz", "p2/ct.nii.gz", "p2/labels.nii.gz"],
            "{dir}/labels.nii.gz",
            [("p1", "p1/ct.nii.gz", "p1/labels.nii.gz"), ("p2", "p2/ct.nii.gz", "p2/labels.nii.gz")],
        ),
        (
            ["x.nii", "x_seg.nii", "y.nii", "y_seg.nii"],
            "{dir}/{stem}_seg.nii",
            [("x", "x.nii", "x_seg.nii"), ("y", "y.nii", "y_seg.nii")],
        ),
        (
            ["images/x.nii", "images/y.nii", "maps/x.nii", "maps/y.nii"],
            "ROOT/maps/{case_id}.nii",
            [("x", "images/x.nii", "maps/x.nii"), ("y", "images/y.nii", "maps/y.nii")],
        ),
        (
            ["images/x.nii", "maps/x.nii"],
            "{dir}/../maps/{stem}.nii",
            [("x", "images/x.nii", "maps/x.nii")],
        ),
        (
            ["x.nii", "seg.nii"],
            "/elsewhere/{case_id}.nii",
            [("seg", "seg.nii", "/elsewhere/seg.nii"), ("x", "x.nii", "/elsewhere/x.nii")],
        ),
    ],
)
def test_organ_maps_are_found_and_are_no_cases(
    put: Put, files: list[str], template: str, expected: list[tuple[str, str, str]]
) -> None:
    roots = {put(name) for name in files}
    root = roots.pop()
    assert read(root, organs=template.replace("ROOT", root)) == [row(*values) for values in expected]


def test_real_folder(shared_data: Path) -> None:
    cases = read(shared_data / "dcmqi_ct3slice" / "dicom")
    assert cases == [row("dicom", "dicom")]
    assert read(shared_data / "ts_*" / "ct.nii.gz") == [
        row("ts_abdomen", "ts_abdomen/ct.nii.gz"),
        row("ts_heart_cta", "ts_heart_cta/ct.nii.gz"),
    ]


# limit


def test_limit_keeps_the_smallest_ids_in_list_order(tmp_path: Path) -> None:
    ids = ["d", "B", "a", "C", "e"]
    for order in (ids, ids[::-1]):
        lines = (json.dumps({"case_id": i, "ct": f"{i}.nii"}) for i in order)
        (tmp_path / "cases.jsonl").write_text("\n".join(lines))
        kept = [r["case_id"] for r in read(tmp_path / "cases.jsonl", limit=3)]
        assert kept == [i for i in order if i in ("B", "C", "a")]
    assert len(read(tmp_path / "cases.jsonl", limit=99)) == 5


# Refusals


def test_missing_and_unknown_sources(tmp_path: Path) -> None:
    assert refusal(source=str(tmp_path / "none.parquet")) == f"{tmp_path}/none.parquet: no such file or folder"
    assert "no such file" in refusal(**lists(str(tmp_path), image="none.txt"))
    assert "no such file or folder" in refusal(source="memory://nowhere/at/all")
    assert "cannot be opened" in refusal(source="nosuch://bucket/list.parquet")
    (tmp_path / "img_list.txt").write_text("a.nii\n")
    assert "cases.lists" in refusal(source=str(tmp_path / "img_list.txt"))
    assert "no volume there" in refusal(source=str(tmp_path))
    assert "no volume there" in refusal(source=str(tmp_path / "*.nii"))
    assert "no such file" in refusal(source=str(tmp_path / "*.parquet"))


def test_empty_lists(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text("\n \n")
    (tmp_path / "img.txt").write_text("\n")
    pq.write_table(pa.table({"ct": pa.array([], pa.string())}), tmp_path / "cases.parquet")
    for source in ("cases.jsonl", "cases.parquet"):
        assert refusal(source=str(tmp_path / source)) == f"{tmp_path}/{source}: the list is empty"
    assert "the list is empty" in refusal(**lists(str(tmp_path), image="img.txt"))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"case_id": ["a"], "images": ["a.nii"]},
            "no column 'ct' with the volume's URI among case_id, images; did you mean 'image'?",
        ),
        ({"id": ["a"]}, "no column 'ct' with the volume's URI among id; rename the one that holds it"),
        ({"ct": ["a"], "image": ["a"]}, "'ct' and 'image' mean the same; keep one"),
        ({"ct": ["a", None]}, "row 2: 'ct' is empty"),
        ({"ct": ["a", "b"], "case_id": ["ok", "../x"]}, "row 2: case id '../x'"),
        ({"ct": ["a"], "variants": [-1]}, "row 1: 'variants' is below 0"),
        ({"ct": ["a"], "variants": [1.5]}, "column 'variants' is double, should be int32"),
        ({"ct": [["a"]]}, "column 'ct' is list"),
        ({"ct": ["a", "b"], "lesions": ["{}", "{"]}, "row 2: not valid JSON"),
        (
            {"ct": ["a", "b"], "lesions": ["{}", "3"]},
            'row 2: the wanted lesions should be a JSON object such as {"organ',
        ),
        ({"ct": ["a"], "lesions": [["liver"]]}, "row 1: the wanted lesions should be a JSON object"),
    ],
)
def test_bad_parquet(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    line = refusal(source=str(tmp_path / "c.parquet"))
    assert line.startswith(f"{tmp_path}/c.parquet")
    assert said in line


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "c.parquet").write_bytes(b"PAR1 not at all")
    assert "not a readable Parquet file" in refusal(source=str(tmp_path / "c.parquet"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"ct": "a.nii"', "cases.jsonl:2: not valid JSON"),
        ("[" * 100_000, "cases.jsonl:2: not usable JSON (nested too deep)"),
        ('["a.nii"]', "cases.jsonl:2: should be a JSON object"),
        ('{"case_id": "a"}', "cases.jsonl:2: no column 'ct'"),
        ('{"ct": ""}', "cases.jsonl:2: 'ct' is empty"),
        ('{"ct": ["a"]}', "cases.jsonl:2: 'ct' should be text, is list"),
        ('{"ct": "a", "lesions": "liver"}', "cases.jsonl:2: not valid JSON"),
        ('{"ct": "a", "lesions": 3}', "cases.jsonl:2: the wanted lesions should be a JSON object"),
        ('{"ct": "a", "variants": true}', "cases.jsonl:2: 'variants' should be a whole number"),
        ('{"ct": "a", "organ typ": "liver"}', "cases.jsonl:2: unknown key 'organ typ'; did you mean"),
        ('{"ct": "a", "wavelength": 3}', "cases.jsonl:2: unknown key 'wavelength'; your own notes go under meta"),
        ('{"ct": "a", "lesions": {}, "organ": "liver"}', "cases.jsonl:2: 'organ' belongs within 'lesions'"),
        ('{"ct": "a", "case_id": "b c"}', "cases.jsonl, row 2: case id 'b c'"),
    ],
)
def test_bad_json_lines(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "cases.jsonl").write_text('{"ct": "x.nii"}\n' + line + "\n")
    assert said in refusal(source=str(tmp_path / "cases.jsonl"))


def test_unreadable_text(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_bytes(b'{"ct": "\xff"}\n')
    assert "not UTF-8 text" in refusal(source=str(tmp_path / "cases.jsonl"))
    (tmp_path / "cases.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00")
    assert "cannot be read" in refusal(source=str(tmp_path / "cases.jsonl.gz"))


def test_bad_aligned_lines(tmp_path: Path) -> None:
    (tmp_path / "img.txt").write_text("a.nii\n\nb.nii\n")
    (tmp_path / "two.txt").write_text("a.nii\nb.nii\n")
    (tmp_path / "attr.txt").write_text('{}\n{"organ type": }\n')
    (tmp_path / "many.txt").write_text("[{}]\n[{}]\n")
    (tmp_path / "report.txt").write_text("a.json\nb.json\n")
    root = str(tmp_path)
    assert "img.txt:2: blank line" in refusal(**lists(root, image="img.txt"))
    assert "attr.txt:2: not valid JSON" in refusal(**lists(root, image="two.txt", attributes="attr.txt"))
    both = lists(root, image="two.txt", attributes="many.txt", report="report.txt")
    assert "many.txt:1: beside a report this should be one JSON object" in refusal(**both)


def test_bad_organ_templates(tmp_path: Path) -> None:
    (tmp_path / "a.nii").touch()
    source = str(tmp_path)
    assert "unknown placeholder '{caseid}'; did you mean 'case_id'?" in refusal(source=source, organs="{caseid}.nii")
    assert "fits every volume there" in refusal(source=source, organs="{dir}/{stem}.nii")
    (tmp_path / "cases.jsonl").write_text('{"ct": "a.nii"}')
    assert "a list names its organ maps itself" in refusal(source=f"{source}/cases.jsonl", organs="{dir}/o.nii")

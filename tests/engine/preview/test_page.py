"""The preview page: whole, offline, and deaf to what a user writes into a report."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from engine.preview.gallery import PAGE, write_preview

_VOID = frozenset({"meta", "img", "input", "br", "link", "hr"})
_HOSTILE = """</p><script>document.title="owned"</script><img src=x onerror="alert(1)"> & "quoted" 'text' ümläut"""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Page(HTMLParser):
    """Elements and text of a document; a tag that is not closed in its turn raises."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def previewed(finished_run: Callable) -> Callable[..., Path]:
    """A previewed run's page on disk."""

    def make(**asked: object) -> Path:
        made = finished_run(**asked)
        write_preview(made.run, made.ledger)
        return Path(made.run.output.uri_of(PAGE))

    return make


def test_every_reference_is_relative_and_there(previewed: Callable[..., Path]) -> None:
    file = previewed(samples=3)
    page = Page(file.read_text())
    references = [a["src"] for a in page.all("img")] + [a["href"] for a in page.all("a")]
    assert len(page.all("article")) == 3
    assert len(page.all("img")) == 9
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for reference in references:
        assert not re.match(r"[a-z]+:|/", reference)
        assert reference[1:] in ids if reference[0] == "#" else (file.parent / unquote(reference)).is_file()
    assert "http" not in file.read_text()
    assert page.all("link") == []
    assert all("src" not in script for script in page.all("script"))
    assert {label["for"] for label in page.all("label")} == {i["id"] for i in page.all("input")}


def test_the_report_and_the_measures_are_told(previewed: Callable[..., Path]) -> None:
    text = Page(previewed().read_text()).text
    for told in (
        "Cyst of the liver, round-like, 18 x 16 x 16 mm",
        "4.61 ml (asked 2.41)",
        "-60 HU (asked -60)",
        "case, v",
    ):
        assert told in text


def test_free_text_stays_text(previewed: Callable[..., Path]) -> None:
    plain, hostile = (
        Page(previewed(samples=n, **extra).read_text()) for n, extra in ((1, {}), (1, {"free_text": _HOSTILE}))
    )
    assert _HOSTILE in hostile.text
    tags = [tag for tag, _ in hostile.elements]
    row = ["tr", "th", "td"]
    assert sorted(tags) == sorted([tag for tag, _ in plain.elements] + row)
    assert not any(name.startswith("on") for _, attributes in hostile.elements for name in attributes)


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A headless browser with no way to any network; skips where there is none."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(_BROWSERS)} is on the PATH")
    quiet = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-sync"
    profile = tmp_path / "profile"
    profile.mkdir()

    def run(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
        command = [browser, *(f"--{option}" for option in quiet.split()), "--disable-component-update"]
        command += [f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"]
        return subprocess.run(
            [*command, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )

    return run


def test_a_browser_shows_all_of_it(previewed: Callable[..., Path], browse: Callable, tmp_path: Path) -> None:
    file = previewed(samples=3, free_text=_HOSTILE)
    shown = browse(file, "--dump-dom")
    page = Page(shown.stdout)
    assert page.all("body")[0]["data-pictures"] == "9 of 9"
    assert len(page.all("article")) == 3
    assert "hidden" in next(p for p in page.all("p") if p.get("id") == "missing")
    assert "<title>Dataset501_LesionForge: preview</title>" in shown.stdout
    assert "CONSOLE" not in shown.stderr
    picture = tmp_path / "page.png"
    browse(file, f"--screenshot={picture}", "--window-size=1200,900")
    assert picture.stat().st_size > 50_000


_PRESS = """<script>addEventListener("load", () => {
  const shown = () => [...document.images].filter((i) => i.getClientRects().length).map((i) => i.className).join();
  const states = { at_first: shown() };
  for (const key of ["b", "a", "o"]) {
    document.dispatchEvent(new KeyboardEvent("keydown", { key }));
    states[key] = shown();
  }
  document.querySelector('[value="before"]').click();
  states.clicked = shown();
  Object.assign(document.body.dataset, states);
});</script></body>"""


def test_what_is_chosen_is_shown(previewed: Callable[..., Path], browse: Callable) -> None:
    file = previewed(samples=2)
    file.write_text(file.read_text().replace("</body>", _PRESS))
    body = Page(browse(file, "--dump-dom").stdout).all("body")[0]
    assert body["data-b"] == "before,before"
    assert body["data-a"] == "after,after"
    assert body["data-o"] == body["data-at_first"] == "after,outline,after,outline"
    assert body["data-clicked"] == "before,after,outline"


def test_a_browser_without_scripts_shows_and_switches_too(previewed: Callable[..., Path], browse: Callable) -> None:
    file = previewed()
    scriptless = re.sub(r"<script>.*?</script>", "", file.read_text(), flags=re.DOTALL)
    file.write_text(scriptless.replace("</body>", _PRESS))
    body = Page(browse(file, "--dump-dom").stdout).all("body")[0]
    assert (body["data-at_first"], body["data-clicked"]) == ("after,outline", "before")


def test_a_browser_says_what_is_missing(previewed: Callable[..., Path], browse: Callable) -> None:
    file = previewed()
    next((file.parent / "lesions").iterdir()).unlink()
    shown = browse(file, "--dump-dom")
    page = Page(shown.stdout)
    assert page.all("body")[0]["data-pictures"] == "2 of 3"
    assert "1 of 3 pictures are not here" in page.text
    assert "hidden" not in next(p for p in page.all("p") if p.get("id") == "missing")


def test_the_browser_would_report_an_error(browse: Callable, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<!doctype html><title>broken</title><script>nowhere();</script>")
    assert "CONSOLE" in browse(broken, "--dump-dom").stderr

"""Style and script of the preview page. The script adds keys and a warning; the page works without it."""

from __future__ import annotations

from engine.preview.drawing import LESION_RGB, ORGAN_RGB, Rgb


def _css(colour: Rgb) -> str:
    return f"rgb({', '.join(map(str, colour))})"


CSS = f"""
:root {{ color-scheme: light; --ink: #1c2024; --faint: #5c6670; --line: #dde1e5; --accent: #0b62a8; }}
* {{ box-sizing: border-box; }}
html {{ scroll-behavior: smooth; }}
body {{ margin: 0 auto; padding: 1.5rem; max-width: 84rem; color: var(--ink); background: #f6f7f8;
  font: 16px/1.5 system-ui, sans-serif; }}
h1 {{ margin: 0; font-size: 1.5rem; }}
h2 {{ margin: 0; font-size: 1.2rem; }}
h3 {{ grid-column: 1 / -1; margin: 0; font-size: 1.05rem; }}
header p {{ max-width: 60rem; margin: .5rem 0; }}
a {{ color: var(--accent); }}
:focus-visible {{ outline: 3px solid var(--accent); outline-offset: 2px; }}
.lesion-ink, .organ-ink {{ padding: .05em .4em; border-radius: .2rem; color: #000; }}
.lesion-ink {{ background: {_css(LESION_RGB)}; }}
.organ-ink {{ background: {_css(ORGAN_RGB)}; }}
kbd {{ padding: 0 .35em; border: 1px solid var(--line); border-radius: .2rem; background: #fff; }}
#missing {{ padding: .5rem .75rem; border-left: 4px solid #b3261e; background: #fdecea; }}
nav ul {{ display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: .75rem 0 0; padding: 0; list-style: none; }}
article {{ margin: 1.5rem 0; padding: 1.25rem; border: 1px solid var(--line); border-radius: .5rem; background: #fff; }}
.facts, .window {{ margin: 0; color: var(--faint); font-size: .9rem; }}
.files a {{ margin-left: .75rem; }}
section {{ display: grid; grid-template-columns: minmax(0, 47rem) minmax(16rem, 1fr); gap: .5rem 1.5rem;
  margin-top: 1rem; padding-top: 1rem; border-top: 1px solid var(--line); }}
@media (max-width: 60rem) {{ section {{ grid-template-columns: minmax(0, 1fr); }} }}
.viewer label {{ margin-right: 1rem; padding: 0 .25rem; cursor: pointer; }}
.pictures {{ position: relative; margin: .4rem 0; border-radius: .25rem; background: #000; overflow: hidden; }}
.pictures img {{ display: block; width: 100%; height: auto; }}
.pictures .outline {{ position: absolute; inset: 0; }}
[value="before"]:checked ~ .pictures :is(.after, .outline) {{ display: none; }}
[value="after"]:checked ~ .pictures :is(.before, .outline) {{ display: none; }}
[value="outline"]:checked ~ .pictures .before {{ display: none; }}
.words p {{ margin: 0 0 .75rem; }}
table {{ width: 100%; margin-bottom: .75rem; border-collapse: collapse; font-size: .9rem; }}
caption {{ padding: .15rem 0; color: var(--faint); text-align: left; }}
th, td {{ padding: .15rem .5rem .15rem 0; border-top: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }}
th {{ width: 9.5rem; font-weight: 500; color: var(--faint); }}
@media print {{ body {{ background: #fff; }} .viewer input, .viewer label, .keys, nav {{ display: none; }}
  section {{ break-inside: avoid; }} }}
"""

SCRIPT = """
"use strict";
const states = { b: "before", a: "after", o: "outline" };
const samples = [...document.querySelectorAll("article")];
document.querySelector(".keys").hidden = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in states) {
    for (const choice of document.querySelectorAll(`input[value="${states[event.key]}"]`)) choice.checked = true;
  } else if (event.key === "j" || event.key === "k") {
    const current = samples.findLastIndex((sample) => sample.getBoundingClientRect().top < 10);
    const next = samples[Math.max(0, Math.min(samples.length - 1, current + (event.key === "j" ? 1 : -1)))];
    next.scrollIntoView();
    next.focus({ preventScroll: true });
  }
});
addEventListener("load", () => {
  const pictures = [...document.images];
  const missing = pictures.filter((picture) => !picture.naturalWidth).length;
  document.body.dataset.pictures = `${pictures.length - missing} of ${pictures.length}`;
  if (missing) {
    const notice = document.getElementById("missing");
    notice.textContent = `${missing} of ${pictures.length} pictures are not here: keep the folder "preview" together.`;
    notice.hidden = false;
  }
});
"""

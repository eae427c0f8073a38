"""What a run did, or would do, in a table."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.table import Table

from engine.io.ledger import Ledger
from engine.io.runfile import RunFile
from engine.io.storage import OutputFolder
from engine.planner import Plan
from engine.settings import Settings

_MOST_REASONS = 10


def print_summary(output: OutputFolder, settings: Settings, *, most_reasons: int | None = _MOST_REASONS) -> None:
    """Samples, lesions by organ, failures by reason (all of them where `most_reasons` is None), and where to look."""
    console = Console(markup=False, highlight=False)  # a path or a reason may hold [brackets]
    ledger = Ledger(output)
    statuses: Counter[str] = Counter()
    organs: Counter[str] = Counter()
    types: dict[str, Counter[str]] = {}
    reasons: Counter[tuple[str, str, str]] = Counter()
    first: dict[tuple[str, str, str], str] = {}
    cases: set[str] = set()
    for row in ledger.rows():
        statuses[row["status"]] += 1
        if row["status"] != "done":
            reason = row["status"], row["stage"], row["reason"]
            reasons[reason] += 1
            first.setdefault(reason, row["sample_id"])
            continue
        cases.add(row["case_id"])
        for lesion in row["lesions"]:
            organs[lesion["organ"]] += 1
            types.setdefault(lesion["organ"], Counter())[lesion["lesion_type"]] += 1
    table = Table(title=f"{output.uri}", title_justify="left")
    for heading in ("organ", "lesions", "types"):
        table.add_column(heading, justify="right" if heading == "lesions" else "left")
    for organ, count in organs.most_common():
        kinds = ", ".join(f"{n} {t}" for t, n in types[organ].most_common())
        table.add_row(organ.replace("_", " "), str(count), kinds)
    console.print(table)
    counts = ", ".join(f"{statuses[s]} {s}" for s in ("done", "rejected", "failed"))
    lines = [f"samples: {counts}; {organs.total()} lesions in {len(organs)} organs, from {len(cases)} cases"]
    shown = reasons.most_common(most_reasons)
    for (status, stage, text), count in shown:
        example = first[status, stage, text] + (", ..." if count > 1 else "")
        lines.append(f"  {count} {status} at {stage}: {text} ({example})")
    if len(shown) < len(reasons):
        rest = reasons.total() - sum(count for _, count in shown)
        lines.append(f"  {rest} more for {len(reasons) - len(shown)} other reasons: lesionforge inspect lists them all")
    lines.append(f"dataset: {output.uri_of(settings.write.dataset_folder)}")
    if output.exists("preview/contact_sheet.png"):
        lines.append(f"picture: {output.uri_of('preview/contact_sheet.png')}")
    for line in lines:
        console.print(line, soft_wrap=True)


def print_plan(settings: Settings, plan: Plan, ledger: Ledger, present: RunFile | None) -> None:
    """`--dry-run`: what would be done, and by whom."""
    console = Console(markup=False, highlight=False)
    committed = int(ledger.committed(plan.total).sum()) if present else 0
    execution = settings.execution
    table = Table(show_header=False)
    table.add_row("output", settings.output)
    table.add_row("cases", f"{plan.cases:,}")
    table.add_row("samples", f"{plan.total:,} ({committed:,} committed, {plan.total - committed:,} to make)")
    table.add_row("form", settings.write.form)
    table.add_row("backends", f"mask {settings.mask.backend}, paint {settings.paint.backend}")
    table.add_row("cpu tasks", f"{execution.workers or 'one a core'}, blocks of {execution.block_size}")
    for name, pool in execution.pools.items():
        table.add_row(name, f"{pool.min} to {pool.max} actors of {pool.num_cpus:g} CPU and {pool.num_gpus:g} GPU")
    gpus = sum(p.max * p.num_gpus for p in execution.pools.values())
    table.add_row("gpus", f"{gpus:g}")
    table.add_row("config", settings.config_hash)
    console.print(table)

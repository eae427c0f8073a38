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


def print_summary(output: OutputFolder, settings: Settings) -> None:
    """Samples, lesions by organ, failures by reason, and where to look."""
    console = Console()
    ledger = Ledger(output)
    statuses: Counter[str] = Counter()
    organs: Counter[str] = Counter()
    types: dict[str, Counter[str]] = {}
    reasons: Counter[tuple[str, str, str]] = Counter()
    cases: set[str] = set()
    for row in ledger.rows():
        statuses[row["status"]] += 1
        if row["status"] != "done":
            reasons[row["status"], row["stage"], row["reason"]] += 1
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
    console.print(f"samples: {counts}; {organs.total()} lesions in {len(organs)} organs, from {len(cases)} cases")
    for (status, stage, reason), count in reasons.most_common(10):
        console.print(f"  {count} {status} at {stage}: {reason}", highlight=False)
    console.print(f"dataset: {output.uri_of(settings.write.dataset_folder)}", highlight=False, soft_wrap=True)
    if output.exists("preview/contact_sheet.png"):
        console.print(f"picture: {output.uri_of('preview/contact_sheet.png')}", highlight=False, soft_wrap=True)


def print_plan(settings: Settings, plan: Plan, ledger: Ledger, present: RunFile | None) -> None:
    """`--dry-run`: what would be done, and by whom."""
    console = Console()
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

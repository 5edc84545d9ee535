"""What `build` says of its outcome, to people and as JSON."""

from __future__ import annotations

from medshards.common.console import say_some, tell
from medshards.common.text import counted
from medshards.shards.build.dataset import Result


def tell_result(result: Result) -> None:
    """Name what was refused."""
    told = [
        f"rejected {row['file'] or row['case']}: {row['code']}: {row['message']}" for row in result.rejects
    ]
    say_some([f"{result.slug}: {line}" for line in told], f"all are listed in {result.slug}/rejects.jsonl")


def facts(
    results: list[Result], failed: list[str], absent: list[str], left_out: dict[str, str]
) -> dict[str, object]:
    """The outcome as JSON values."""
    return {
        "datasets": [
            {
                "slug": r.slug,
                "samples": r.samples,
                "encoded": r.encoded,
                "reused": r.reused,
                "changed": r.changed,
                "rejects": r.rejects,
                "counts": r.manifest["counts"],
            }
            for r in results
        ],
        "failed": failed,
        "not_there": absent,
        "left_out": left_out,
    }


def tell_summary(results: list[Result], absent: list[str], left_out: dict[str, str], place: str) -> None:
    """A line for each dataset, and one for all."""
    for r in results:
        counts = r.manifest["counts"]
        splits = ", ".join(f"{counts[s]} {s}" for s in ("train", "val", "test") if counts[s])
        parts = [
            f"{r.samples} samples ({splits})" if splits else "0 samples",
            f"{counts['instances']} instances",
        ]
        if r.rejects:
            parts.append(f"{len(r.rejects)} rejected")
        parts += [f"{n} skipped ({reason})" for reason, n in sorted(counts["skipped"].items())]
        parts += [f"{n} lost ({what})" for what, n in sorted(counts["lost"].items())]
        if not r.changed:
            parts.append("up to date")
        tell(f"{r.slug}: {', '.join(parts)}")
    if absent:
        tell(f"not there ({len(absent)}): {', '.join(absent)}")
    if left_out:
        tell(f"left out for their licence ({len(left_out)}): {', '.join(left_out)}")
    total = sum(r.samples for r in results)
    tell(f"{counted(total, 'sample')} of {counted(len(results), 'dataset')} in {place}")

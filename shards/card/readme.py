"""README.md: the dataset card of a corpus, which the library `datasets` and the Hub's viewer read it by.

The front matter declares a configuration a dataset and `all`, with the type of every column. Its values are JSON,
which is YAML too: a line a configuration. https://huggingface.co/docs/hub/datasets-cards
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from medshards.curate.catalog.terms import WORDS
from medshards.shards.build.manifest import PICTURE
from medshards.shards.build.split import SPLITS
from medshards.shards.card.contents import Contents
from medshards.shards.card.features import features
from medshards.shards.card.text import MARK, markdown

ALL = "all"  # the configuration of all datasets
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

USE = """\
```python
from datasets import load_dataset  # 4.7 or newer

corpus = load_dataset("PATH OR HUB NAME", split="train", streaming=True)  # all datasets
one = load_dataset("PATH OR HUB NAME", "{slug}")  # one of them, all its splits
```

| column | content |
|---|---|
| `png`, `jpg` | the image, in the one of its format; the other is null |
| `mask.png`, `mask1.png` | maps of instance ids, 0 is background; objects that overlap lie on different maps |
| `txt` | the prompts, a text a line |
| `json` | the record: instances with concept, text, area and box, group, spacing, origin and more |

With medshards the masks come apart, and any sample is one ranged read:

```python
import medshards

for sample in medshards.open("PATH", split="train"):
    for prompt, masks in sample.masks.items():  # "polyp": bool N×H×W
        ...
```
"""
BUILT = """\
Built by medshards {tool} with profile `{profile}` from the files as their publishers give them. Splits are by patient,
video, volume or set of alike pictures, unless the authors publish their own. Each `manifest.json` says which code,
libraries and rules made the dataset; each record names its source files with their SHA-256. `medshards verify`
recomputes every digest, `croissant.json` describes the files for other tools.
"""
LICENCES = """\
Each dataset keeps the licence that its authors gave it. `stated` is what the publisher of the data says; all else is
hearsay, and `unknown` is no permission. Whom to cite: [ATTRIBUTION.md](ATTRIBUTION.md), [citations.bib](citations.bib).
"""


def readme(contents: Contents) -> str:
    """Content of README.md."""
    slugs = list(contents.manifests)
    parts = [
        _front_matter(contents),
        "# Medical segmentation corpus",
        f"<!-- {MARK} -->",
        contents.summary,
        "## Use",
        USE.format(slug=slugs[0] if slugs else "SLUG"),
        "## Modalities",
        _modalities(contents),
        "## Datasets",
        _datasets(contents),
        "## Licences",
        LICENCES + _bound(contents),
        _licences(contents),
        "## How it was built",
        BUILT.format(tool=contents.tool, profile=contents.profile),
        "## Samples",
        *(f"![Samples of {slug} with their masks]({slug}/{PICTURE})" for slug in slugs),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _front_matter(contents: Contents) -> str:
    slugs = list(contents.manifests)
    total = contents.count(slugs, "samples")
    entries = [(ALL, slugs), *((slug, [slug]) for slug in slugs)]
    fields: dict[str, Any] = {
        "pretty_name": "Medical segmentation corpus",
        "task_categories": ["image-segmentation"],
        "tags": ["medical", "webdataset", "medshards"],
        "size_categories": [next((name for limit, name in SIZES if total < limit), "n>1M")],
        **_licence(contents),
    }
    lines = [f"{name}: {_json(value)}" for name, value in fields.items()]
    lines += ["configs:", *(f"- {_json(_config(contents, *entry))}" for entry in entries)]
    lines += ["dataset_info:", *(f"- {_json(_info(contents, *entry))}" for entry in entries)]
    return "\n".join(["---", *lines, "---"])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False)


def _licence(contents: Contents) -> dict[str, str]:
    """The licence of the card: that of all datasets where it is one, and stated by their publishers."""
    licences = [about["licence"] for about in contents.about.values()]
    named = {each["spdx"] if each["certainty"] == "stated" else None for each in licences}
    if len(named) == 1 and (spdx := named.pop()):
        return {"license": spdx.lower()}
    return {"license": "other", "license_name": "per-dataset", "license_link": "ATTRIBUTION.md"}


def _config(contents: Contents, name: str, slugs: Sequence[str]) -> dict[str, Any]:
    files = [
        {"split": split, "path": [f"{s}/{split}/*.tar" for s in slugs if split in contents.shard_bytes([s])]}
        for split in contents.shard_bytes(slugs)
    ]
    return {"config_name": name, **({"default": True} if name == ALL else {}), "data_files": files}


def _info(contents: Contents, name: str, slugs: Sequence[str]) -> dict[str, Any]:
    counts = [contents.manifests[slug]["counts"] for slug in slugs]
    sizes = contents.shard_bytes(slugs)
    return {
        "config_name": name,
        "features": features(
            {m for c in counts for m in c["members"]}, {e for c in counts for e in c["extra"]}
        ),
        "splits": [
            {"name": split, "num_bytes": size, "num_examples": contents.count(slugs, split)}
            for split, size in sizes.items()
        ],
        "download_size": sum(sizes.values()),
        "dataset_size": sum(sizes.values()),
    }


def _modalities(contents: Contents) -> str:
    by_modality: dict[str, list[str]] = {}
    for slug in contents.manifests:
        by_modality.setdefault(contents.about[slug]["modality"], []).append(slug)
    rows = [
        [markdown(modality), len(slugs), contents.count(slugs, "samples"), contents.count(slugs, "instances")]
        for modality, slugs in by_modality.items()
    ]
    return _table(["modality", "datasets", "images", "instances"], rows)


def _datasets(contents: Contents) -> str:
    rows = []
    for slug in contents.manifests:
        facts = contents.about[slug]
        counts = [contents.count([slug], what) for what in (*SPLITS, "instances")]
        rows.append([f"`{slug}`", markdown(facts["title"]), markdown(facts["modality"]), *counts])
    return _table(["config", "dataset", "modality", *SPLITS, "instances"], rows)


def _bound(contents: Contents) -> str:
    if contents.terms is None:
        return ""
    unknown = ", or is not known to forbid it" if contents.terms.allow_unknown else ""
    use = WORDS[contents.terms.use]
    return f"\nThis corpus was built with `--licence {contents.terms.use}`: each licence in it allows {use}{unknown}.\n"


def _licences(contents: Contents) -> str:
    rows = []
    for slug in contents.manifests:
        licence = contents.about[slug]["licence"]
        terms = [licence[what] for what in ("certainty", "redistribution", "commercial")]
        rows.append([f"`{slug}`", markdown(licence["name"]), *terms])
    return _table(["config", "licence", "certainty", "redistribution", "commercial use"], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)

"""What names in a corpus may not tell: when a patient was seen, of which age, sex or weight, with which disease.

Keys, groups, file names, rejects and log lines are looked through, here where a download is damaged, and in
`test_build` for every phantom, which has such names as the real download. The class by which a dataset sorts its images
is its annotation and no identity; LABELS lists those that stand in names.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from medshards.shards.build import index

PATTERNS = {
    "date": r"(?<!\d)(?:19|20)\d\d[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?!\d)",
    "time": r"(?<!\d)1[3-7]\d{8}(?:\d{3})?(?!\d)",  # seconds or milliseconds since 1970, as telephones name photographs
    "age": r"(?i:(?<![a-z])(?:age|ga|pa|pma)[-_ ]?\d{1,3}(?![\da-z]))|(?<!\d)\d{1,3}(?:Y|yo|years?)(?![A-Za-z])",
    "sex": r"(?:^|[-_./ ])(?:F|M|(?i:female|male|woman|man|boy|girl))(?:$|[-_./ ])",
    "weight": r"(?i:(?<![a-z])(?:bw|weight)[-_ ]?\d+)|(?<![\da-z])\d{2,5} ?k?g(?![a-z])",
    "diagnosis": r"(?i:(?<![a-z])(?:dg|icd)[-_ ]?\d+|covid|pneumonia|tubercul|benign|malignant|normal(?!ized)"
    r"|carcinoma|glaucoma|retinopathy)|CXR_\d+_[01]",
}
LABELS = {
    "busi": {"benign", "malignant", "normal"},  # its three classes
    "intraretinal_fluid": {"f"},  # flipped: a mirror image of another sample
}
"""What looks so in published names of a dataset and is its annotation, or no fact of a patient."""
HASH = re.compile(
    r"(?<![0-9a-zA-Z])(?:[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![0-9a-z])"
)


def told(text: str, slug: str) -> set[str]:
    """What a text tells, by the names of PATTERNS; hashes and the dataset's own classes tell nothing."""
    text = HASH.sub("#", text.replace(slug, "#"))
    return {
        what
        for what, pattern in PATTERNS.items()
        for match in re.finditer(pattern, text)
        if match[0].strip("_-./ ").lower() not in LABELS.get(slug, ())
    }


IDENTITY = ("key", "group", "own_group", "volume", "pair", "origin", "name", "case")


def names(folder: Path) -> Iterator[str]:
    """Keys, groups, volumes, pairs, origins and members of a built dataset, and its lists of what was left out."""
    for path in sorted(folder.rglob("*")):
        yield path.relative_to(folder).as_posix()
        if path.suffix == ".tar":
            with tarfile.open(path) as tar:
                for member in tar.getmembers():
                    yield member.name
                    if member.name.endswith(".json"):
                        content = tar.extractfile(member)
                        assert content is not None, member.name
                        record = json.load(content)
                        yield from (str(record[field]) for field in IDENTITY if record.get(field))
    yield from (folder / "rejects.jsonl").read_text().splitlines()
    yield str(json.loads((folder / "manifest.json").read_bytes())["partly_skipped"])
    for row in index.read_rows(folder / index.INDEX):
        yield from (str(row[column]) for column in IDENTITY if row.get(column))

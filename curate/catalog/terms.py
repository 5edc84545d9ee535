"""Whether the licence of a dataset allows a use: the rule behind `build --licence` and `catalog --licence`.

It rests on the facts of catalog.yaml (docs/catalog.md, "Licences") and on nothing else: `commercial` and
`redistribution` as they stand there. Research is allowed where the publisher's own terms were seen (`certainty:
stated`), because all of those allow it at least; where nobody's words were seen, nothing is known. This is a reading of
licences, not legal advice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from medshards.curate.catalog.entry import Known, Licence

Use = Literal["commercial", "research", "redistributable"]
USES: tuple[Use, ...] = get_args(Use)
WORDS: dict[Use, str] = {
    "commercial": "commercial use",
    "research": "use in research",
    "redistributable": "passing the data on",
}


def allows(licence: Licence, use: Use) -> Known:
    """Whether a licence allows a use, as far as the catalog knows."""
    if use == "research":
        return "yes" if licence.certainty == "stated" else "unknown"
    return licence.commercial if use == "commercial" else licence.redistribution


@dataclass(frozen=True)
class Terms:
    """What every dataset of a corpus must be usable for. allow_unknown: also those of which nothing is known."""

    use: Use
    allow_unknown: bool = False

    def objection(self, licence: Licence) -> str | None:
        """Why a dataset under this licence must stay out, None when it need not."""
        known = allows(licence, self.use)
        if known == "yes" or (known == "unknown" and self.allow_unknown):
            return None
        named = f"its licence, {licence.name} [{licence.certainty}],"
        if known == "no":
            return f"{named} forbids {WORDS[self.use]}"
        return f"{named} is not known to allow {WORDS[self.use]}; --allow-unknown takes it all the same"

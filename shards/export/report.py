"""What an export came to, counted: nothing is left out in silence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """Numbers of images and instances written, and of what the target format cannot hold, in words."""

    images: int = 0
    instances: int = 0
    changed: Counter[str] = field(default_factory=Counter)  # written, but not as it was
    lost: Counter[str] = field(default_factory=Counter)  # not written

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "images": self.images,
            "instances": self.instances,
            "changed": dict(self.changed),
            "lost": dict(self.lost),
        }

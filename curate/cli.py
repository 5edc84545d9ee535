"""Commands of the curate room; medshards.py looks them up here by name."""

from curate.catalog_cli import catalog

__all__ = ["catalog"]

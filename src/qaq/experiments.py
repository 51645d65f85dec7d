"""Where Hydra finds experiments=NAME: experiments/NAME.yaml, beside conf/, because each is a document with a claim and its
numbers, and no default of anything."""

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

ROOT = Path(__file__).resolve().parents[2]


class Experiments(SearchPathPlugin):
    """The repository's root as a second place for groups: hydra.searchpath would depend on the working directory."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra."""
        search_path.append("experiments", f"file://{ROOT}")

"""The files of sweeps/ as the choices of Hydra's config group `sweep`.

Hydra looks for a group in a folder of the same name, but these files are in `sweeps`. So a plugin
reads them (https://hydra.cc/docs/1.3/advanced/plugins/overview/). Hydra's ConfigStore would also
work, but `--help` copies it once for each group, which takes half a second.
"""

import importlib.resources
from importlib.resources.abc import Traversable

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

SCHEME, GROUP = "sweeps", "sweep"


class SweepSource(ConfigSource):
    """A search path with the group `sweep`, whose configs are the files of lrbench.sweeps."""

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        file = _files().get(config_path.removesuffix(".yaml"))
        if file is None:
            raise ConfigLoadError(f"Config not found: {config_path}")
        config = OmegaConf.create(file.read_text(encoding="utf-8"))
        return ConfigResult(
            provider=self.provider, path=self.full_path(), config=config, header={"package": "_global_"}
        )

    def is_group(self, config_path: str) -> bool:
        return config_path in ("", GROUP)

    def is_config(self, config_path: str) -> bool:
        return config_path.removesuffix(".yaml") in _files()

    def available(self) -> bool:
        return True

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path == "":
            return [] if results_filter == ObjectType.CONFIG else [GROUP]
        return [] if results_filter == ObjectType.GROUP else [path.removeprefix(f"{GROUP}/") for path in _files()]


class SweepSearchPath(SearchPathPlugin):
    """Appends SweepSource to every search path of Hydra."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(provider="lrbench", path=f"{SCHEME}://files")


def register_sweeps() -> None:
    """Register the files of sweeps/ with Hydra. Call it before a Hydra program starts."""
    for plugin in (SweepSource, SweepSearchPath):
        Plugins.instance().register(plugin)


def _files() -> dict[str, Traversable]:
    """Return the files by their config path, such as `sweep/quick`."""
    files = importlib.resources.files("lrbench.sweeps").iterdir()
    names = {path.name: path for path in sorted(files, key=lambda path: path.name) if path.name.endswith(".yaml")}
    return {f"{GROUP}/{name.removesuffix('.yaml')}": path for name, path in names.items()}

"""Source of a sweep: a protocol by name, or a file with a grid, a search or a protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.core.discovery import plugins, strategy_names
from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.fields import keys_of
from fewtune.core.naming import dashed
from fewtune.core.protocol import Protocol, load_protocol
from fewtune.core.run_config import FIELDS, RunConfig, split_options
from fewtune.core.toml import read_toml
from fewtune.model.load_strategy import load_strategy
from fewtune.sweeps.grid import Grid, expand, overridden, strategies_of

if TYPE_CHECKING:
    from fewtune.sweeps.runner import CaseSource

PROTOCOL, SEARCH = "protocol", "search"
# What a file may say of itself; it decides nothing.
METADATA = ("title", "paper", "expected", "tolerance", "groups")
# Keys of a file that a command line can set anew, by the name of their flag.
AXES = {
    "strategies": "strategy",
    "data": "data",
    "shots": "shots",
    "seeds": "seed",
    "backbone": "backbone",
}
# Fields of a run that take several values themselves: there, a list of lists is an axis.
LISTS = tuple(
    dashed(name) for name, field in RunConfig.model_fields.items() if "tuple" in str(field)
)


@dataclass(frozen=True)
class SweepFile:
    """What is to be swept.

    Attributes:
        protocol: The protocol's class; None for a grid.
        values: Contents of the file, keys with "-", without what only describes it.
    """

    where: str
    protocol: type[Protocol] | None
    values: Mapping[str, Any]

    @classmethod
    def of(cls, what: str | Path) -> SweepFile:
        """Return the sweep of a protocol's name or of a file.

        Raises:
            ConfigError: There is neither, or the file cannot be read.
        """
        path, names = Path(what), plugins("protocols")
        if str(what).lower().replace("_", "-") in names:
            return cls("", load_protocol(str(what)), {})
        if path.suffix != ".toml" and not path.exists():
            raise ConfigError(
                f"There is no protocol and no file {str(what)!r}.",
                hint=f"{did_you_mean(str(what), names)} See `fewtune list protocols`.",
            )
        values = {key: value for key, value in read_toml(path).items() if key not in METADATA}
        name = values.pop(PROTOCOL, None)
        return cls(str(path), None if name is None else load_protocol(str(name)), values)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of what can be chosen: fields of the protocol, or axes of the grid."""
        return tuple(AXES if self.protocol is None else self.protocol.model_fields)

    @property
    def runs(self) -> str | None:
        """Folder or URL of run folders that the file names."""
        runs = self.values.get("runs")
        return runs if isinstance(runs, str) else None

    def shared(self) -> dict[str, Any]:
        """Return the values that a protocol's file sets for all of its runs, by field.

        Raises:
            ConfigError: A key is a field neither of the protocol nor of a run.
        """
        if self.protocol is None:
            return {}
        known = set(map(dashed, self.protocol.model_fields))
        rest = {key: value for key, value in self.values.items() if key not in known}
        own, unknown = split_options({k: v for k, v in rest.items() if k not in ("runs", "cards")})
        for key in unknown:
            names = [*known, *FIELDS]
            raise ConfigError(
                f"{self.where} has the unknown key {dashed(key)!r}.",
                hint=f"{did_you_mean(dashed(key), names)} Keys are the fields of "
                f"{self.protocol.name()} and flags of `fewtune sweep`.",
            )
        return own

    def source(self, chosen: Mapping[str, Any]) -> CaseSource:
        """Return the source of the cases.

        Args:
            chosen: Values that count more than the file's: fields of the protocol, or axes of the
                grid (`AXES`), each a value or several.

        Raises:
            ConfigError: A key or a value is wrong.
        """
        self._check_tables()
        return self._grid(chosen) if self.protocol is None else self._protocol(chosen)

    def _check_tables(self) -> None:
        """Refuse an unknown key in a strategy's table, before any image is opened."""
        tables = self.values if self.protocol is None else self.values.get("options", {})
        for name in strategy_names():
            table = tables.get(name, [])
            for one in table if isinstance(table, list) else [table]:
                of_data = (value for value in one.values() if isinstance(value, dict))
                flat = {key: value for key, value in one.items() if not isinstance(value, dict)}
                for values in (flat, *of_data):
                    self._check_keys(name, values)

    def _check_keys(self, strategy: str, values: Mapping[str, Any]) -> None:
        kind = load_strategy(strategy)
        models = [kind, type(kind.recipe)] if kind.recipe else [kind]
        known = {k for m in models for n, f in m.model_fields.items() for k in keys_of(n, f)}
        for key in map(dashed, split_options(values)[1]):
            if key not in known:
                raise ConfigError(
                    f"{self.where}: [{strategy}] has the unknown key {key!r}.",
                    hint=did_you_mean(key, [*known, *FIELDS]),
                )

    def _protocol(self, chosen: Mapping[str, Any]) -> Protocol:
        assert self.protocol is not None
        fields = self.protocol.model_fields
        known = {dashed(key): key for key in fields}
        filed = {known[key]: value for key, value in self.values.items() if key in known}
        several = {name for name, field in fields.items() if "tuple" in str(field.annotation)[:6]}
        values = {
            name: [value] if name in several and not isinstance(value, list | tuple) else value
            for name, value in {**filed, **chosen}.items()
        }
        return self.protocol.of(values, self.where or self.protocol.name())

    def _grid(self, chosen: Mapping[str, Any]) -> CaseSource:
        axes = {AXES[name]: [*map(_number, _listed(value))] for name, value in chosen.items()}
        table = self.values.get(SEARCH)
        rest = {key: value for key, value in self.values.items() if key != SEARCH}
        if self.runs is not None:
            rest.pop("runs")
        grid = Grid(tuple(expand(overridden(rest, axes), strategy_names(), LISTS)))
        if table is None:
            return grid
        from fewtune.sweeps.search import searched

        return searched(grid, table, self.where, strategies_of(rest), LISTS)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value

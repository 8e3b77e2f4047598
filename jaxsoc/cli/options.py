"""Options, declared once in the class of a verb's configuration: read and shown."""

import difflib
import json
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

_Config = TypeVar("_Config", bound="Config")
_LARGEST_FILE = 2**20  # bytes: a configuration is a page, and /dev/zero has no end


class Option(NamedTuple):
    """What stands for the value of an option, or is its unit, and what it is.

    `repeated`: a list whose option is given once for each item, not with commas;
    `alone`: given without the option's name.
    """

    metavar: str | None
    text: str
    repeated: bool = False
    alone: bool = False


def option(default: Any, metavar: str | None, text: str, **more: bool) -> Any:
    """A field of a configuration: its default and its `Option`."""
    said = Option(metavar, text, **more)
    return Field(default, json_schema_extra={"option": said})  # pyright: ignore


FOLDER = Path("jaxsoc-output")
OUT, FIGURES = ("DIR", "For {results} and figures"), (None, "Write {results} alone")


class Config(BaseModel):
    """Options of a verb, or of a table of its file; every number is finite.

    A field says what it is by an `Option`, which classes that inherit it share.
    `results`: name of the file that the verb writes; `file_only`: fields without an
    option on the command line; `unused`: inherited fields that mean nothing, and to
    what.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    results: ClassVar[str] = ""
    file_only: ClassVar[Collection[str]] = frozenset()
    unused: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def known(cls) -> dict[str, FieldInfo]:
        """Fields by name, without the unused ones."""
        fields = cls.model_fields.items()
        return {name: field for name, field in fields if name not in cls.unused}

    @classmethod
    def on_command_line(cls) -> list[str]:
        """Names of the fields that are options there: tables are none."""
        plain = lambda field: not isinstance(field.default, Config | dict)
        known = cls.known().items()
        return [n for n, field in known if plain(field) and n not in cls.file_only]

    @classmethod
    def said(cls, name: str) -> Option:
        """What a field is, as the nearest class says."""
        for parent in cls.__mro__:
            field = getattr(parent, "__pydantic_fields__", {}).get(name)
            held: Any = field and field.json_schema_extra
            if held:
                said = held["option"]
                return said._replace(text=said.text.format(results=cls.results))
        return Option(None, "")

    @classmethod
    def flag(cls, name: str) -> str:
        """The option of a field on the command line, which negates a true default."""
        if cls.said(name).alone:
            return ""
        no = "no-" if cls.model_fields[name].default is True else ""
        return f"--{no}{name.replace('_', '-')}"

    @classmethod
    def read_from(cls) -> set[str]:
        """Names of the fields that are paths of files to be read."""
        known = cls.known().items()
        return {n for n, one in known if "Path" in str(one.annotation)} - {"out"}

    @property
    def target(self) -> Path:
        """The file that the verb writes."""
        return self.out / self.results  # pyright: ignore

    @property
    def changed(self) -> set[str]:
        """Fields that were given other values than their defaults."""
        default = lambda name: type(self).model_fields[name].default
        return {n for n in self.model_fields_set if getattr(self, n) != default(n)}


def read_config(
    path: Path | None, options: Mapping[str, Any], model: type[_Config]
) -> _Config:
    """Configuration from a TOML file, if any, with the given options on top.

    An option that is None was not given.

    **Raises:** `ValueError` in one line for a file that cannot be read, a key that is
    not known (with the nearest one that is), or a value of the wrong kind.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = _read_toml(path)
        _check_keys(values, model, f"{path.name}: ")
        for name in values.keys() & model.read_from():
            # A path in a file is meant from where the file lies.
            one, given = lambda text: path.parent / str(text), values[name]
            values[name] = [*map(one, given)] if isinstance(given, list) else one(given)
    given = {name: value for name, value in options.items() if value is not None}
    _check_keys(given, model, "")
    try:
        return model.model_validate(values | given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        raise ValueError(
            f"{key}: {problem[0].lower()}{problem[1:]}, got {first['input']!r}"
        ) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"cannot read {str(path)!r}: it is not a regular file")
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error.strerror}") from None
    if len(text) > _LARGEST_FILE:
        raise ValueError(f"{path.name} is no configuration: it is larger than 1 MiB")
    try:
        return tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not valid TOML: {error}") from None


def _check_keys(values: Mapping[str, Any], model: type[Config], where: str) -> None:
    known = model.known()
    for key, value in values.items():
        if whom := model.unused.get(key):
            raise ValueError(f"{where}{key} means nothing to {whom}: leave it out")
        check_known("key", key, known, where)
        inner = known[key].annotation
        if isinstance(inner, type) and issubclass(inner, Config):
            if not isinstance(value, dict):
                raise ValueError(f"{where}{key} must be a table, got {value!r}")
            _check_keys(value, inner, f"{where}[{key}] ")
        elif inner is not bool:
            for name, one in _booleans(key, value):
                raise ValueError(f"{where}{name} is neither true nor false, got {one}")


def _booleans(name: str, value: Any) -> Iterator[tuple[str, bool]]:
    """What is true or false in a value, a list or a table, with its name."""
    if isinstance(value, bool):
        yield name, value
    held = enumerate(value) if isinstance(value, list) else ()
    for key, one in value.items() if isinstance(value, dict) else held:
        yield from _booleans(f"{name}.{key}", one)


def check_known(
    what: str, received: str, known: Collection[str], where: str = ""
) -> None:
    """Refuses a name that is not known, with the nearest one that is: `ValueError`."""
    if received in known:
        return
    near = difflib.get_close_matches(received, known, n=1, cutoff=0.5)
    said = f"did you mean {near[0]!r}? " if near else ""
    said += f"known are {', '.join(known)}"
    raise ValueError(f"{where}unknown {what} {received!r}: {said}")


def check_different(what: str, names: Collection[str]) -> None:
    """Refuses a name that is given twice: `ValueError`."""
    if len(set(names)) < len(names):
        raise ValueError(f"{what} names one twice: {', '.join(names)}")


def as_toml(config: Config) -> str:
    """A configuration as a TOML file that says of every key what it is."""
    return "\n".join(_lines(config)).strip() + "\n"


def _lines(config: Config) -> Iterator[str]:
    cls, held = type(config), config.model_dump(mode="json")
    table = lambda name: isinstance(getattr(config, name), Config | dict)
    # Tables come last: what follows the heading of one belongs to it.
    for name in sorted(cls.known(), key=table):
        value, (metavar, text, *_) = getattr(config, name), cls.said(name)
        if isinstance(value, Config):
            yield from ("", f"[{name}]", *_lines(value))
            continue
        if cls.results and name in cls.on_command_line():
            text = f"{' '.join(filter(None, (cls.flag(name), metavar)))}: {text}"
        elif metavar:
            text = f"{text} ({metavar})"
        yield from ("", *(f"# {line}" for line in text.splitlines()))
        if value is None:
            yield f"# {name} ="
        elif not table(name):  # one without a class is shown by its text
            # What JSON writes of text, numbers and lists is TOML as well.
            yield f"{name} = {json.dumps(held[name], ensure_ascii=False)}"

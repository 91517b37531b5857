"""Recipes from YAML and back, with overrides.

An unknown key is an error with close matches, and all problems of a recipe are reported together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from xlasr.config.base import Settings, dicts
from xlasr.config.misfits import misfits
from xlasr.config.settings import Recipe
from xlasr.errors import ConfigError, UnknownName, UsageError, did_you_mean

RECIPE_FOLDERS = (Path(__file__).parents[3] / "recipes", Path(__file__).parents[1] / "recipes")


def parse_recipe(tree: Mapping[str, Any], source: str) -> Recipe:
    """Check a recipe.

    Args:
        tree: Parsed YAML.
        source: For messages.

    Raises:
        ConfigError: With every problem found.
    """
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        # pydantic looks at what lies between fields only where every field is right
        found = [dict(e) for e in error.errors() if e["type"] != "value_error" or e["loc"]]
        between = misfits(tree) if isinstance(tree, Mapping) else []
        raise ConfigError(source, [_explain(e, tree) for e in found] + between) from None


def _explain(error: dict[str, Any], tree: Any) -> str:
    where = _place(error["loc"], tree)
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        known = _fields_at(error["loc"][:-1])
        return f"{where}: unknown key.{did_you_mean(key, known)}"
    found = "" if error["type"] == "missing" else f" (found {error['input']!r:.60})"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}{found if error['loc'] else ''}"


def _place(loc: Sequence[Any], tree: Any) -> str:
    """A location as ``--set`` writes it: a stage by its name, where it has one of its own."""
    parts = [str(part) for part in loc]
    if len(loc) > 2 and loc[0] == "stages" and isinstance(loc[1], int):
        stages = tree["stages"]
        names = [stage.get("name") if isinstance(stage, Mapping) else None for stage in stages]
        name = names[loc[1]]
        if isinstance(name, str) and names.count(name) == 1 and loc[2] != "name":
            parts[:2] = [name]
    return ".".join(parts) or "recipe"


def _fields_at(loc: Sequence[Any]) -> list[str]:
    """Names of the fields of the settings object at a location in a recipe."""
    model: Any = Recipe
    for part in loc:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        model = _settings_in(field.annotation)
        if model is None:
            return []
    return list(model.model_fields)


def _settings_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _settings_in(argument)
        if found is not None:
            return found
    return None


def recipe_files() -> dict[str, Path]:
    """Recipes that come with xlasr, by name."""
    found: dict[str, Path] = {}
    for folder in RECIPE_FOLDERS:
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def recipes() -> list[Recipe]:
    """The recipes that come with xlasr, in the order of their names.

    Raises:
        ConfigError: A file of them was changed and is wrong.
    """
    return [load_recipe(name) for name in sorted(recipe_files())]


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path, with ``stage.field.field=value`` overrides.

    Args:
        name: A name that ``xlasr recipes`` lists, or a YAML file.
        overrides: ``adapt.optim.lr=3e-4`` changes the stage called ``adapt``;
            ``decode.beam=4`` and ``context.slack=32`` change the recipe itself.

    Raises:
        ConfigError: With every problem of the file and of the overrides.
        UnknownName: No such recipe.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        files = recipe_files()
        if name not in files:
            raise UnknownName("recipe", name, files)
        path = files[name]
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the recipe {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(str(path), [f"not YAML: {error}"]) from error
    if not isinstance(tree, dict):
        raise ConfigError(str(path), ["a recipe is a mapping with `family` and `stages`"])
    problems = [f"--set {p}" for p in (_override(tree, o) for o in overrides) if p]
    try:
        recipe = parse_recipe(tree, str(path))
    except ConfigError as error:
        raise ConfigError(str(path), problems + error.problems) from None
    if problems:
        raise ConfigError(str(path), problems)
    return recipe


def _override(tree: dict[str, Any], text: str) -> str | None:
    key, equals, value = text.partition("=")
    if not equals:
        return f"{text!r}: write stage.field=value"
    first, *rest = key.split(".")
    stages = {str(s.get("name")): s for s in dicts(tree.get("stages"))}
    if first in stages:
        node: Any = stages[first]
    elif first in Recipe.model_fields and first != "stages":
        node, rest = tree, [first, *rest]
    else:
        known = [*stages, *(f for f in Recipe.model_fields if f != "stages")]
        return f"{text!r}: no stage {first!r}.{did_you_mean(first, known)} Known: {known}"
    if not all(rest) or not rest:
        return f"{text!r}: name a field of {first!r}"
    try:
        parsed = yaml.safe_load(value)
        for part in rest[:-1]:
            at: Any = int(part) if isinstance(node, list) else part
            if isinstance(node, dict) and node.get(part) is None:
                node[part] = {}  # `noise.probability=0.5` turns on what was null
            node = node[at]
        node[int(rest[-1]) if isinstance(node, list) else rest[-1]] = parsed
    except yaml.YAMLError:
        return f"{text!r}: {value!r} is not YAML"
    except (TypeError, ValueError, IndexError):
        return f"{text!r}: there is no such field (a list takes a number from 0)"
    return None


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, every field spelled out."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, width=100)
    return text

"""JSON Schemas: they accept the shipped files and explain every option."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from srnas.components import Strict
from srnas.docstrings import entries, summary
from srnas.errors import UserError
from srnas.losses import LOSSES
from srnas.options import SearchOptions, TrainOptions
from srnas.regularizers.expected_cost import ExpectedCost
from srnas.schedules import multistep
from srnas.schemas import schema, schema_kinds
from tests.helpers import ROOT

FOLDERS = {"method": "methods"}  # where it is not the kind itself


def files(kind: str) -> list[Any]:
    """The content of the shipped files of a kind."""
    found = sorted((ROOT / "options" / FOLDERS.get(kind, kind)).glob("*.yml"))
    content = [yaml.safe_load(file.read_text()) for file in found]
    if kind == "study":
        content = [one for one in content if "arms" in one]
    for one in content:  # YAML 1.1 reads `on` as true, YAML 1.2 and editors do not
        if True in one:
            one["on"] = one.pop(True)
    return content


def properties(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """(place, schema) of every property of a schema, at any depth."""
    if isinstance(node, dict):
        for key, inner in node.get("properties", {}).items():
            yield f"{place}.{key}", inner
        for key, inner in node.items():
            yield from properties(inner, place if key == "properties" else f"{place}.{key}")
    elif isinstance(node, list):
        for inner in node:
            yield from properties(inner, place)


@pytest.mark.parametrize("kind", schema_kinds())
def test_every_option_has_a_description(kind):
    found = list(properties(schema(kind), kind))
    assert len(found) > 20
    for place, option in found:
        assert option.get("description", "").endswith("."), (place, option)


@pytest.mark.parametrize("kind", schema_kinds())
def test_a_schema_accepts_the_shipped_files_and_refuses_a_misspelt_key(kind):
    validator = jsonschema.Draft202012Validator(schema(kind))
    jsonschema.Draft202012Validator.check_schema(validator.schema)
    assert files(kind)
    for content in files(kind):
        validator.validate(content)
        assert not validator.is_valid({**content, "nmae": 1})


def test_the_schema_of_a_study_knows_the_options_of_its_searches():
    validator = jsonschema.Draft202012Validator(schema("study"))
    for content in files("study"):
        search = {**content["search"], "epoch": 1}
        assert not validator.is_valid({**content, "search": search})


def test_the_schema_of_a_method_knows_the_options_of_its_recipes():
    validator = jsonschema.Draft202012Validator(schema("method"))
    assert validator.is_valid({"on": {"darts": {"source": "the paper", "epochs": 50}}})
    assert not validator.is_valid({"on": {"darts": {"source": "the paper", "epoch": 50}}})
    assert not validator.is_valid({"about": {"papers": "the paper"}})
    assert not validator.is_valid({"recipe": "over"})  # which only a search has


def test_an_unknown_kind_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'study'"):
        schema("studdy")


def test_an_option_of_a_derived_model_has_the_description_of_its_base():
    class Derived(SearchOptions):
        """More options.

        Attributes:
            epochs: Another text.
            more: An option of its own.
        """

        more: int = 0

    options = Derived.model_json_schema()["properties"]
    base = SearchOptions.model_json_schema()["properties"]
    assert options["epochs"]["description"] == "Another text."
    assert options["more"]["description"] == "An option of its own."
    assert options["seed"]["description"] == base["seed"]["description"]
    assert Derived.model_json_schema()["description"] == "More options."


def test_a_model_without_a_docstring_has_the_descriptions_of_its_base_only():
    class Bare(Strict):
        size: int = 0

    described = Bare.model_json_schema()
    assert "description" not in described
    assert "description" not in described["properties"]["size"]


@pytest.mark.parametrize(
    ("owner", "section"),
    [
        (SearchOptions, "Attributes"),
        (TrainOptions, "Attributes"),
        (ExpectedCost, "Args"),
        (multistep, "Args"),
    ],
)
def test_docstrings_are_read_as_napoleon_reads_them(owner, section):
    napoleon = pytest.importorskip("sphinx.ext.napoleon", reason="needs srnas[docs]")
    config = napoleon.Config(napoleon_use_ivar=True)
    text = inspect.cleandoc(vars(owner)["__doc__"] if inspect.isclass(owner) else owner.__doc__)
    shown = str(napoleon.GoogleDocstring(text, config, what="class"))
    fields = re.findall(r"^:(?:param|ivar) (\w+): ((?:.*\n?)(?:[ ]+.*\n?)*)", shown, re.MULTILINE)
    expected = {name: " ".join(words.split()) for name, words in fields}
    assert len(expected) > 2
    own = entries(owner, section)
    assert {name: own[name] for name in expected} == expected
    assert " ".join(shown.partition("\n\n")[0].split()) == summary(owner)


def test_a_loss_of_basicsr_that_a_run_has_used_is_not_listed():
    before = schema("train")
    assert "CharbonnierLoss" in LOSSES
    assert "CharbonnierLoss" not in list(LOSSES)
    assert schema("train") == before

"""YAML and JSON within bounds: what is plain reads as ever, all else is told in one line."""

import json
import random

import pytest
import yaml

from srnas.documents import MAX_DEPTH, MAX_NODES, parse_json, parse_yaml
from srnas.errors import UserError
from tests.helpers import ROOT

FILES = sorted((ROOT / "options").rglob("*.yml"))


def laughs(line):
    """Twelve lines that each stand for nine times what the line before stands for."""
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {line.format(','.join([f'*a{n - 1}'] * 9))}"
             for n in range(1, 12))]  # fmt: skip
    return "\n".join(lines)


def nested(levels, inner=""):
    return "[" * levels + inner + "]" * levels


REFUSED = {
    laughs("[{}]"): r"line \d: more than 20,000 values",
    laughs("{{<<: [{}]}}"): r"line \d: more than 20,000 values",
    "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 99))]): "50 levels",
    "- x\n" * (MAX_NODES + 1): "more than 20,000 values",
    "a: &a [*a]": r"line 1: alias \*a contains itself",
    "a: " + nested(3000): "line 1: more than 50 levels",
    nested(MAX_DEPTH + 1): "more than 50 levels",
    "a:\n  !!int abc": "line 2: 'abc' is not of type int",
    "!!float [1]": "expected a scalar node",
    "a: !!timestamp x": "'x' is not of type timestamp",
    "a: 2020-99-99": "'2020-99-99' is not of type timestamp",
    "a: !!bool x": "'x' is not of type bool",
    "a: " + "9" * 5000: "a number of 5000 characters",
    "a: 0x" + "f" * 5000: "a number of 5002 characters",
    "a: " + ":".join(["59"] * 500): "a number of 1499 characters",
    "{.nan: 1}": "nan cannot be a key",
    "{[1]: 1}": "unhashable key",
    "{null: 1}": "None cannot be a key",
    "a: 1\nb: 2\na: 3": "line 3: key 'a' is given twice",
    r'a: "\0"': "has a character 0",
    "a: \x01": "special characters are not allowed",
    "a: [": "line 1: expected the node content",
    "--- a\n--- b": "another document",
    "a: !!python/name:os.system x": "could not determine a constructor",
}


@pytest.mark.parametrize(("text", "told"), REFUSED.items(), ids=[*map(str, range(len(REFUSED)))])
def test_yaml_beyond_the_bounds_is_told_in_one_line(text, told):
    with pytest.raises(UserError, match=rf"^f\.yml: ?.*{told}") as error:
        parse_yaml(text, "f.yml")
    assert len(str(error.value)) < 300
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_shipped_files_read_as_by_pyyaml(file):
    text = file.read_text()
    assert parse_yaml(text, "f") == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "on: 1",
        "a: &a {x: 1}\nb: *a\nc: {<<: *a, x: 2}\nd: {<<: [*a, *a]}",
        "a: 1e3\nb: 1.5e3",
        "a: 2020-02-29",
        "? a\n: b",
        "a: !!str 5\nb: !!set {x}",
        nested(MAX_DEPTH),
        nested(MAX_DEPTH, "x"),
        "{1: a, true: b, x: c}",
        "a: 0x1F\nb: 0o7\nc: 1_000\nd: 1:30",
    ],
)
def test_other_yaml_reads_as_by_pyyaml(text):
    assert parse_yaml(text, "f") == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (nested(3000), "more than 50 levels"),
        (nested(100_000), "more than 50 levels"),
        (nested(MAX_DEPTH + 1), "more than 50 levels"),
        ('{"a":' * 60 + "1" + "}" * 60, "more than 50 levels"),
        ("9" * 5000, "a number of 5000 digits"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "key 'c' is given twice"),
        ('{\n"a": }', "line 2: Expecting value"),
        ("", "line 1: Expecting value"),
    ],
)
def test_json_beyond_the_bounds_is_told_in_one_line(text, told):
    with pytest.raises(UserError, match=rf"^f\.json: not JSON \({told}\)$"):
        parse_json(text, "f.json")


def test_other_json_reads_as_by_the_standard_library():
    draw = random.Random(0)

    def value(levels):
        kind = draw.randrange(7 if levels else 5)
        if kind == 5:
            return [value(levels - 1) for _ in range(draw.randrange(4))]
        if kind == 6:
            return {f"k{n}": value(levels - 1) for n in range(draw.randrange(4))}
        return [None, True, draw.uniform(-9, 9), draw.randrange(-(2**63), 2**63), 'é"]\n'][kind]

    values = [[value(6) for _ in range(20)] for _ in range(20)]
    assert all(len(json.dumps(v)) > 200 for v in values)
    for one in values:
        text = json.dumps(one)
        assert parse_json(text, "f") == json.loads(text)
    for text in (nested(MAX_DEPTH), nested(MAX_DEPTH, "1"), "[Infinity, -Infinity]"):
        assert parse_json(text, "f") == json.loads(text)

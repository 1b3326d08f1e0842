"""Feed mutated files of every format to what reads them: no traceback, no hang, no memory eaten.

Every case is a file, or a mapping that hypothesis draws over the keys of the options' own schema.
What reads it must return, or raise a UserError or an OSError, within 10 seconds and 2 GB more than
before, and write nothing outside its folder.
"""

import argparse
import copy
import gzip
import io
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from srnas.choice import Genotype
from srnas.data.archives import unpack_images
from srnas.data.images import read_rgb
from srnas.data.photographs import read_photograph
from srnas.engine.search import search
from srnas.errors import UserError
from srnas.files import load_tensors, read_yaml, save_tensors
from srnas.model_file import load_model, load_published, load_state
from srnas.options import check_options, json_schema, load_options
from srnas.score_table import read_table
from srnas.spaces import derived_network, genotype_space, published_genotype
from srnas.spaces.nasbench201_table import load_table
from tests.helpers import class_options, search_options, small_model
from tools.harness.work import photographs

SECONDS = 10
MEMORY = 2 << 30  # bytes
ADDRESSES = 16 << 30  # bytes, so that a case that eats memory ends before the machine does
COUNTS = {"options": 3000, "genotypes": 500, "weights": 300, "checkpoints": 200, "images": 200,
          "archives": 100, "tables": 200}  # fmt: skip
NASTY: list[Any] = [
    None, True, -1, 0, 10**20, -(10**20), 1e308, -0.0, float("nan"), float("inf"), "", "x" * 5000,
    "../../x", "\x00", "²", "é\n", [], {}, [[]], {"": 0}, {"name": "x"}, [1] * 50, "1e3", "null",
]  # fmt: skip
Case = Callable[[], object]


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Return bytes of which some are changed, cut off, left out or repeated."""
    copied = bytearray(data)
    for _ in range(draw.choice([1, 1, 3, 30])):
        if not copied:
            break
        place = draw.choice(
            [draw.randrange(len(copied)), max(0, len(copied) - draw.randint(1, 300))]
        )
        what = draw.randrange(5)
        if what == 0:
            copied[place] ^= draw.randint(1, 255)
        elif what == 1:
            del copied[place:]
        elif what == 2:
            del copied[place : place + draw.choice([1, 4, 100])]
        elif what == 3:
            copied[place:place] = copied[place : place + draw.choice([1, 8, 200])]
        else:
            copied[place : place + 4] = draw.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff"])
    return bytes(copied)


def mutated_tree(tree: Any, draw: random.Random) -> Any:
    """Return nested mappings and lists of which a value, key or element is another."""
    tree = copy.deepcopy(tree)
    for _ in range(draw.choice([1, 1, 2, 5])):
        node, places = tree, []
        while isinstance(node, dict | list) and node:
            key = draw.choice(list(node)) if isinstance(node, dict) else draw.randrange(len(node))
            places.append((node, key))
            node = node[key]
        if not places:
            return draw.choice(NASTY)
        node, key = draw.choice(places)
        what = draw.randrange(4)
        if what == 0:
            del node[key]
        elif what == 1 and isinstance(node, dict):
            node[draw.choice([f"{key}x", 1, "name", "²"])] = node.pop(key)
        else:
            node[key] = copy.deepcopy(draw.choice(NASTY))
    return tree


def schema_keys(kind: str) -> list[str]:
    """Return all property names of the options of a kind."""
    found: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.update(node.get("properties", {}))
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(json_schema(kind))
    return sorted(found)


def drawn_options(kind: str, count: int, seed: int) -> list[Any]:
    """Return mappings that hypothesis draws over the keys of the options' schema."""
    scalars = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
        st.sampled_from(["imdn", "adam", "cosine", "linear", "darts", "softmax", "alternate"]),
    )  # fmt: skip
    keys = st.one_of(st.sampled_from(schema_keys(kind)), st.text(max_size=6), st.just("name"))
    values = st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)
        ),
        max_leaves=12,
    )
    cases: list[Any] = []

    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.dictionaries(keys, values, max_size=12))
    def collect(mapping: dict[str, Any]) -> None:
        cases.append(mapping)

    collect._hypothesis_internal_use_seed = seed  # type: ignore[attr-defined]
    collect()
    return cases


def option_cases(folder: Path, count: int, draw: random.Random) -> Iterator[Case]:
    """Yield options: drawn over the schema, mutated ones, mutated text, and overrides."""
    photos = photographs(folder / "photos")
    valid = {"search": search_options(folder, photos), "train": json.loads(
        json.dumps({**search_options(folder, photos), "steps": 4, "optimizer": {"lr": 1e-3}})
    )}  # fmt: skip
    for key in ("epochs", "steps_per_epoch", "warmup_epochs", "weight_optimizer"):
        valid["train"].pop(key)
    for key in ("alpha_optimizer", "regularizers"):
        valid["train"].pop(key)
    keys = {kind: schema_keys(kind) for kind in valid}
    drawn = {kind: iter(drawn_options(kind, count // 6 + 1, 0)) for kind in valid}
    file = folder / "o.yml"
    for number in range(count):
        kind = draw.choice(list(valid))
        if number % 4 == 0:
            mapping = {**draw.choice([{}, valid[kind]]), **next(drawn[kind], {})}
            yield partial(check_options, kind, mapping, "fuzz")
        elif number % 4 == 1:
            text = yaml.safe_dump(mutated_tree(valid[kind], draw))
            yield partial(_read_options, kind, file, text.encode())
        elif number % 4 == 2:
            text = yaml.safe_dump(valid[kind])
            yield partial(_read_options, kind, file, mutated(text.encode(), draw))
        else:
            path = ".".join(draw.choice(keys[kind]) for _ in range(draw.choice([1, 2, 3, 9])))
            value = yaml.safe_dump(draw.choice(NASTY), default_flow_style=True).strip()
            tag = draw.choice(["", "[", "{", "!!int ", "&a ", "*a", "!!python/object:os.x "])
            yield partial(check_options, kind, valid[kind], "fuzz", [f"{path}={tag}{value}"])


def _read_options(kind: str, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    all_of(lambda: read_yaml(file), lambda: load_options(kind, file))


def genotype_cases(folder: Path, count: int, draw: random.Random) -> Iterator[Case]:
    """Yield mutated genotype files."""
    genotypes = [published_genotype(name) for name in ("imdn", "dlsr", "darts", "nasbench201")]
    for number in range(count):
        content = draw.choice(genotypes).to_dict()
        if number % 3:
            data = json.dumps(mutated_tree(content, draw), default=str).encode()
        else:
            data = mutated(json.dumps(content).encode(), draw)

        def case(data: bytes = data) -> None:
            (folder / "g.json").write_bytes(data)
            genotype = Genotype.load(folder / "g.json")
            derived_network(genotype_space(genotype), genotype)

        yield case


def weight_cases(folder: Path, count: int, draw: random.Random) -> Iterator[Case]:
    """Yield mutated model files and state dicts, in their bytes and in what they hold."""
    model = small_model(folder / "model.safetensors")
    space = {"name": "imdn", "scale": 2, "num_feat": 8, "num_block": 1}
    state = load_model(model).network.state_dict()
    torch.save(state, folder / "w.pth")
    for number in range(count):
        if number % 3 == 0:
            data, name = mutated(model.read_bytes(), draw), "m.safetensors"
        elif number % 3 == 1:
            data, name = mutated((folder / "w.pth").read_bytes(), draw), "m.pth"
        else:
            buffer = io.BytesIO()
            torch.save(mutated_tensors(dict(state), draw), buffer)
            data, name = buffer.getvalue(), "m.pth"

        def case(data: bytes = data, name: str = name) -> None:
            (folder / name).write_bytes(data)
            all_of(
                lambda: load_model(folder / name),
                lambda: load_published(folder / name, space),
                lambda: load_state(load_tensors(folder / name)) if name == "m.pth" else None,
            )

        yield case


def mutated_tensors(tree: Any, draw: random.Random) -> Any:
    """Return nested containers of tensors of which one is of another kind, shape, or missing."""
    tree = copy.deepcopy(tree)
    node = tree
    while True:
        key = draw.choice(list(node)) if isinstance(node, dict) else draw.randrange(len(node))
        if not isinstance(node[key], dict | list) or not node[key] or draw.random() < 0.1:
            break
        node = node[key]
    value = node[key]
    changes: list[Any] = [None, 5, "x", [], {}, -1, 1e30, torch.zeros(3), torch.zeros(()), True]
    if torch.is_tensor(value):
        changes += [value[None], value.double(), value.long(), value.flatten()[:1], value[..., :0]
                    if value.ndim else value]  # fmt: skip
    if draw.random() < 0.2:
        del node[key]
    else:
        node[key] = draw.choice(changes)
    return tree


def checkpoint_cases(folder: Path, count: int, draw: random.Random) -> Iterator[Case]:
    """Yield checkpoints of which a tensor or value is another; the search goes on from them."""
    photos = photographs(folder / "photos")
    admm = {"term": "admm", "weight": 0.1}
    kinds = {
        "imdn": {**search_options(folder / "imdn", photos), "epochs": 2},
        "fimt": {**search_options(folder / "fimt", photos), "epochs": 2, "update": "fimt"},
        "admm": {**search_options(folder / "admm", photos), "epochs": 2, "regularizers": [admm]},
        "class": {**class_options(folder / "class"), "epochs": 2},
    }
    states = {}
    for name, content in kinds.items():
        run = search(check_options("search", {**content, "epochs": 1}, name)).parent
        states[name] = (load_tensors(run / "checkpoints/last.pt"), run)
        file = run / "options.yml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "epochs": 2}))
    for _ in range(count):
        name = draw.choice(list(kinds))
        content, run = states[name]
        changed = mutated_tensors(content, draw)

        def case(name: str = name, run: Path = run, changed: Any = changed) -> None:
            save_tensors(run / "checkpoints/last.pt", changed)
            search(check_options("search", kinds[name], name), resume=True)

        yield case


def image_cases(folder: Path, count: int, draw: random.Random) -> Iterator[Case]:
    """Yield mutated image files of all kinds."""
    photo = Image.open(photographs(folder / "photos") / "0.png")
    seeds = []
    for mode, suffix in (
        ("RGB", "png"), ("RGB", "jpg"), ("RGB", "webp"), ("RGB", "tif"), ("RGBA", "png"),
        ("L", "png"), ("I;16", "png"), ("P", "gif"), ("CMYK", "jpg"), ("RGB", "bmp"),
        ("RGB", "ppm"), ("RGB", "jp2"), ("1", "tif"), ("LA", "png"),
    ):  # fmt: skip
        image = photo.convert("L").convert("I;16") if mode == "I;16" else photo.convert(mode)
        image.save(folder / f"s.{suffix}")
        seeds.append(((folder / f"s.{suffix}").read_bytes(), suffix))
    for _ in range(count):
        data, suffix = draw.choice(seeds)
        data = mutated(data, draw)

        def case(data: bytes = data, suffix: str = suffix) -> None:
            (folder / f"m.{suffix}").write_bytes(data)
            file = folder / f"m.{suffix}"
            all_of(lambda: read_rgb(file), lambda: read_photograph(file))

        yield case


def archive_cases(folder: Path, count: int, draw: random.Random) -> Iterator[Case]:
    """Yield mutated archives, and archives of odd names."""
    photo = (photographs(folder / "photos") / "0.png").read_bytes()
    names = ["a.png", "b/c.png", "../x.png", "/etc/x.png", "d\\e.png", ".png", "f.png" * 60,
             "g\0.png", "é.png", "a.PNG", "con.png", "x/../../y.png"]  # fmt: skip
    for number in range(count):
        buffer = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as packed:
            warnings.simplefilter("ignore")
            for name in draw.sample(names, draw.randint(1, 4)):
                method = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
                packed.writestr(name, photo, method)
        data = buffer.getvalue()
        data = mutated(data, draw) if number % 3 else data

        def case(data: bytes = data, number: int = number) -> None:
            (folder / "a.zip").write_bytes(data)
            unpack_images(folder / "a.zip", folder / f"out{number}")

        yield case


def table_cases(folder: Path, count: int, draw: random.Random) -> Iterator[Case]:
    """Yield mutated tables of `srnas table fit` and of NAS-Bench-201, zipped or not."""
    about = json.dumps({"format": "srnas-table", "version": 1, "space": {"name": "imdn"}})
    rows = ["genotype,psnr,measured,seeds,psnr_Set5,params,macs,latency"]
    rows += [f"c1=a c2=b c3=c c4=d{n},30.{n},,0,34.{n},{n},{n},1.5" for n in range(9)]
    ours = "\n".join([f"# {about}", *rows]).encode()
    arch = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|none~1|none~2|"
    theirs = f"arch,cifar10_test,cifar100_test,imagenet16_120_test\n{arch},90,70,40\n".encode()
    for number in range(count):
        data = mutated(draw.choice([ours, theirs]), draw)
        name = "t.csv"
        if number % 2:
            data, name = gzip.compress(data), "t.csv.gz"
            data = mutated(data, draw) if number % 4 == 1 else data

        def case(data: bytes = data, name: str = name) -> None:
            (folder / name).write_bytes(data)
            all_of(lambda: read_table(folder / name), lambda: load_table(folder / name))

        yield case


FORMATS: dict[str, Callable[[Path, int, random.Random], Iterator[Case]]] = {
    "options": option_cases, "genotypes": genotype_cases, "weights": weight_cases,
    "checkpoints": checkpoint_cases, "images": image_cases, "archives": archive_cases,
    "tables": table_cases,
}  # fmt: skip


def all_of(*reads: Case) -> None:
    """Let several read, whatever the others say, and raise the first refusal."""
    refusals: list[Exception] = []
    for read in reads:
        try:
            read()
        except (UserError, OSError) as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


class TooLongError(BaseException):
    """A case took longer than it may."""


def run(kind: str, count: int, seed: int, folder: str, out: str) -> None:
    """Run the cases of a format in this process, and write what became of them."""

    def stop(number: int, frame: object) -> None:
        raise TooLongError

    inside = Path(folder) / "inside" / "deep"
    inside.mkdir(parents=True)
    os.chdir(inside)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    torch.set_num_threads(1)
    counts: Counter[str] = Counter()
    failures: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, case in enumerate(
            FORMATS[kind](inside, count, random.Random(f"{kind} {seed}"))
        ):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            signal.alarm(SECONDS)
            try:
                case()
                counts["taken"] += 1
            except (UserError, OSError) as error:
                counts["refused"] += 1
                if "\n" in str(error) or len(str(error)) > 3000:
                    failures.append(f"{number}: not one line: {str(error)[:200]!r}")
            except TooLongError:
                failures.append(f"{number}: longer than {SECONDS} s")
            except Exception as error:
                failures.append(f"{number}: {type(error).__name__}: {str(error)[:200]!r}")
            finally:
                signal.alarm(0)
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            if grown > MEMORY:
                failures.append(f"{number}: {grown >> 20} MiB")
            Path(out).write_text(json.dumps({"last": number, **counts, "failures": failures}))
    outside = [str(path) for path in Path(folder).iterdir() if path.name not in ("inside", "out")]
    outside += [str(path) for path in (Path(folder) / "inside").iterdir() if path.name != "deep"]
    failures += [f"outside: {path}" for path in outside]
    Path(out).write_text(json.dumps({"last": count, **counts, "failures": failures}))


def main(arguments: list[str] | None = None) -> int:
    """Run all formats, and print the counts; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the counts")
    parser.add_argument("--format", action="append", choices=list(FORMATS), help="repeatable")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tools.harness.work", "tests.preloaded"])
    failed = 0
    print(f"{'format':14}{'cases':>7}{'refused':>9}{'taken':>7}{'failed':>8}")
    for kind in chosen.format or FORMATS:
        count = max(1, round(chosen.scale * COUNTS[kind]))
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            process = server.Process(target=run, args=(kind, count, chosen.seed, folder, str(out)))
            process.start()
            process.join()
            told = json.loads(out.read_text()) if out.exists() else {"last": -1, "failures": []}
        failures = told["failures"]
        if process.exitcode:
            failures.append(f"{told['last'] + 1}: the process died with {process.exitcode}")
        for failure in failures:
            print(f"  {kind} {failure}")
        failed += len(failures)
        refused, taken = told.get("refused", 0), told.get("taken", 0)
        print(f"{kind:14}{count:7}{refused:9}{taken:7}{len(failures):8}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

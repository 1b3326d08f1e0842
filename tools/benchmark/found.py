"""List the genotypes that the searches of a study found, for a table to train them afresh.

    .venv/bin/python tools/benchmark/found.py RESULTS... [--arm NAME] [--before N] >> found.jsonl
    srnas table build -opt table/imdn_x2.yml sample.listed=found.jsonl sample.count=1000 \
        sample.repeated=1000 sample.seeds=3 sample.first_seed=3 --out DIR

RESULTS are those of `srnas study run`. A line has the choices of one genotype, each once.
--before N takes what a search held for best N epochs before its end: of a sampled search of 48
trainings, 24 before its end, what 24 trainings lead to.
"""

import argparse
import json
from pathlib import Path

from srnas.table.study import read_searched


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--arm", action="append", help="only this arm; repeatable")
    parser.add_argument("--before", type=int, default=0, help="epochs before the end")
    arguments = parser.parse_args()
    seen = set[str]()
    for search in read_searched(arguments.results):
        if arguments.arm and search.arm not in arguments.arm:
            continue
        line = json.dumps(search.genotypes[-1 - arguments.before], sort_keys=True)
        if line not in seen:
            seen.add(line)
            print(line)


if __name__ == "__main__":
    main()

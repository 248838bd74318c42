"""Fresh users of a desk that was played in the working directory ask its last champion; prints one JSON object."""

import argparse
import json

from evals.worlds import helpdesk
from loop import open_loop
from tests.benchmarks.desk_nights import truths, world


def main() -> None:
    """Ask, and judge the answers by the policies that hold on the day they are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("day", type=int)
    parser.add_argument("users", type=int)
    chosen = parser.parse_args()
    model = open_loop().model()
    desk = world(chosen.seed)
    told = truths(desk, model, helpdesk.fresh(desk, chosen.day, chosen.users), chosen.day)
    changed = [truth.satisfied for changing, truth in told if changing]
    figures = {
        "satisfied": sum(truth.satisfied for _, truth in told),
        "asked": len(told),
        "recovered": sum(changed),
        "changed": len(changed),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()

"""Fresh users of a desk that was played in the working directory ask its last champion; prints one JSON object."""

import argparse
import json
from dataclasses import replace

from evals.worlds import helpdesk
from loop import settings, steps
from loop.cli.play import BRIGADE_DAY, DRIFT_DAY, SAMPLING
from loop.cli.session import Session


def main() -> None:
    """Ask, and judge the answers by the policies that hold on the day after the last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("day", type=int)
    parser.add_argument("users", type=int)
    chosen = parser.parse_args()
    session = Session(settings.load())
    world = helpdesk.World(seed=chosen.seed, drift_day=DRIFT_DAY, brigade_day=BRIGADE_DAY)
    asked = helpdesk.fresh(world, chosen.day, chosen.users)
    entries = session.ledger.entries()
    version = steps.serving_version(session.parts)
    model = steps.load_version(session.settings, session.registry, entries, version)
    told = model.generate([request.messages for request in asked], replace(SAMPLING, seed=0))
    satisfied = [
        helpdesk.judge(world, request, answer.text, chosen.day).satisfied
        for request, answer in zip(asked, told, strict=True)
    ]
    drifting = helpdesk.drifting_intents(world)
    changed = [well for request, well in zip(asked, satisfied, strict=True) if request.intent.name in drifting]
    print(
        json.dumps(
            {"satisfied": sum(satisfied), "asked": len(asked), "recovered": sum(changed), "changed": len(changed)}
        )
    )


if __name__ == "__main__":
    main()

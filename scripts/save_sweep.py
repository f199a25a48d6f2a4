"""What a sweep has found as one JSON file: setting, scores and seconds of every run, and what all runs have in common.

python scripts/save_sweep.py SWEEP_DIR RESULTS.json
"""

import argparse
import json
from pathlib import Path

from decausal.sweep.storage import locate_study, open_study
from decausal.sweep.trials import failures_of, outcomes_of
from decausal.tagging.results import RESULTS, environment


def main() -> None:
    """Save as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("results", type=Path)
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    study = open_study(*locate_study(directory), create=False)
    runs = []
    for outcome in outcomes_of(study):
        run = outcome.to_dict()
        del run["counts"]  # of every sentence: megabytes
        runs.append(run)
    runs.sort(key=lambda run: json.dumps(run["setting"], sort_keys=True))
    one = json.loads(next(directory.glob(f"trials/*/{RESULTS}")).read_text(encoding="utf-8"))
    command = one["command"].replace(str(directory), "SWEEP_DIR")
    here = environment()
    facts = {
        **here,
        "command": here["command"].replace(str(directory), "SWEEP_DIR"),
        "command of one run": command,
        "common": study.user_attrs["common"],
        "failures": [failure.error for failure in failures_of(study)],
        "runs": runs,
    }
    arguments.results.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("module", "extra"), [("optuna", "sweep"), ("trl", "train")])
def test_a_missing_library_is_told_with_the_extra_that_brings_it(module, extra, tmp_path):
    # A process of its own: packages imported twice in one would be two.
    code = f"import sys; sys.modules[{module!r}] = None; from decausal.cli import main; main()"
    (tmp_path / "recipe.yaml").touch()
    command = [sys.executable, "-c", code, "sweep", str(tmp_path / "recipe.yaml")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 1
    assert f"error: import of {module} halted; None in sys.modules; pip install 'decausal[{extra}]' brings it" in (
        ended.stderr
    )


@pytest.mark.parametrize("name", ["train", "plan", "bench", "search", "sweep"])
def test_a_slip_in_the_name_of_a_recipe_is_told_before_torch_is_imported(name, tmp_path):
    code = "import sys; sys.modules['torch'] = None; from decausal.cli import main; main()"
    command = [sys.executable, "-c", code, name, "recipe.yml"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2
    assert "'recipe.yml' does not exist." in ended.stderr

import sys

import pytest

from decausal.cli import main


@pytest.mark.parametrize(("module", "extra"), [("optuna", "sweep"), ("trl", "train")])
def test_a_missing_library_is_told_with_the_extra_that_brings_it(module, extra, monkeypatch, capsys, tmp_path):
    for name in [*sys.modules]:
        if name.startswith(("decausal.sweep", "decausal.tagging")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("sys.argv", ["decausal", "sweep", str(tmp_path / "recipe.yaml")])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert f"error: import of {module} halted; None in sys.modules; pip install 'decausal[{extra}]' brings it" in (
        capsys.readouterr().err
    )

"""Heavy libraries come in late or not at all, and the same as ever when they do."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from loop import models
from loop.errors import UsageError
from loop.imports import collector_off, postponed
from loop.models.libraries import importing


def test_the_collector_is_as_it_was_after_a_block_also_one_that_raises() -> None:
    def fails() -> None:
        with collector_off():
            assert not gc.isenabled()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_off():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_postponed_module_is_read_when_it_is_used_and_an_absent_one_stays_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "late_one.py").write_text("print('read')\nanswer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)
    with postponed(["late_one", "absent_one"]):
        import late_one

        with pytest.raises(ModuleNotFoundError):
            import absent_one  # noqa: F401
    assert sys.meta_path == finders
    assert capsys.readouterr().out == ""
    assert late_one.answer == 42
    assert capsys.readouterr().out == "read\n"
    monkeypatch.delitem(sys.modules, "late_one")


def test_finding_and_naming_a_model_imports_no_torch() -> None:
    code = "import sys, loop.models, loop.nights.nightly, loop.nights.prune; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "transformers", "peft", "scipy", "matplotlib", "mlflow", "great_expectations", "sqlalchemy"}
    assert not heavy & set(loaded)


def test_a_name_that_models_do_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        models.nothing  # noqa: B018
    assert all(hasattr(models, name) for name in models.__all__)


def test_a_torch_that_cannot_be_imported_is_an_error_with_a_remedy() -> None:
    with pytest.raises(UsageError, match="cannot be imported: libcudart") as told, importing():
        raise ImportError("libcudart.so.13: cannot open shared object file")
    assert "pip install --force-reinstall torch" in told.value.remedy

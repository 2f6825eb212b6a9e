"""The wheel, installed where neither the source nor its editable install can help."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="posix paths")]


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (made,) = out.glob("heldout-*.whl")
    return made


def test_the_wheel_holds_what_is_in_the_source(wheel: Path) -> None:
    source = ROOT / "src"
    # what recording leaves beside the records stays out, as in the repository
    left = {"__pycache__", ".locks", "seeds"}
    kept = [p for p in source.rglob("*") if p.is_file() and not left & set(p.parts)]
    kept = [p for p in kept if p.suffix != ".old" and not p.name.startswith("log.")]
    wanted = {p.relative_to(source).as_posix() for p in kept if p.suffix != ".pyc"}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert wanted <= names
    assert {n for n in names if not n.startswith("heldout/")} == {
        n for n in names if ".dist-info/" in n
    }
    kinds = {Path(n).suffix for n in wanted}
    assert {".html", ".css", ".json"} <= kinds  # templates, style, schema or records
    assert "heldout/py.typed" in names and any(n.endswith("licenses/LICENSE") for n in names)


def test_the_wheel_works_alone(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clean"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    _run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"),
        *("--no-index", wheel),
        cwd=tmp_path,
    )
    # The dependencies of this environment, without its .pth files and so without the source.
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    where = _run(python, "-c", "import heldout; print(heldout.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(folder)
    program = (
        "import numpy as np, heldout\n"
        "rng = np.random.default_rng(0)\n"
        "x = rng.normal(size=(90, 3)).astype('f'); y = (x[:, 0] > 0).astype(int)\n"
        "report = heldout.audit(lambda b: np.stack([0 * b[:, 0], 9 * b[:, 0]], 1),\n"
        "    train=(x[:60], y[:60]), test=(x[60:], y[60:]), budget_minutes=1, out='out')\n"
        "assert report.checks['accuracy'].numbers['test'].value == 1.0\n"
        "print(sorted(report.checks))\n"
    )
    assert "'accuracy', 'calibration'" in _run(python, "-c", program, cwd=tmp_path)
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<html" in html and len(html) < 2e6
    assert "audit" in _run(folder / "bin" / "heldout", "--help", cwd=tmp_path)

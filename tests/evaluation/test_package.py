"""Proves that importing the package is light and that every name it promises exists."""

import subprocess
import sys

import serotine.evaluation


def test_importing_the_package_and_using_its_file_readers_imports_neither_ranx_nor_torch():
    program = (
        "import sys, serotine.evaluation as e; e.Run; e.load_beir; e.get_beir_triples; e.bootstrap; e.evaluate;"
        "print([name for name in ('ranx', 'numba', 'torch', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_exported_name_can_be_imported():
    for name in serotine.evaluation.__all__:
        assert getattr(serotine.evaluation, name) is not None
    assert set(serotine.evaluation.__all__) <= set(dir(serotine.evaluation))

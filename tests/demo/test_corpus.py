"""Proves that every docstring is found under the name that a programmer writes, and that no source is run for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serotine.demo import Docstring, package_documents, standard_library_documents
from serotine.errors import InvalidInput

FIXTURE = {
    "__init__.py": '''
"""A package that must not be run."""
raise RuntimeError("imported")
from ._shapes import Circle, draw as paint
from .tools import helper
from ._more import *

__all__ = ["Circle", "paint", "helper", "Late"]


def __getattr__(name):
    if name == "Late":
        from ._shapes import Late as found
        return found
''',
    "_shapes.py": '''
class _Shape:
    """Not public."""

    def area(self):
        """Size of the surface."""


class Circle(_Shape):
    """A round shape — ○."""

    def __init__(self, radius: float = 1.0, *, unit="m"):
        """radius: from the middle to the edge."""

    class Arc:
        """A part of a circle."""

        async def length(self):
            """How long it is."""

    @property
    def middle(self):
        """Where it is."""

    @staticmethod
    def unit(scale, /):
        """A circle of radius 1."""

    def __len__(self):
        """Never called by name."""

    def _hidden(self):
        """Not public."""

    def silent(self):
        return None

    centre = middle


def draw(*shapes, **options):
    """Put shapes on the screen."""


class Late:
    """Found by the package's __getattr__."""


def unreachable():
    """Of a private module, and nobody offers it."""
''',
    "_more.py": '''
__all__ = ["starred"]


def starred():
    """Offered by a star."""


def unlisted():
    """Not in __all__ of a private module."""
''',
    "tools.py": '''
"""Tools."""
import functools


@functools.lru_cache
def helper():
    """Helps."""


def copied():
    pass


copied.__doc__ = helper.__doc__

if True:
    def conditional():
        """Defined inside an if."""


class Again(Again):
    """Named after its base, which is not here."""


class _Machine:
    def start(self, speed):
        """Begin to turn."""


_machine = _Machine()
start = _machine.start
stop = _machine.stop
again = Again()
missing = again.missing
''',
    "__main__.py": '"""Not a module to import."""\n',
    "broken.py": "def broken(:\n",
    "tests/__init__.py": '"""Left out."""\n',
    "nested/deep/__init__.py": '"""Below a folder that is no package."""\n',
}


@pytest.fixture
def fixture_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, source in FIXTURE.items():
        path = tmp_path / "serotine_fixture" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "serotine_fixture"


@pytest.fixture
def fixture_documents(fixture_package: str) -> dict[str, Docstring]:
    with pytest.warns(UserWarning, match=r"1 source files .* left out: .*broken\.py"):
        documents = package_documents(fixture_package)
    return {document.id.removeprefix("serotine_fixture").lstrip("."): document for document in documents}


@pytest.fixture(scope="module")
def library() -> dict[str, Docstring]:
    return {document.id: document for document in standard_library_documents()}


class TestPackageDocuments:
    """The package above, which cannot be imported."""

    def test_the_ids_are_all_public_names_with_a_docstring_and_nothing_else(
        self, fixture_documents: dict[str, Docstring]
    ) -> None:
        assert list(fixture_documents) == [
            "",
            "Circle",
            "Circle.Arc",
            "Circle.Arc.length",
            "Circle.area",
            "Circle.middle",
            "Circle.unit",
            "Late",
            "helper",
            "nested.deep",
            "paint",
            "starred",
            "tools",
            "tools.Again",
            "tools.conditional",
            "tools.copied",
            "tools.start",
        ]

    def test_a_class_has_the_signature_and_the_docstring_of_its_constructor(
        self, fixture_documents: dict[str, Docstring]
    ) -> None:
        circle = fixture_documents["Circle"]
        assert circle.signature == "(radius=1.0, *, unit='m')"
        assert circle.docstring == "A round shape — ○.\n\nradius: from the middle to the edge."
        assert circle.text == f"serotine_fixture.Circle{circle.signature}\n{circle.docstring}"
        assert circle.summary == "A round shape — ○."
        assert circle.module == "serotine_fixture"

    @pytest.mark.parametrize(
        ("name", "signature"),
        [("Circle.unit", "(scale, /)"), ("Circle.middle", ""), ("tools.start", "(speed)"), ("paint", None)],
    )
    def test_signatures_leave_out_self_and_properties_have_none(
        self, fixture_documents: dict[str, Docstring], name: str, signature: str | None
    ) -> None:
        assert fixture_documents[name].signature == ("(*shapes, **options)" if signature is None else signature)

    def test_other_public_names_of_a_definition_are_its_aliases(self, fixture_documents: dict[str, Docstring]) -> None:
        assert fixture_documents["helper"].aliases == ("serotine_fixture.tools.helper",)
        assert fixture_documents["Circle.middle"].aliases == ("serotine_fixture.Circle.centre",)

    def test_a_docstring_that_the_source_copies_is_found(self, fixture_documents: dict[str, Docstring]) -> None:
        assert fixture_documents["tools.copied"].docstring == "Helps."

    def test_a_single_module_is_read_like_a_package(self, fixture_package: str) -> None:
        ids = [document.id for document in package_documents(f"{fixture_package}.tools")]
        assert "serotine_fixture.tools.conditional" in ids

    def test_the_package_is_not_imported(self, fixture_documents: dict[str, Docstring]) -> None:
        assert not [name for name in sys.modules if name.startswith("serotine_fixture")]

    @pytest.mark.parametrize("name", ["no_such_package", "json.no_such_part", "not-a-name", ""])
    def test_a_package_that_is_not_installed_is_named(self, name: str) -> None:
        with pytest.raises(InvalidInput, match=f"no package '{name}' is installed"):
            package_documents(name)

    @pytest.mark.parametrize("name", ["zlib", "serotine_empty"])
    def test_a_package_without_docstrings_in_python_is_named(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "serotine_empty.py").write_text("def undocumented(): ...\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(InvalidInput, match=f"package '{name}'"):
            package_documents(name)


KNOWN_NAMES = """
str.zfill os.path.join pathlib.Path.glob pathlib.Path.read_text pathlib.PurePath.suffix json.loads itertools.groupby
bisect.bisect_left collections.Counter.most_common collections.abc.Mapping collections.deque.rotate random.randint
secrets.choice argparse.ArgumentParser.add_argument unittest.TestCase.assertEqual asyncio.gather hashlib.sha256
concurrent.futures.ThreadPoolExecutor datetime.datetime.strptime decimal.Decimal.quantize re.sub re.Match.group
threading.Lock multiprocessing.Pool socket.socket.connect sqlite3.Connection.execute calendar.month zlib.compress
functools.partial weakref.WeakValueDictionary operator.itemgetter io.StringIO io.IOBase pickle.dump struct.unpack
property os.listdir os.walk time.sleep sys.exit xml.etree.ElementTree.parse ipaddress.IPv4Network.hosts
""".split()


class TestStandardLibraryDocuments:
    """The library of the Python that runs the tests."""

    @pytest.mark.parametrize("name", KNOWN_NAMES)
    def test_names_that_programmers_write_are_ids(self, library: dict[str, Docstring], name: str) -> None:
        assert library[name].docstring

    @pytest.mark.parametrize(
        ("alias", "name"),
        [
            ("bytearray.zfill", "bytes.zfill"),
            ("unittest.case.TestCase.assertEqual", None),
            ("unittest.case.TestCase", "unittest.TestCase"),
            ("random.Random.randint", "random.randint"),
            ("ipaddress.IPv6Network.overlaps", "ipaddress.IPv4Network.overlaps"),
        ],
    )
    def test_the_same_thing_under_two_names_is_one_document(
        self, library: dict[str, Docstring], alias: str, name: str | None
    ) -> None:
        assert alias not in library
        assert name is None or alias in library[name].aliases

    def test_there_are_some_thousand_documents_with_distinct_ids_in_order(self) -> None:
        documents = standard_library_documents()
        ids = [document.id for document in documents]
        assert 6_000 < len(ids) < 9_000
        assert ids == sorted(set(ids))

    def test_no_document_is_empty_and_no_name_is_private_or_special(self, library: dict[str, Docstring]) -> None:
        for name, document in library.items():
            assert document.docstring.strip() == document.docstring != ""
            assert not any(part.startswith("_") for part in name.split("."))

    def test_no_tests_editors_or_implementation_modules_are_in_it(self, library: dict[str, Docstring]) -> None:
        unwanted = {"test", "tests", "idlelib", "lib2to3", "distutils", "posix", "posixpath", "ntpath"}
        assert not {part for name in library for part in name.split(".")[:-1]} & unwanted

    def test_two_extractions_are_equal(self, library: dict[str, Docstring]) -> None:
        assert list(library.values()) == standard_library_documents()

    def test_no_module_with_python_source_is_run(self) -> None:
        program = (
            "import sys; from serotine.demo.corpus import standard_library_documents; before = set(sys.modules);"
            "standard_library_documents();"
            "print([name for name in set(sys.modules) - before"
            " if str(getattr(sys.modules[name], '__file__', '')).endswith('.py')])"
        )
        output = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
        ).stdout
        assert output.strip() in ("['_compat_pickle']", "[]")

    def test_a_module_of_the_same_name_in_the_working_directory_is_not_run(self, tmp_path: Path) -> None:
        (tmp_path / "_json.py").write_text("raise RuntimeError('imported')\n")
        (tmp_path / "zlib.py").write_text("raise RuntimeError('imported')\n")
        program = (
            f"from serotine.demo import _extensions; import sys; sys.path.insert(0, {str(tmp_path)!r});"
            "sys.modules.pop('zlib', None); sys.modules.pop('_json', None);"
            "print('array' in _extensions.inspect_modules())"
        )
        output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
        assert output.stdout.strip() == "True"

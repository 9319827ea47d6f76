"""What do tests of several folders share?  The bundled model, loaded once."""

import pytest

from serotine import models


@pytest.fixture(scope="session")
def bundled_model():
    """The model that comes with the package, on the CPU; no test may change it."""
    return models.bundled(device="cpu")

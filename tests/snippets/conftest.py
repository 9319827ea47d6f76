"""What stands in for the models that the programs name: a folder, since nothing is downloaded here."""

import pytest


@pytest.fixture(scope="session")
def model_name_or_path(bundled_model, tmp_path_factory):
    """A saved model, loaded by its folder as the programs load theirs by its name."""
    folder = tmp_path_factory.mktemp("model")
    bundled_model.save_pretrained(str(folder), create_model_card=False)
    return str(folder)

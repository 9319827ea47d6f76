"""In which formats do models lie on disk, and how are they read and written?  docs/models.md has the table.

`recognize` says what a folder or name is, `check` refuses what must not be loaded; both read small files and headers
only. `serotine.models.loading` puts the modules together.
"""

from serotine.models.formats.checks import check
from serotine.models.formats.layout import Checkpoint, Layout, recognize
from serotine.models.formats.source import Source

__all__ = ["Checkpoint", "Layout", "Source", "check", "recognize"]

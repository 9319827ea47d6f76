"""An MCP server: agents search an index by two tools, ``search`` and ``get_info`` (extra ``mcp``).

    python -m serotine.integrations.mcp --model NAME --index-folder FOLDER --index-name NAME --texts texts.jsonl

speaks MCP over standard input and output. ``texts.jsonl`` has ``{"_id", "text"}`` and optionally ``"title"`` a line, as
BEIR's corpus.jsonl; a document is shown as `serotine.evaluation.load_custom_dataset` reads it, its title first.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

from serotine._lazy import require
from serotine.errors import InvalidInput, SerotineError
from serotine.integrations.texts import TextSearch

require("mcp", extra="mcp", purpose="serotine.integrations.mcp")

from mcp.server.mcpserver import MCPServer  # noqa: E402 - after the check
from mcp.server.mcpserver.exceptions import ToolError  # noqa: E402

__all__ = ["MAX_RESULTS", "make_server"]

MAX_RESULTS = 100
"""The most documents that one call returns: an answer goes into an agent's context."""


def make_server(search: TextSearch, *, name: str = "serotine", description: str = "") -> MCPServer[Any]:
    """Return a server with the tools ``search(query, k)`` and ``get_info()``, to be run: ``make_server(...).run()``.

    name, description: what agents are told of the collection.

    Example:
        >>> make_server(TextSearch(model, index, texts), name="bats").run()  # doctest: +SKIP
    """
    server: MCPServer[Any] = MCPServer(name, instructions=description or None)

    @server.tool(name="search")
    def search_tool(query: str, k: int = 10) -> list[dict[str, Any]]:
        """Find the documents that answer a question best. Returns id, score and text of each, best first."""
        if not query.strip():
            raise ToolError("query is empty: ask in a sentence or in some words")
        if not 1 <= k <= MAX_RESULTS:
            raise ToolError(f"k must be between 1 and {MAX_RESULTS}, got {k}")
        try:
            return [hit._asdict() for hit in search([query], k=k)[0]]
        except SerotineError as error:  # other errors are not told: they may hold what is nobody's business
            raise ToolError(str(error)) from error

    @server.tool()
    def get_info() -> dict[str, Any]:
        """Tell what is searched: its name, what it is about, and how many documents it holds."""
        return {"name": name, "description": description, "num_documents": len(search.index)}

    return server


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, open model, index and texts, and serve until the input ends."""
    from pathlib import Path

    from serotine.evaluation._tables import documents_of, json_rows
    from serotine.indexes import PLAID
    from serotine.models import ColBERT, bundled

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name or folder of a model, or 'bundled'")
    parser.add_argument("--index-folder", required=True)
    parser.add_argument("--index-name", default="colbert")
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--name", default="serotine")
    parser.add_argument("--description", default="")
    arguments = parser.parse_args(words)
    logging.basicConfig(stream=sys.stderr)  # standard output is the protocol's
    try:
        if not arguments.texts.is_file():
            raise InvalidInput(f"no file of texts at {arguments.texts}")
        documents = documents_of(json_rows(arguments.texts), id_column="_id", text_column="text", title_column="title")
        index = PLAID(arguments.index_folder, arguments.index_name, show_progress=False)
        if not len(index):
            raise InvalidInput(
                f"there is no index, or an empty one, at {arguments.index_folder}/{arguments.index_name}"
            )
        model = bundled() if arguments.model == "bundled" else ColBERT(arguments.model)
        search = TextSearch(model, index, {each["id"]: each["text"] for each in documents})
    except SerotineError as error:
        parser.exit(2, f"{error}\n")
    make_server(search, name=arguments.name, description=arguments.description).run()


if __name__ == "__main__":
    main()

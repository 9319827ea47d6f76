"""Contract with MCP: a client lists the tools and calls them, in this process and over standard input and output."""

import asyncio
import json
import sys

import pytest

from serotine import indexes
from serotine.integrations.texts import TextSearch

from ..evaluation.bats import QUERIES, TEXTS

mcp = pytest.importorskip("mcp", reason="the extra 'mcp' is not installed")

from serotine.integrations.mcp import MAX_RESULTS, main, make_server  # noqa: E402 - after the check


@pytest.fixture
def server(bundled_model, index):
    """A server over the documents about bats."""
    return make_server(TextSearch(bundled_model, index, TEXTS), name="bats", description="Bats, bread and tides.")


def called(server, *calls):
    """Return the results of calls of a client, ``(tool, arguments)`` each, and the tools it sees."""

    async def talk():
        async with mcp.Client(server) as client:
            tools = (await client.list_tools()).tools
            return [await client.call_tool(name, arguments) for name, arguments in calls], tools

    return asyncio.run(talk())


def test_a_client_searches_and_asks_what_is_there(server, expected):
    (found, info), tools = called(server, ("search", {"query": QUERIES["hunt"], "k": 2}), ("get_info", {}))
    assert {tool.name for tool in tools} == {"search", "get_info"}
    assert all(tool.description for tool in tools)
    hits = found.structured_content["result"]
    assert [(hit["id"], hit["score"]) for hit in hits] == expected("hunt", 2)
    assert [hit["text"] for hit in hits] == [TEXTS[hit["id"]] for hit in hits]
    assert json.loads(info.content[0].text) == {
        "name": "bats",
        "description": "Bats, bread and tides.",
        "num_documents": 12,
    }


def test_a_wrong_call_is_an_answer_that_says_what_is_wrong(bundled_model, index, server):
    results, _ = called(
        server,
        ("search", {"query": " "}),
        ("search", {"query": "bats", "k": 0}),
        ("search", {"query": "bats", "k": MAX_RESULTS + 1}),
        ("search", {}),
    )
    assert all(result.is_error for result in results)
    assert "query is empty" in results[0].content[0].text
    assert "k must be between 1 and 100, got 0" in results[1].content[0].text
    without_texts = make_server(TextSearch(bundled_model, index, {}))
    (result,), _ = called(without_texts, ("search", {"query": "bats"}))
    assert result.is_error
    assert "there is no text for the document" in result.content[0].text


@pytest.mark.slow
def test_the_module_serves_over_standard_input_and_output(bundled_model, tmp_path, expected):
    with indexes.PLAID(str(tmp_path), "bats") as index:
        index.add_documents(list(TEXTS), bundled_model.encode(list(TEXTS.values()), is_query=False))
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in TEXTS.items()))
    words = ["-m", "serotine.integrations.mcp", "--model", "bundled", "--index-folder", str(tmp_path)]
    parameters = mcp.StdioServerParameters(
        command=sys.executable, args=[*words, "--index-name", "bats", "--texts", str(texts), "--name", "bats"]
    )
    (found, info), _ = called(
        mcp.stdio_client(parameters), ("search", {"query": QUERIES["late"], "k": 1}), ("get_info", {})
    )
    assert found.structured_content["result"][0]["id"] == expected("late", 1)[0][0]
    assert json.loads(info.content[0].text)["name"] == "bats"


def test_titles_are_shown_before_the_texts(bundled_model, tmp_path, monkeypatch):
    with indexes.PLAID(str(tmp_path), "bats") as index:
        index.add_documents(["a", "b"], bundled_model.encode(["A title A text", "b"], is_query=False))
    texts = tmp_path / "texts.jsonl"
    rows = ({"_id": "a", "title": "A title", "text": "A text"}, {"_id": "b", "title": None, "text": "b"})
    texts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    servers = []
    monkeypatch.setattr("serotine.integrations.mcp.MCPServer.run", lambda server: servers.append(server))
    main(["--model", "bundled", "--index-folder", str(tmp_path), "--index-name", "bats", "--texts", str(texts)])
    (found,), _ = called(servers[0], ("search", {"query": "A title A text"}))
    assert {hit["id"]: hit["text"] for hit in found.structured_content["result"]} == {"a": "A title A text", "b": "b"}


def test_a_command_line_that_leads_nowhere_is_explained(tmp_path, capsys):
    words = ["--model", "bundled", "--index-folder", str(tmp_path), "--texts"]
    for texts, message in (("absent.jsonl", "no file of texts at"), ("texts.jsonl", "no index, or an empty one, at")):
        (tmp_path / "texts.jsonl").write_text('{"_id": "a", "text": "b"}\n')
        with pytest.raises(SystemExit) as stopped:
            main([*words, str(tmp_path / texts)])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err

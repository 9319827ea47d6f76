"""Which commands does the shell have?  ``serotine demo``; each command is a thin layer over the library."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

from serotine import __version__
from serotine._lazy import require
from serotine.errors import SerotineError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit status 0, 1 for an error that is explained, 2 for wrong arguments."""
    try:
        require("typer", extra="demo", purpose="the command line")
        _application()(args=arguments)
    except SerotineError as error:
        print(f"serotine: {error}", file=sys.stderr)  # noqa: T201 - this is the terminal's own layer
        raise SystemExit(1) from None


def _application() -> Any:
    import typer

    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Late-interaction retrieval: search with one vector per token.",
    )

    @app.callback(invoke_without_command=True)
    def root(
        version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
    ) -> None:
        if version:
            typer.echo(__version__)
            raise typer.Exit

    @app.command()
    def demo(
        package: Annotated[
            str | None, typer.Option(help="Search this installed package instead (what it has in Python).")
        ] = None,
        ask: Annotated[list[str] | None, typer.Option(help="A question to answer (may be repeated).")] = None,
        output: Annotated[Path, typer.Option(help="Folder for the report and the vectors.")] = Path("serotine-demo"),
    ) -> None:
        """Search the documentation of this machine's own Python, and compare with BM25."""
        for question in ask or ():
            if not question.strip():
                raise typer.BadParameter("a question is empty", param_hint="--ask")
            if any("\ud800" <= character <= "\udfff" for character in question):
                raise typer.BadParameter(f"not valid UTF-8: {question!r}", param_hint="--ask")
        _quiet_libraries()
        require("rich", extra="demo", purpose="the demo")
        from serotine.demo.run import run_demo, run_package_demo

        try:
            if package is None:
                run_demo(output, ask=ask or ())
            else:
                run_package_demo(package, output, ask=ask or ())
        except KeyboardInterrupt:
            typer.echo("serotine: interrupted; what was not encoded to the end is encoded again next time", err=True)
            raise typer.Exit(130) from None

    return app


def _quiet_libraries() -> None:
    """Keep model loaders' bars and notices out of the demo's output; warnings stay."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    logging.getLogger("numba").setLevel(logging.WARNING)

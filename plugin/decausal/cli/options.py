"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ANY_FIELDS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""For a command that hands `--field value` on to a recipe, or all that follows to another command."""

Recipe = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A recipe, YAML.")]
Launch = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A file of accelerate config.")]
Columns = Annotated[str | None, typer.Option(help='Word and tag column, such as "0,-1", or keys of JSON lines.')]
Separator = Annotated[str | None, typer.Option(help="What divides columns, if not tabs or blanks.")]
FileFormat = Annotated[
    str | None,
    typer.Option(
        "--file_format", "--file-format", help='If not told by the look; "text" cuts running text into words.'
    ),
]
TagScheme = Annotated[
    str | None,
    typer.Option(
        "--tag_scheme",
        "--tag-scheme",
        help="IOB1, IOB2, BIOES, BILOU, IO, bare-runs, bare-words or auto; by default as in training, else auto.",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch_size", "--batch-size", min=1, help="Windows a forward pass.")]

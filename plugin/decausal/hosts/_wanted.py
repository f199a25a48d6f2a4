"""What a toolkit's process was asked to unmask."""

import json
from dataclasses import asdict, dataclass
from typing import get_args

from decausal._masks import Scope
from decausal._pattern import LayerPattern
from decausal.hosts._join import Host


@dataclass(frozen=True)
class Wanted:
    """What a process was asked to unmask.

    Attributes:
        unmask: which layers; None leaves it to what a loaded checkpoint records, and other models causal.
        scope: `"all"` or `"prompt"`; None takes the one that fits the model.
        host: whose process it is.
        report_dir: where each process that has joined says so, if anywhere.

    Raises:
        TypeError: the pattern is no text, such as a number from a YAML without quotes.
        ValueError: it is no pattern, or the scope is unknown.
    """

    unmask: str | None
    scope: Scope | None
    host: Host
    report_dir: str | None = None

    def __post_init__(self) -> None:
        if self.unmask is not None:
            LayerPattern.parse(self.unmask)
        if self.scope not in (None, *get_args(Scope)):
            raise ValueError(f"scope={self.scope!r}: write {' or '.join(get_args(Scope))}, or leave it out.")

    def to_json(self) -> str:
        """The text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Wanted":
        """What `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "host": Host(**fields["host"])})

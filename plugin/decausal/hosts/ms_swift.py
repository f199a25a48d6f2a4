"""ms-swift: `external_plugins` names the file that `decausal path ms-swift` prints, `ENV` what to unmask."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, cast

from decausal._attach import RECORD, unmasked_layers
from decausal._checkpoint import record_beside
from decausal._errors import UnsupportedModelError
from decausal._layers import transformers_model
from decausal._masks import Scope
from decausal._pattern import LayerPattern
from decausal.hosts._follow import follow_record
from decausal.hosts._join import Host
from decausal.hosts._ms_swift_limits import keep_prompt_labels, refuse_settings
from decausal.hosts._seams import RUN_VARIABLE, join_process, replacement
from decausal.hosts._wanted import Wanted

HOST: Final = Host("ms-swift", "ms-swift", tested="4.6.0", oldest="4.6.0", below="4.7")
UNMASK: Final = "DECAUSAL_UNMASK"
SCOPE: Final = "DECAUSAL_SCOPE"
"""Environment variables, since ENV is all that a YAML of ms-swift has for an external plugin."""


@cache
def join_swift() -> None:
    """Joins this process of ms-swift until it ends, the first time that it is called.

    Raises:
        ValueError: the variables say nothing that can be done; see `read_wanted`.
        UnsupportedModelError: this process is Megatron's.
    """
    if "swift.megatron" in sys.modules:
        raise UnsupportedModelError(
            "megatron: it builds model classes of its own, which decausal cannot open; train by swift sft."
        )
    wanted = read_wanted(os.environ)
    from swift.arguments import BaseArguments
    from swift.infer_engine import TransformersEngine

    join_process(wanted)
    for owner, name, seam in (
        (BaseArguments, "get_model_processor", partial(load_model, wanted)),
        (TransformersEngine, "_infer", refuse_earlier_answers),
    ):
        setattr(owner, name, replacement(owner.__dict__[name], seam))


def read_wanted(environment: Mapping[str, str]) -> Wanted:
    """What the two variables say, which stand under `ENV:` in the YAML or before the command.

    Raises:
        ValueError: a variable of ours is unknown, or its value is.
        TypeError: the YAML has the pattern without quotes, which makes another pattern of it.
    """
    known = (UNMASK, SCOPE, RUN_VARIABLE)
    unknown = [name for name in environment if name.startswith("DECAUSAL_") and name not in known]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)}: there is no such variable; those of decausal are {UNMASK} and {SCOPE}."
        )
    unmask, scope = environment.get(UNMASK), environment.get(SCOPE)
    if scope is not None and unmask is None:
        raise ValueError(f'{SCOPE}="{scope}" says nothing without {UNMASK}: set both, or neither.')
    if unmask is not None:
        LayerPattern.parse(_as_written(unmask, environment))
    return Wanted(unmask, cast(Scope | None, scope), HOST)


def load_model(wanted: Wanted, original: Callable[..., Any], args: Any, **kwargs: Any) -> Any:
    """`BaseArguments.get_model_processor`, through which every command loads: the model is unmasked, or the run ends.

    `PreTrainedModel.from_pretrained` has done so already by what is wanted or what the model records; what is left are
    the adapters that it will get, without which nothing may say what to unmask.

    Raises:
        UnsupportedModelError: the run cannot be exact.
        CheckpointError: the checkpoint records something else than is wanted.
        ValueError: nothing says what to unmask.
    """
    refuse_settings(args)
    keep_prompt_labels(args)
    model, processor = original(args, **kwargs)
    if model is None:
        return model, processor
    for adapter in args.adapters:
        record = record_beside(adapter)
        if record is not None:
            follow_record(model, record, adapter, wanted)
    if wanted.unmask is None and not unmasked_layers(model):
        raise ValueError(
            f"external_plugins lists the plugin of decausal, and nothing says what to unmask: {UNMASK} is not set, and "
            f"{', '.join(map(str, [args.model, *args.adapters]))} records no pattern. Add ENV: "
            f'{{{UNMASK}: "0011"}} to the YAML, or write {UNMASK}=0011 before the command ("none" leaves it causal).'
        )
    return model, processor


def refuse_earlier_answers(
    original: Callable[..., Any], engine: Any, infer_requests: Sequence[Any], *args: Any, **kwargs: Any
) -> Any:
    """`TransformersEngine._infer`: all that is given is one prompt, which it must have been in training too.

    Raises:
        UnsupportedModelError: an earlier answer, causal in training, would become a part of the prompt.
    """
    record = getattr(transformers_model(engine.model).config, RECORD, None)
    is_known = engine.template.loss_scale.base_strategy == "last_round"
    if record is not None and record["scope"] == "prompt" and not is_known:
        for request in infer_requests:
            messages = request["messages"] if isinstance(request, Mapping) else request.messages
            if any(message["role"] in ("assistant", "tool_call") for message in messages):
                raise UnsupportedModelError(
                    f'{HOST.name}: scope="prompt", and the conversation holds an earlier answer, which was causal in '
                    f"training and would be a part of the prompt now. Ask without history (clear, at swift infer), or "
                    f"train and ask with loss_scale=last_round, to which all before the last answer is the prompt."
                )
    return original(engine, infer_requests, *args, **kwargs)


def _as_written(unmask: str, environment: Mapping[str, str]) -> Any:
    """The pattern as it stands in the configuration file, if it is from there: a number, without quotes."""
    import yaml

    path = environment.get("SWIFT_CONFIG_FILE")
    if path is None:
        return unmask
    settings = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    written = (settings.get("ENV") or {}).get(UNMASK)
    return written if str(written) == unmask else unmask

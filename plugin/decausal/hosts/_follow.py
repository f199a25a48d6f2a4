"""A model that a toolkit has loaded: it is unmasked as its checkpoint records, or else as was asked."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from decausal._attach import RECORD, unmasked_layers
from decausal._errors import CheckpointError, UnsupportedModelError
from decausal._layers import is_encoder, text_config, transformers_model
from decausal._pattern import LayerPattern
from decausal.hosts._join import join, say
from decausal.hosts._ranks import report
from decausal.hosts._wanted import Wanted


def join_loaded(model: PreTrainedModel, wanted: Wanted) -> None:
    """Unmasks a model that transformers has loaded; what is no decoder-only model is left alone, and that is said.

    Raises:
        CheckpointError: what its checkpoint records is not what is wanted.
        UnsupportedModelError: see `join`.
    """
    if is_encoder(text_config(model)) or model.config.is_encoder_decoder:
        say(f"left alone: {type(model).__name__}, which is no decoder-only model")
        return
    record = getattr(model.config, RECORD, None)
    if record is not None:
        follow_record(model, record, str(model.name_or_path), wanted)
    elif wanted.unmask is not None:
        try:
            join(model, wanted.unmask, wanted.scope, wanted.host)
        except (UnsupportedModelError, ValueError) as error:
            if text_config(model).model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
                raise
            say(f"left alone: {type(model).__name__}, which is causal if it is a decoder: {error}")
            return
        report(wanted.report_dir)


def follow_record(model: nn.Module, record: dict[str, Any], place: str, wanted: Wanted) -> None:
    """Unmasks a model as the checkpoint records that it was loaded from, or whose adapter it got.

    Args:
        model: causal, or unmasked as the record says already.
        record: see `record_beside`.
        place: where the checkpoint is, for the message.
        wanted: what this process was asked for.

    Raises:
        CheckpointError: something else is wanted, or the model is unmasked in another way.
        UnsupportedModelError: see `join`.
    """
    if wanted.unmask is not None:
        asked = list(LayerPattern.parse(wanted.unmask).layers(record["num_hidden_layers"]))
        if asked != record["layers"] or wanted.scope not in (None, record["scope"]):
            raise CheckpointError(
                f'{place} was saved with unmask="{record["unmask"]}", scope="{record["scope"]}", and this run asks for '
                f'unmask="{wanted.unmask}"'
                + (f', scope="{wanted.scope}"' if wanted.scope else "")
                + f'. Leave unmask out to go on as it was; to change it, remove "{RECORD}" from its config.json.'
            )
    config = transformers_model(model).config
    if unmasked_layers(model):
        found = getattr(config, RECORD)
        differs = [key for key in ("layers", "scope", "window") if found[key] != record[key]]
        if differs:
            raise CheckpointError(
                f"{place} was saved with {', '.join(f'{key}={record[key]}' for key in differs)}, and the model that "
                f"it is loaded upon is unmasked with {', '.join(f'{key}={found[key]}' for key in differs)}: load it "
                f"upon the model that it was trained on."
            )
        return
    if record["layers"]:
        join(model, record["unmask"], record["scope"], wanted.host, window=record["window"])
        report(wanted.report_dir)
    setattr(config, RECORD, record)  # a tagger's holds more than the pattern

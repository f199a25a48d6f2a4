"""Before step 1: a run says what it is and is audited as it will train; only then does it replace an earlier one."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from decausal._attach import Handle
from decausal._audit import audit
from decausal._errors import UnsupportedModelError
from decausal._layers import is_encoder, text_config, transformers_model
from decausal.tagging.exact import ExactTrainer
from decausal.tagging.outputs import remove_run
from decausal.tagging.packing import check_packing
from decausal.tagging.precision import mixed_precision, store_frozen_weights
from decausal.tagging.processes import asked_for, describe_run, say


class CheckFirst(TrainerCallback):
    """Audits the model on its device, inside of what the strategy has put around it, in every process.

    Args:
        trainer: holds the model, and has loaded the checkpoint of a run that goes on.
        pattern: what its layers should be.
        is_packed: whether its training data come in packed rows.
        is_shared: whether its steps close layers that the pattern opens.
        replaced: the directory of an earlier run, deleted once the checks have passed.

    Attributes:
        facts: what the run is, and the audit's verdict, in words.
    """

    def __init__(
        self,
        trainer: ExactTrainer,
        pattern: str,
        *,
        is_packed: bool = False,
        is_shared: bool = False,
        replaced: Path | None = None,
    ) -> None:
        self.trainer = trainer
        self.pattern = pattern
        self.is_packed = is_packed
        self.is_shared = is_shared
        self.replaced = replaced
        self.facts: dict[str, str] = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Before step 1.

        Raises:
            ValueError: the run is not what its launcher was asked for.
            UnsupportedModelError: a layer is not what the pattern says, or sees other documents of a packed row.
        """
        self.facts["processes"] = describe_run(self.trainer)
        say(self.facts["processes"])
        if "audit" not in self.facts:  # else training begins once more, with smaller batches
            self.facts["audit"] = self._audit()
            assert self.trainer.model is not None
            if not (asked_for("FSDP") or asked_for("DEEPSPEED")):  # they store weights in their own way
                store_frozen_weights(self.trainer.model, mixed_precision(self.trainer.args))
        if self.replaced is not None and self.trainer.is_world_process_zero():
            remove_run(self.replaced)
        if self.trainer.state.global_step:
            self.trainer.make_up_for_validation()

    def _audit(self) -> str:
        model = self.trainer.model
        assert model is not None
        if is_encoder(text_config(transformers_model(model))):
            return "an encoder, which sees both sides"
        reports = [audit(model, self.pattern)]
        if self.is_shared:
            with Handle.of(model).only("none"):
                reports.append(audit(model, "none"))
        for report in reports:
            say(report)
            if not report.ok:
                raise UnsupportedModelError(
                    f"the audit failed before the first step, and nothing was trained.\n{report}"
                )
            if self.is_packed:
                check_packing(report)
        return "; with all layers closed: ".join(map(str, reports))

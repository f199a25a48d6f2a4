"""Adapters to training toolkits; a toolkit is imported only by the run that uses it, and nothing is copied from it.

| toolkit | what a user starts | file | where the model is unmasked |
|---|---|---|---|
| Axolotl | `axolotl`, our plugin in the YAML | axolotl.py | `DecausalPlugin.post_model_build` |
| TRL, Trainer, accelerate | `decausal run` | run.py, site/sitecustomize.py | `_seams.load_model` |
| ms-swift | `swift`, our file in the YAML | ms_swift.py | `_seams.load_model` |
| LLaMA-Factory | `python -m decausal.hosts.llamafactory` | llamafactory.py | `_seams.load_model` |

Common to all: `_wanted.py` (what was asked), `_follow.py` (what a checkpoint records goes first), `_join.py` (unmasks
and says so), `_ranks.py` (every process has to). `_TOOLKIT_limits.py` has what is refused.
"""

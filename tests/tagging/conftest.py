from small_recipes import base_model, corpus, recipe, write_recipe

__all__ = ["base_model", "corpus", "recipe", "write_recipe"]

"""Many runs of one recipe: which layers see both sides, found by trying."""

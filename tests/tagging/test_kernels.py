from decausal.tagging.kernels import errors_of, kernels_at_hand


def test_a_kernel_that_fails_is_left_out_with_its_error(llama):
    def refuse() -> None:
        raise RuntimeError("no kernel image is available")

    assert errors_of(["sdpa"], llama(), refuse) == {"sdpa": "RuntimeError: no kernel image is available"}
    assert errors_of(["eager", "sdpa"], llama(), lambda: None) == {}


def test_a_cpu_has_the_kernels_that_have_gradients_there(monkeypatch):
    monkeypatch.setattr("decausal.tagging.kernels.is_flash_attn_2_available", lambda: True)
    assert kernels_at_hand("cpu") == ["sdpa"]
    assert kernels_at_hand("cuda") == ["sdpa", "flex_attention", "flash_attention_2"]

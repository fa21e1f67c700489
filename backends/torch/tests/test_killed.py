"""Ten processes killed at random moments end as the run that was left alone (rules R1 to R3)."""

from attent.tests import killing


def test_a_network_killed_ten_times_ends_bit_for_bit_as_if_it_had_not_been(tmp_path):
    differing = killing.check("attent_torch.recipes:vit_digits", tmp_path, 1, {"precision": "float64"})
    # The recipe draws nothing from the global generators, which each process starts elsewhere.
    assert [name for name in differing if not name.startswith("learner/random/")] == []

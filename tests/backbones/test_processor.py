from luminoth.backbones.processor import processor_flags


def test_flags_are_those_of_the_first_processor(tmp_path):
    facts = tmp_path / "cpuinfo"
    facts.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512f\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert processor_flags(facts) == {"fpu", "avx2", "avx512f"}


def test_nothing_is_known_where_the_kernel_says_nothing(tmp_path):
    assert processor_flags(tmp_path / "cpuinfo") == frozenset()
    (tmp_path / "other").write_text("Features\t: fp asimd\n")
    assert processor_flags(tmp_path / "other") == frozenset()

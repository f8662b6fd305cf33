import yaml
from hypothesis import given
from hypothesis import strategies as st

from luminoth.config import config_from_dict, dump_config, load_config

POSITIVE = st.floats(min_value=1e-12, max_value=1e12)
FRACTION = st.floats(min_value=0, max_value=1)
TEXT = st.text(min_size=1)
RATES = st.one_of(
    st.fixed_dictionaries({"decay_method": st.sampled_from(["none", None]), "learning_rate": POSITIVE}),
    st.lists(st.integers(1, 10**9), min_size=1, unique=True).flatmap(
        lambda steps: st.fixed_dictionaries(
            {
                "decay_method": st.just("piecewise_constant"),
                "boundaries": st.just(sorted(steps)),
                "values": st.lists(POSITIVE, min_size=len(steps) + 1, max_size=len(steps) + 1),
            }
        )
    ),
    st.fixed_dictionaries(
        {"decay_method": st.just("cosine_decay"), "decay_steps": st.none() | st.integers(1), "learning_rate": POSITIVE}
    ),
)
OPTIMIZERS = st.one_of(
    st.fixed_dictionaries({"type": st.just("momentum"), "momentum": FRACTION, "nesterov": st.booleans()}),
    st.fixed_dictionaries({"type": st.just("adamw"), "weight_decay": POSITIVE, "beta1": FRACTION}),
)
INITIALIZERS = st.one_of(
    st.fixed_dictionaries({"type": st.just("truncated_normal_initializer"), "stddev": POSITIVE, "mean": POSITIVE}),
    st.fixed_dictionaries({"type": st.just("xavier_initializer"), "uniform": st.booleans()}),
)
AUGMENTATIONS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"flip": st.fixed_dictionaries({"up_down": st.booleans(), "prob": FRACTION})}),
        st.fixed_dictionaries({"distortion": st.fixed_dictionaries({"brightness": st.just({"max_delta": 0.1})})}),
        st.fixed_dictionaries(
            {"expand": st.fixed_dictionaries({"fill": st.just([1, 2.5, 255]) | st.integers(0, 255)})}
        ),
    ),
    max_size=3,
)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "train": st.fixed_dictionaries(
            {},
            optional={
                "run_name": st.none() | TEXT,
                "job_dir": TEXT,
                "seed": st.none() | st.integers(0, 2**31 - 1),
                "learning_rate": RATES,
                "optimizer": OPTIMIZERS,
                "clip_by_norm": st.booleans() | POSITIVE,
                "var_vis": st.sampled_from(["full", "reduced", None]),
            },
        ),
        "dataset": st.fixed_dictionaries({}, optional={"dir": TEXT, "data_augmentation": AUGMENTATIONS}),
        "model": st.fixed_dictionaries(
            {},
            optional={
                "anchors": st.fixed_dictionaries({"scales": st.lists(POSITIVE, min_size=1)}),
                "rpn": st.fixed_dictionaries(
                    {"cls_initializer": INITIALIZERS, "proposals": st.just({"post_nms_top_n": 7})}
                ),
            },
        ),
    },
)


@given(CONFIGS)
def test_what_is_dumped_loads_back_equal(tmp_path, values):
    config = config_from_dict(values)
    text = dump_config(config)
    path = tmp_path / "dumped.yml"
    path.write_text(text, encoding="utf-8")
    assert load_config([path]) == config
    assert config_from_dict(yaml.safe_load(text)) == config  # other YAML readers agree
    assert config_from_dict(config.model_dump()) == config

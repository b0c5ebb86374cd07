"""What dpbench does with each option of DeePMD-kit's input.json: literal tables.

Every option of a supported model has a rule: it is taken over, it has no effect on the
result here, or it is supported at certain values only. Options that the tables do not
hold do not exist in DeePMD-kit 3.2 either, for this model.

Source:
    DeePMD-kit 3.2 documentation, "Training parameters".
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """The option is taken over."""

    field: str
    """Name of the field it fills."""

    default: Any = None
    """DeePMD-kit's default; None leaves the field out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoEffect:
    """The option is accepted and listed: it cannot change the result here."""

    why: str = "no effect here"
    """Shown to the user."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Only:
    """The option is supported at these values only."""

    values: tuple[Any, ...]
    """Values under which DeePMD-kit does the same as dpbench."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """The option is a table of options, translated on its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """Another name of an option."""

    of: str
    """The option meant."""


Rule = Taken | NoEffect | Only | Section | Alias

_ABSENT: Only = Only(values=(None, [], {}, False))
_PRECISION = Taken(field="precision", default="default")
_ONE_PROBABILITY = Only(values=("prob_sys_size",))

TOP: dict[str, Rule] = {
    "model": Section(),
    "learning_rate": Section(),
    "optimizer": Section(),
    "loss": Section(),
    "training": Section(),
    "validating": _ABSENT,
    "nvnmd": _ABSENT,
}

TABLE_KEYS = ("use_srtab", "smin_alpha", "sw_rmin", "sw_rmax")
"""Options of the model that mix a tabulated pair potential in."""

MODEL: dict[str, Rule] = {
    "type": Only(values=("standard",)),
    "type_map": Taken(field="type_map"),
    "descriptor": Section(),
    "fitting_net": Section(),
    "data_stat_nbatch": NoEffect(why="statistics use every training frame"),
    "data_bias_nsample": NoEffect(why="statistics use every training frame"),
    "data_stat_protect": Only(values=(0.01,)),
    "srtab_add_bias": NoEffect(),
    "finetune_head": _ABSENT,
    **{name: Taken(field=name) for name in TABLE_KEYS},
    "pair_exclude_types": _ABSENT,
    "atom_exclude_types": _ABSENT,
    "preset_out_bias": _ABSENT,
    "type_embedding": _ABSENT,
    "modifier": _ABSENT,
    "compress": _ABSENT,
    "spin": _ABSENT,
    "shared_dict": _ABSENT,
    "model_dict": _ABSENT,
}

_AXIS: dict[str, Rule] = {
    "axis_neuron": Taken(field="axis_neuron", default=4),
    "n_axis_neuron": Alias(of="axis_neuron"),
}

_EMBEDDING: dict[str, Rule] = {
    "sel": Taken(field="sel", default="auto"),
    "rcut": Taken(field="rcut", default=6.0),
    "rcut_smth": Taken(field="rcut_smth", default=0.5),
    "neuron": Taken(field="neuron", default=[10, 20, 40]),
    "activation_function": Taken(field="activation_function", default="tanh"),
    "resnet_dt": Taken(field="resnet_dt", default=False),
    "type_one_side": Taken(field="type_one_side", default=False),
    "precision": _PRECISION,
    "set_davg_zero": Taken(field="set_davg_zero", default=False),
    "trainable": Only(values=(True,)),
    "seed": Taken(field="seed"),
    "exclude_types": Taken(field="exclude_types"),
    "env_protection": Taken(field="env_protection", default=0.0),
}

DESCRIPTOR: dict[str, Rule] = {
    "type": Only(values=("se_e2_a", "se_a")),
    **_EMBEDDING,
    **_AXIS,
}

SE_E2_R: dict[str, Rule] = {"type": Only(values=("se_e2_r", "se_r")), **_EMBEDDING}

_NO_ATTENTION = NoEffect(why="there is no attention layer")

SE_ATTEN_V2: dict[str, Rule] = {
    "type": Only(values=("se_atten_v2",)),
    **_EMBEDDING,
    **_AXIS,
    "attn_layer": Only(values=(0,)),
    "tebd_dim": Taken(field="tebd_dim", default=8),
    "concat_output_tebd": Taken(field="concat_output_tebd", default=True),
    "use_tebd_bias": Taken(field="use_tebd_bias", default=False),
    "use_econf_tebd": Only(values=(False,)),
    "lmax": Only(values=(None, 1)),
    "attn_mask": Only(values=(False,)),
    **dict.fromkeys(
        (
            "attn",
            "attn_dotr",
            "scaling_factor",
            "normalize",
            "temperature",
            "trainable_ln",
            "ln_eps",
        ),
        _NO_ATTENTION,
    ),
}

SE_ATTEN: dict[str, Rule] = SE_ATTEN_V2 | {
    "type": Only(values=("se_atten", "dpa1")),
    "set_davg_zero": Taken(field="set_davg_zero", default=True),
    "tebd_input_mode": Only(values=("strip",)),
    "smooth_type_embedding": Taken(field="smooth_type_embedding", default=False),
    "smooth_type_embdding": Alias(of="smooth_type_embedding"),
}

HYBRID: dict[str, Rule] = {"type": Only(values=("hybrid",)), "list": Section()}

DESCRIPTORS: dict[str, tuple[str, dict[str, Rule]]] = {
    "se_e2_a": ("se_e2_a", DESCRIPTOR),
    "se_a": ("se_e2_a", DESCRIPTOR),
    "se_e2_r": ("se_e2_r", SE_E2_R),
    "se_r": ("se_e2_r", SE_E2_R),
    "se_atten_v2": ("se_atten_v2", SE_ATTEN_V2),
    "se_atten": ("se_atten", SE_ATTEN),
    "dpa1": ("dpa1", SE_ATTEN),
}
"""Descriptors that are not made of others: our name, and the options."""

ATTENTION_DEFAULTS: dict[str, dict[str, Any]] = {
    "se_atten_v2": {"attn_layer": 2},
    "se_atten": {"attn_layer": 2, "tebd_input_mode": "concat"},
    "dpa1": {"attn_layer": 2, "tebd_input_mode": "concat"},
}
"""What DeePMD-kit takes where an option is left out, and dpbench does not support."""

FITTING: dict[str, Rule] = {
    "type": Only(values=("ener",)),
    "neuron": Taken(field="neuron", default=[120, 120, 120]),
    "n_neuron": Alias(of="neuron"),
    "activation_function": Taken(field="activation_function", default="tanh"),
    "resnet_dt": Taken(field="resnet_dt", default=True),
    "precision": _PRECISION,
    "trainable": Only(values=(True,)),
    "seed": Taken(field="seed"),
    "rcond": Taken(field="rcond"),
    "numb_fparam": Only(values=(0,)),
    "numb_aparam": Taken(field="numb_aparam", default=0),
    "default_fparam": _ABSENT,
    "dim_case_embd": Only(values=(0,)),
    "atom_ener": _ABSENT,
    "layer_name": _ABSENT,
    "use_aparam_as_mask": Only(values=(False,)),
}

LEARNING_RATE: dict[str, Rule] = {
    "type": Taken(field="type", default="exp"),
    "start_lr": Taken(field="start_lr"),
    "stop_lr": Taken(field="stop_lr"),
    "stop_lr_ratio": Taken(field="stop_lr_ratio"),
    "decay_steps": Taken(field="decay_steps", default=5000),
    "decay_rate": _ABSENT,
    "smooth": Taken(field="smooth", default=False),
    "decay_phase_ratio": Taken(field="decay_phase_ratio", default=0.1),
    "decay_type": Taken(field="decay_type", default="inverse_linear"),
    "warmup_steps": Taken(field="warmup_steps", default=0),
    "warmup_ratio": Taken(field="warmup_ratio"),
    "warmup_start_factor": Taken(field="warmup_start_factor", default=0.0),
    "scale_by_worker": NoEffect(why="one process trains"),
}

OPTIMISER: dict[str, Rule] = {
    "type": Only(values=("Adam", "adam")),
    "adam_beta1": Taken(field="beta1", default=0.9),
    "adam_beta2": Taken(field="beta2", default=0.999),
    "weight_decay": Only(values=(0.0,)),
}

LOSS: dict[str, Rule] = {
    "type": Only(values=("ener",)),
    "start_pref_e": Taken(field="start_pref_e", default=0.02),
    "limit_pref_e": Taken(field="limit_pref_e", default=1.0),
    "start_pref_f": Taken(field="start_pref_f", default=1000.0),
    "limit_pref_f": Taken(field="limit_pref_f", default=1.0),
    "start_pref_v": Taken(field="start_pref_v", default=0.0),
    "limit_pref_v": Taken(field="limit_pref_v", default=0.0),
    "loss_func": Only(values=("mse",)),
    "relative_f": _ABSENT,
    "enable_atom_ener_coeff": _ABSENT,
    "use_huber": _ABSENT,
    "huber_delta": NoEffect(why="used with use_huber only"),
    "f_use_norm": _ABSENT,
    "intensive_ener_virial": _ABSENT,
    "use_default_pf": _ABSENT,
    "numb_generalized_coord": Only(values=(0,)),
    **{
        f"{end}_pref_{kind}": Only(values=(0.0,))
        for end in ("start", "limit")
        for kind in ("ae", "pf", "gf", "h")
    },
}

TRAINING: dict[str, Rule] = {
    "training_data": Section(),
    "validation_data": Section(),
    "numb_steps": Taken(field="steps"),
    **{
        name: Alias(of="numb_steps")
        for name in ("stop_batch", "num_step", "num_steps", "numb_step")
    },
    "numb_epoch": Taken(field="epochs"),
    **{
        name: Alias(of="numb_epoch")
        for name in ("num_epochs", "num_epoch", "numb_epochs")
    },
    "seed": Taken(field="seed"),
    "disp_freq": Taken(field="validation_every", default=1000),
    "save_freq": Taken(field="checkpoint_every", default=1000),
    "max_ckpt_keep": Taken(field="keep_checkpoints", default=5),
    "gradient_max_norm": Taken(field="gradient_max_norm"),
    **{
        name: NoEffect()
        for name in (
            "disp_file",
            "save_ckpt",
            "save_dir",
            "disp_training",
            "time_training",
            "disp_avg",
            "profiling",
            "profiling_file",
            "enable_profiler",
            "tensorboard",
            "tensorboard_log_dir",
            "tensorboard_freq",
            "stat_file",
            "stat_file_mode",
            "neighbor_graph_method",
            "enable_compile",
            "ema_decay",
            "ema_ckpt_keep",
        )
    },
    "ckpt_keep_ratio": _ABSENT,
    "enable_ema": _ABSENT,
    "change_bias_after_training": Taken(field="refit_bias", default=False),
    "zero_stage": Only(values=(0,)),
    "acc_freq": Only(values=(1,)),
    "mixed_precision": _ABSENT,
    "model_prob": _ABSENT,
    "num_epoch_dict": _ABSENT,
    "data_dict": _ABSENT,
}

TRAINING_DATA: dict[str, Rule] = {
    "systems": Taken(field="systems"),
    "batch_size": Taken(field="batch_size", default="auto"),
    "auto_prob": _ONE_PROBABILITY,
    "auto_prob_style": Alias(of="auto_prob"),
    "sys_probs": _ABSENT,
    "sys_weights": Alias(of="sys_probs"),
    "rglob_patterns": _ABSENT,
    "min_pair_dist": Only(values=(0.0, None)),
}

VALIDATION_DATA: dict[str, Rule] = {
    "systems": Taken(field="systems"),
    "rglob_patterns": _ABSENT,
    **{
        name: NoEffect(why="validation scores its frames once each, pooled")
        for name in (
            "batch_size",
            "auto_prob",
            "auto_prob_style",
            "sys_probs",
            "sys_weights",
            "numb_btch",
            "numb_batch",
            "min_pair_dist",
        )
    },
}

"""Recurrent modules of packages on PyPI, described for `publish`.

`python -m benchmarks.package_modules` publishes these modules and sends them requests. Its first lines list the
commands that install the packages.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch

from rnnserve.export import Floats, Integers, Lengths


@dataclasses.dataclass(frozen=True)
class Module:
    """A module of a package.

    Attributes:
        package: Name of the distribution.
        path: The Python module with the class.
        make: Makes the module from that Python module.
        inputs: Specs of the inputs.
        outputs: Names of the outputs.
        rest: More arguments of `Publication`.
    """

    package: str
    path: str
    make: Callable[[Any], torch.nn.Module]
    inputs: dict[str, Any]
    outputs: Sequence[str] = ("y",)
    rest: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def _floats(features: int) -> Any:  # noqa: ANN401 - a description of an input
    return Floats("batch", "sequence", features)


_FIRST: Final = Floats("sequence", "batch", 3)  # sequence first

MODULES: Final = {
    "CfC": Module(
        "ncps",
        "ncps.torch",
        lambda m: m.CfC(3, 8, backbone_units=8),
        {"input": _floats(3), "hx": Floats("batch", 8)},
        ("y", "h_n"),
        rest={"states": {"h_n": "hx"}},
    ),
    "Mamba": Module(
        "mambapy",
        "mambapy.mamba",
        lambda m: m.Mamba(m.MambaConfig(d_model=4, n_layers=2, d_state=4, pscan=False)),
        {"x": _floats(4)},
    ),
    "minGRU": Module("minGRU-pytorch", "minGRU_pytorch", lambda m: m.minGRU(6), {"x": _floats(6)}),
    "minLSTM": Module("minGRU-pytorch", "minGRU_pytorch.minLSTM", lambda m: m.minLSTM(6), {"x": _floats(6)}),
    "LiGRU": Module(
        "speechbrain",
        "speechbrain.nnet.RNN",
        lambda m: m.LiGRU(hidden_size=6, input_shape=(2, 10, 3), num_layers=2),
        {"x": _floats(3)},
        ("y", "h_n"),
    ),
    "SpikingLSTM": Module(
        "spikingjelly",
        "spikingjelly.activation_based.rnn",
        lambda m: m.SpikingLSTM(3, 6, 1),
        {"x": _FIRST},
        ("y", "h_n", "c_n"),
    ),
    "CerebralLSTM": Module(
        "cerebral-lstm", "cerebral_lstm", lambda m: m.CerebralLSTM(3, 6, 1), {"x": _FIRST}, ("y", "h_n", "c_n", "d_n")
    ),
    "ConvLSTM": Module(
        "conv-lstm",
        "conv_lstm",
        lambda m: m.ConvLSTM(2, 4, 3, 1),
        {"input_tensor": Floats("batch", "sequence", 2, 5, 6)},
        ("y", "h_n", "c_n"),
    ),
    "ComfiFastGRNN": Module(
        "comfi-fast-grnn-torch",
        "comfi_fast_grnn_torch",
        lambda m: m.ComfiFastGRNN(3, 6, bidirectional=True),
        {"x": _floats(3)},
        ("y", "h_n"),
    ),
    "LiquidNeuralNetwork": Module(
        "liquidnn", "liquidnn", lambda m: m.LiquidNeuralNetwork(3, 6, num_layers=2), {"x": _floats(3)}, ("h_n",)
    ),
    "SubLSTM": Module(
        "pytorch-sublstm",
        "subLSTM.nn",
        lambda m: m.SubLSTM(3, 6, 1, batch_first=True),
        {"input": _floats(3)},
        ("y", "h_n", "c_n"),
    ),
    "TCN": Module(
        "pytorch-tcn",
        "pytorch_tcn",
        lambda m: m.TCN(3, [4, 4], kernel_size=3, causal=True, input_shape="NLC"),
        {"x": _floats(3)},
    ),
    "LRU": Module("lru-pytorch", "LRU_pytorch", lambda m: m.LRU(3, 4, 6), {"input": _floats(3)}),
    "BiRnnCrf": Module(
        "bi-lstm-crf",
        "bi_lstm_crf",
        lambda m: m.BiRnnCrf(20, 4, 6, 8),
        {"xs": Integers("batch", "sequence", high=20, padding=0)},
        ("score", "tags"),
    ),
    "AdaptiveGRU": Module(
        "pytorch-adaptive-computation-time",
        "pytorch_adaptive_computation_time",
        lambda m: m.AdaptiveGRU(3, 6, time_penalty=0.01),
        {"inputs": _FIRST},
        ("y", "h_n", "cost", "steps"),
    ),
    "OpenUnmix": Module(
        "openunmix",
        "openunmix.model",
        lambda m: m.OpenUnmix(nb_bins=9, nb_channels=2, hidden_size=8, nb_layers=1),
        {"x": Floats("batch", ("channels", 2), ("bins", 9), "frames")},
    ),
    "DeepSpeech": Module(
        "torchaudio", "torchaudio.models", lambda m: m.DeepSpeech(4, 8, 5), {"x": Floats("batch", 1, "sequence", 4)}
    ),
    "RNN-T predictor": Module(
        "torchaudio",
        "torchaudio.models.rnnt",
        lambda m: m._Predictor(20, 8, 8, 1, 8),  # noqa: SLF001 - the module of its RNNT
        {"input": Integers("batch", "sequence", high=20), "lengths": Lengths()},
        ("y", "y_lengths", "h_n", "c_n"),
    ),
    "S6": Module(
        "minimamba",
        "minimamba.s6",
        lambda m: m.S6(m.MambaConfig(d_model=4, n_layer=1, d_state=4, device="cpu")),
        {"hidden_states": _floats(4)},
        rest={"sizes": {"sequence": (1, 32)}},
    ),
    "ArrayLSTM": Module(
        "array-lstm", "arrayLSTM", lambda m: m.ArrayLSTM(3, 6, 2), {"x": _floats(3)}, ("y", "h_n", "c_n")
    ),
    "LIFRecurrent": Module(
        "norse", "norse.torch", lambda m: m.LIFRecurrent(3, 6), {"input_tensor": _FIRST}, ("y", "z_n", "v_n", "i_n")
    ),
    "mLSTM": Module(
        "xlstm",
        "xlstm",
        lambda m: m.xLSTMBlockStack(
            m.xLSTMBlockStackConfig(
                mlstm_block=m.mLSTMBlockConfig(m.mLSTMLayerConfig(num_heads=2)),
                context_length=64,
                num_blocks=2,
                embedding_dim=16,
            )
        ),
        {"x": _floats(16)},
        rest={"sizes": {"sequence": (1, 63)}},
    ),
    "Tacotron 2's encoder": Module(
        "torchaudio",
        "torchaudio.models.tacotron2",
        lambda m: m._Encoder(8, 2, 5),  # noqa: SLF001 - the module of its Tacotron2
        {"x": Floats("batch", 8, "sequence"), "input_lengths": Lengths()},
    ),
    "S5": Module("s5-pytorch", "s5", lambda m: m.S5(4, 4), {"signal": _floats(4)}),
    "DeepESN": Module("auto-esn", "auto_esn.esn.esn", lambda m: m.DeepESN(3, 6, 2), {"input": _floats(3)}),
    "sLSTM": Module(
        "xlstm",
        "xlstm",
        lambda m: m.xLSTMBlockStack(
            m.xLSTMBlockStackConfig(
                slstm_block=m.sLSTMBlockConfig(slstm=m.sLSTMLayerConfig(backend="vanilla", num_heads=2)),
                slstm_at=[0, 1],
                context_length=64,
                num_blocks=2,
                embedding_dim=16,
            )
        ),
        {"x": _floats(16)},
    ),
    "Demucs": Module(
        "denoiser",
        "denoiser.demucs",
        lambda m: m.Demucs(hidden=4, depth=2),
        {"mix": Floats("batch", 1, "sequence")},
        rest={"sizes": {"sequence": (16, 4000)}},
    ),
    "URLSTM": Module(
        "ur-lstm-torch",
        "ur_lstm",
        lambda m: m.URLSTM(4, 6, 2, batch_first=True),
        {"x": _floats(4)},
        ("y", "h_n", "c_n"),
    ),
    "LEM": Module(
        "torchrecurrent",
        "torchrecurrent",
        lambda m: m.LEM(4, 6, 2),
        {"inp": Floats("sequence", "batch", 4)},
        ("y", "h_n", "z_n"),
    ),
    "coRNN": Module(
        "torchrecurrent",
        "torchrecurrent",
        lambda m: m.coRNN(4, 6, 1, batch_first=True),
        {"inp": _floats(4)},
        ("y", "h_n", "z_n"),
    ),
    "ESNCell": Module(
        "auto-esn",
        "auto_esn.esn.reservoir.cell",
        lambda m: m.ESNCell(3, 6),
        {"input": Floats("batch", 3)},
        rest={"state_attributes": ["hx"]},
    ),
    "LightRecurrentUnit": Module(
        "light-recurrent-unit-pytorch",
        "light_recurrent_unit_pytorch.light_recurrent_unit",
        lambda m: m.LightRecurrentUnitBlock(6, depth=1, heads=2),
        {"x": _floats(6)},
    ),
    "NeuralField": Module(
        "neuralfields",
        "neuralfields",
        lambda m: m.NeuralField(3, 8, output_size=2),
        {"inputs": _floats(3)},
        ("y", "potentials"),
    ),
    "ARU": Module(
        "additive-recurrent-unit", "aru", lambda m: m.ARU(3, 8, use_embedding=False), {"x": _floats(3)}, ("h",)
    ),
    "GSMC": Module("gsmc-torch", "gsmc_torch", lambda m: m.GSMCv2(3, 6), {"x_seq": _floats(3)}, ("spikes",)),
    "CQRN": Module(
        "pytorch-cqrn",
        "torchcqrn.cqrn",
        lambda m: m.CQRN(1, 4, num_layers=2),
        {"input": Floats("sequence", "batch", 1, 5)},
        ("y", "h0", "h1"),
    ),
    "GRUMixer": Module("torch-dimensions", "torch_dimensions.mixers.rnn", lambda m: m.GRUMixer(4), {"x": _floats(4)}),
    "RNNClassifier": Module(
        "rnn-classifiers",
        "rnn_classifier.model",
        lambda m: m.RNNClassifier(3, 8, 4, rnn_hidden_size=6, num_rnn_layers=2, bidirectional=True),
        {"x": _floats(3)},
        ("logits",),
    ),
    "resdag": Module("resdag", "resdag.models", lambda m: m.classic_esn(20, 3, 3).as_module(), {"x": _floats(3)}),
}

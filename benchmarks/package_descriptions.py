"""Recurrent modules of packages on PyPI, described for `publish`.

`python -m benchmarks.package_modules` publishes and asks them, and its first lines say how to get the packages.
"""

from collections.abc import Callable
from typing import Any, Final

import torch

from rnnserve.export import Floats, Integers, Lengths

Description = tuple[str, str, Callable[[Any], torch.nn.Module], dict[str, Any], list[str], dict[str, Any]]

_X: Final = Floats("batch", "sequence", 3)
_FIRST: Final = Floats("sequence", "batch", 3)  # sequence first
_H: Final = {"h_n": "hx"}

MODULES: Final[dict[str, Description]] = {
    "CfC": (
        "ncps",
        "ncps.torch",
        lambda m: m.CfC(3, 8, backbone_units=8),
        {"input": _X, "hx": Floats("batch", 8)},
        ["y", "h_n"],
        {"states": _H},
    ),
    "Mamba": (
        "mambapy",
        "mambapy.mamba",
        lambda m: m.Mamba(m.MambaConfig(d_model=4, n_layers=2, d_state=4, pscan=False)),
        {"x": Floats("batch", "sequence", 4)},
        ["y"],
        {},
    ),
    "minGRU": (
        "minGRU-pytorch",
        "minGRU_pytorch",
        lambda m: m.minGRU(6),
        {"x": Floats("batch", "sequence", 6)},
        ["y"],
        {},
    ),
    "minLSTM": (
        "minGRU-pytorch",
        "minGRU_pytorch.minLSTM",
        lambda m: m.minLSTM(6),
        {"x": Floats("batch", "sequence", 6)},
        ["y"],
        {},
    ),
    "LiGRU": (
        "speechbrain",
        "speechbrain.nnet.RNN",
        lambda m: m.LiGRU(hidden_size=6, input_shape=(2, 10, 3), num_layers=2),
        {"x": _X},
        ["y", "h_n"],
        {},
    ),
    "SpikingLSTM": (
        "spikingjelly",
        "spikingjelly.activation_based.rnn",
        lambda m: m.SpikingLSTM(3, 6, 1),
        {"x": _FIRST},
        ["y", "h_n", "c_n"],
        {},
    ),
    "CerebralLSTM": (
        "cerebral-lstm",
        "cerebral_lstm",
        lambda m: m.CerebralLSTM(3, 6, 1),
        {"x": _FIRST},
        ["y", "h_n", "c_n", "d_n"],
        {},
    ),
    "ConvLSTM": (
        "conv-lstm",
        "conv_lstm",
        lambda m: m.ConvLSTM(2, 4, 3, 1),
        {"input_tensor": Floats("batch", "sequence", 2, 5, 6)},
        ["y", "h_n", "c_n"],
        {},
    ),
    "ComfiFastGRNN": (
        "comfi-fast-grnn-torch",
        "comfi_fast_grnn_torch",
        lambda m: m.ComfiFastGRNN(3, 6, bidirectional=True),
        {"x": _X},
        ["y", "h_n"],
        {},
    ),
    "LiquidNeuralNetwork": (
        "liquidnn",
        "liquidnn",
        lambda m: m.LiquidNeuralNetwork(3, 6, num_layers=2),
        {"x": _X},
        ["h_n"],
        {},
    ),
    "SubLSTM": (
        "pytorch-sublstm",
        "subLSTM.nn",
        lambda m: m.SubLSTM(3, 6, 1, batch_first=True),
        {"input": _X},
        ["y", "h_n", "c_n"],
        {},
    ),
    "TCN": (
        "pytorch-tcn",
        "pytorch_tcn",
        lambda m: m.TCN(3, [4, 4], kernel_size=3, causal=True, input_shape="NLC"),
        {"x": _X},
        ["y"],
        {},
    ),
    "LRU": ("lru-pytorch", "LRU_pytorch", lambda m: m.LRU(3, 4, 6), {"input": _X}, ["y"], {}),
    "BiRnnCrf": (
        "bi-lstm-crf",
        "bi_lstm_crf",
        lambda m: m.BiRnnCrf(20, 4, 6, 8),
        {"xs": Integers("batch", "sequence", high=20, padding=0)},
        ["score", "tags"],
        {},
    ),
    "AdaptiveGRU": (
        "pytorch-adaptive-computation-time",
        "pytorch_adaptive_computation_time",
        lambda m: m.AdaptiveGRU(3, 6, time_penalty=0.01),
        {"inputs": _FIRST},
        ["y", "h_n", "cost", "steps"],
        {},
    ),
    "OpenUnmix": (
        "openunmix",
        "openunmix.model",
        lambda m: m.OpenUnmix(nb_bins=9, nb_channels=2, hidden_size=8, nb_layers=1),
        {"x": Floats("batch", ("channels", 2), ("bins", 9), "frames")},
        ["y"],
        {},
    ),
    "DeepSpeech": (
        "torchaudio",
        "torchaudio.models",
        lambda m: m.DeepSpeech(4, 8, 5),
        {"x": Floats("batch", 1, "sequence", 4)},
        ["y"],
        {},
    ),
    "RNN-T predictor": (
        "torchaudio",
        "torchaudio.models.rnnt",
        lambda m: m._Predictor(20, 8, 8, 1, 8),  # noqa: SLF001 - the module of its RNNT
        {"input": Integers("batch", "sequence", high=20), "lengths": Lengths()},
        ["y", "y_lengths", "h_n", "c_n"],
        {},
    ),
    "S6": (
        "minimamba",
        "minimamba.s6",
        lambda m: m.S6(m.MambaConfig(d_model=4, n_layer=1, d_state=4, device="cpu")),
        {"hidden_states": Floats("batch", "sequence", 4)},
        ["y"],
        {"sizes": {"sequence": (1, 32)}},
    ),
    "ArrayLSTM": ("array-lstm", "arrayLSTM", lambda m: m.ArrayLSTM(3, 6, 2), {"x": _X}, ["y", "h_n", "c_n"], {}),
    "LIFRecurrent": (
        "norse",
        "norse.torch",
        lambda m: m.LIFRecurrent(3, 6),
        {"input_tensor": _FIRST},
        ["y", "z_n", "v_n", "i_n"],
        {},
    ),
    "mLSTM": (
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
        {"x": Floats("batch", "sequence", 16)},
        ["y"],
        {"sizes": {"sequence": (1, 63)}},
    ),
    "Tacotron 2's encoder": (
        "torchaudio",
        "torchaudio.models.tacotron2",
        lambda m: m._Encoder(8, 2, 5),  # noqa: SLF001 - the module of its Tacotron2
        {"x": Floats("batch", 8, "sequence"), "input_lengths": Lengths()},
        ["y"],
        {},
    ),
    "S5": ("s5-pytorch", "s5", lambda m: m.S5(4, 4), {"signal": Floats("batch", "sequence", 4)}, ["y"], {}),
    "DeepESN": ("auto-esn", "auto_esn.esn.esn", lambda m: m.DeepESN(3, 6, 2), {"input": _X}, ["y"], {}),
    "sLSTM": (
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
        {"x": Floats("batch", "sequence", 16)},
        ["y"],
        {},
    ),
    "Demucs": (
        "denoiser",
        "denoiser.demucs",
        lambda m: m.Demucs(hidden=4, depth=2),
        {"mix": Floats("batch", 1, "sequence")},
        ["y"],
        {"sizes": {"sequence": (16, 4000)}},
    ),
    "URLSTM": (
        "ur-lstm-torch",
        "ur_lstm",
        lambda m: m.URLSTM(4, 6, 2, batch_first=True),
        {"x": Floats("batch", "sequence", 4)},
        ["y", "h_n", "c_n"],
        {},
    ),
    "LEM": (
        "torchrecurrent",
        "torchrecurrent",
        lambda m: m.LEM(4, 6, 2),
        {"inp": Floats("sequence", "batch", 4)},
        ["y", "h_n", "z_n"],
        {},
    ),
    "coRNN": (
        "torchrecurrent",
        "torchrecurrent",
        lambda m: m.coRNN(4, 6, 1, batch_first=True),
        {"inp": Floats("batch", "sequence", 4)},
        ["y", "h_n", "z_n"],
        {},
    ),
    "ESNCell": (
        "auto-esn",
        "auto_esn.esn.reservoir.cell",
        lambda m: m.ESNCell(3, 6),
        {"input": Floats("batch", 3)},
        ["y"],
        {"state_attributes": ["hx"]},
    ),
    "LightRecurrentUnit": (
        "light-recurrent-unit-pytorch",
        "light_recurrent_unit_pytorch.light_recurrent_unit",
        lambda m: m.LightRecurrentUnitBlock(6, depth=1, heads=2),
        {"x": Floats("batch", "sequence", 6)},
        ["y"],
        {},
    ),
    "NeuralField": (
        "neuralfields",
        "neuralfields",
        lambda m: m.NeuralField(3, 8, output_size=2),
        {"inputs": _X},
        ["y", "potentials"],
        {},
    ),
    "ARU": (
        "additive-recurrent-unit",
        "aru",
        lambda m: m.ARU(3, 8, use_embedding=False),
        {"x": _X},
        ["h"],
        {},
    ),
    "GSMC": ("gsmc-torch", "gsmc_torch", lambda m: m.GSMCv2(3, 6), {"x_seq": _X}, ["spikes"], {}),
    "CQRN": (
        "pytorch-cqrn",
        "torchcqrn.cqrn",
        lambda m: m.CQRN(1, 4, num_layers=2),
        {"input": Floats("sequence", "batch", 1, 5)},
        ["y", "h0", "h1"],
        {},
    ),
    "GRUMixer": (
        "torch-dimensions",
        "torch_dimensions.mixers.rnn",
        lambda m: m.GRUMixer(4),
        {"x": Floats("batch", "sequence", 4)},
        ["y"],
        {},
    ),
    "RNNClassifier": (
        "rnn-classifiers",
        "rnn_classifier.model",
        lambda m: m.RNNClassifier(3, 8, 4, rnn_hidden_size=6, num_rnn_layers=2, bidirectional=True),
        {"x": _X},
        ["logits"],
        {},
    ),
    "resdag": (
        "resdag",
        "resdag.models",
        lambda m: m.classic_esn(20, 3, 3).as_module(),
        {"x": _X},
        ["y"],
        {},
    ),
}

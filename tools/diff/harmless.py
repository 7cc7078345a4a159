"""The pairs that compute the same: what exporters, optimizers and converters write differently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diff import harmless_files as files
from diff import harmless_nodes as nodes
from diff import harmless_values as values
from diff.graph import Graph

Change = Callable[[Graph], Graph]


@dataclass(frozen=True)
class Pair:
    """A network, and a change of it that changes nothing."""

    name: str
    network: str
    edit: Change
    before: Change | None = None  # what is done to A first
    hard: bool = False  # the same function, but layers hold other values
    external: bool = False
    rounding: float = 2e-5  # of the largest output: what the two may differ by


PAIRS = [
    Pair("renamed", "scenes_vgg", files.renamed_all),
    Pair("renamed", "scenes_labels", files.renamed_all),
    Pair("reordered", "scenes_resnet", files.reordered),
    Pair("renamed-and-reordered", "scenes_resnet_torch", files.renamed_and_reordered),
    Pair("renamed-and-reordered", "scenes_resnet_int8", files.renamed_and_reordered),
    Pair("opset-lifted", "scenes_vgg", files.opset(21)),
    Pair("opset-lifted", "scenes_labels", files.opset(19)),
    Pair("opset-lifted", "chain_oldclip", files.opset(13)),
    Pair("opset-lifted", "tiny_scores", files.opset(20)),
    Pair("constants", "scenes_resnet", files.weights_as_constants),
    Pair("external-data", "scenes_vgg", lambda g: g, external=True),
    Pair("fixed-batch", "scenes_resnet", files.fixed_sizes(1)),
    Pair("fixed-sizes", "edsr_small", files.fixed_sizes(1, 32, 32)),
    Pair("nhwc-input", "scenes_resnet", files.channels_last_input),
    Pair("weights-twice", "edsr_small", files.weights_for_each),
    Pair("local-function", "scenes_vgg", files.functions),
    Pair("optimized-basic", "scenes_vgg_bn", files.optimized("BASIC")),
    Pair("optimized-basic", "branches_concat", files.optimized("BASIC")),
    Pair("optimized-extended", "scenes_resnet", files.optimized("EXTENDED")),
    Pair("other-exporter", "scenes_resnet", files.the_other("scenes_resnet_torch")),
    Pair("other-exporter", "pixelshuffle_small", files.the_other("pixelshuffle_small_torch")),
    Pair("identities", "scenes_resnet", nodes.after_each("Relu", "Identity")),
    Pair("dropout", "scenes_vgg", nodes.after_each("Relu", "Dropout")),
    Pair("transposed-twice", "scenes_vgg_bn", nodes.transposed_twice),
    Pair("relu-as-max", "scenes_vgg", nodes.relu_as_max),
    Pair("relu-as-clip", "scenes_resnet", nodes.relu_as_clip),
    Pair("clip-old-and-new", "chain_oldclip", nodes.clip_with_inputs),
    Pair("leaky-as-prelu", "residual_leaky", nodes.leaky_as_prelu),
    Pair("gelu-written-out", "chain_gelu", nodes.gelu_written_out),
    Pair("hard-swish-written-out", "residual_hardswish", nodes.hard_swish_written_out),
    Pair("instance-norm-written-out", "scenes_labels", nodes.instance_norm_written_out),
    Pair("layer-norm-written-out", "chain_layernorm", nodes.layer_norm_written_out),
    Pair("shuffle-written-out", "chain_shuffle", nodes.depth_to_space_written_out),
    Pair("concat-split", "residual_concat", nodes.concat_split),
    Pair("pads-as-pad", "scenes_resnet", nodes.pads_as_pad),
    Pair("auto-pad-written-out", "chain_same", nodes.auto_pad_written_out),
    Pair("ceil-as-pads", "residual_ceilmax", nodes.ceil_as_pads),
    Pair("output-padding-as-pads", "chain_transposeconv", nodes.output_padding_as_pads),
    Pair("mean-as-reduce", "scenes_resnet", nodes.mean_as_reduce),
    Pair("flatten-as-reshape", "scenes_vgg", nodes.flatten_as_reshape),
    Pair("shape-computed", "tiny_scores", nodes.flatten_with_computed_shape),
    Pair("dense-as-matmul", "scenes_vgg", nodes.dense_as_matmul),
    Pair("dense-as-conv", "scenes_resnet", nodes.dense_as_conv),
    Pair("sizes-for-scales", "residual_linear", nodes.sizes_for_scales),
    Pair("norm-folded", "scenes_vgg_bn", values.norms_folded),
    Pair("norm-folded", "scenes_resnet", values.norms_folded),
    Pair("norm-as-mul-add", "scenes_resnet", values.norms_as_mul_add),
    Pair("bias-as-add", "scenes_vgg", values.bias_as_add),
    Pair("constant-folded", "edsr_small", values.constants_folded),
    Pair("sub-as-add", "chain_relu", values.preprocessing_rewritten),
    Pair("preprocessing-folded", "chain_elu", values.preprocessing_folded),
    Pair("channels-permuted-throughout", "scenes_vgg", values.channels_permuted, hard=True),
    Pair("channels-rescaled-throughout", "scenes_vgg", values.channels_rescaled, hard=True),
]

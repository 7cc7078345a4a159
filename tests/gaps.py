"""Known gaps: which of the standard's cases do not pass, and why; and which operators were promised.

A pattern stands for the cases it matches whole; a reason that begins with a policy holds for that policy alone.
A gap that starts to pass fails the suite.
"""

from __future__ import annotations

NO_KERNEL = "onnxruntime has no kernel for this operator or type on the CPU"
EMPTY = "the image has no elements: there is nothing to explain"
NEW_TYPE = "the operator takes this type only since opset 28, which onnxruntime does not run yet"
TRAINING = "training mode: random, or the statistics of a batch"
SIZE = "the size of the output depends on the values of the image"
NOT_PROMISED = "an operator of losses, optimisers, sequences, signals, trees or language models"

GAPS: dict[str, str] = {}

NAMED = set(
    """Conv ConvTranspose Gemm MatMul Einsum Add Sub Mul Div Neg Pow Sqrt Reciprocal Exp Log Abs Min Max Sum Mean Where Clip
    Relu LeakyRelu PRelu ThresholdedRelu Elu Celu Selu Sigmoid HardSigmoid Tanh Softsign Softplus Gelu Swish Mish HardSwish Shrink
    Hardmax Erf Sign Floor Ceil Round Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh
    BatchNormalization InstanceNormalization LayerNormalization GroupNormalization RMSNormalization MeanVarianceNormalization LRN
    LpNormalization MaxPool AveragePool LpPool GlobalMaxPool GlobalAveragePool GlobalLpPool MaxUnpool
    ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare
    Softmax LogSoftmax Resize Upsample Pad GridSample DepthToSpace SpaceToDepth Reshape Flatten Transpose Squeeze Unsqueeze Concat
    Split Slice Expand Tile Gather GatherElements GatherND Scatter ScatterElements ScatterND Trilu CumSum ReverseSequence DeformConv
    RoiAlign Attention QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul ConvInteger MatMulInteger
    Dropout Identity Cast Constant ConstantOfShape Shape Size If Loop Affine Crop ImageScaler Scale""".split())
NEVER_NAMED = set(
    """Adagrad Adam Momentum AffineGrid ArrayFeatureExtractor Bernoulli Binarizer CastLike CausalConvWithState CenterCropPad Col2Im
    Compress CumProd DFT Det FlexAttention GRU LSTM RNN LinearAttention MelWeightMatrix Mod NegativeLogLikelihoodLoss OneHot
    OptionalGetElement Range RotaryEmbedding STFT Scan SoftmaxCrossEntropyLoss SwiGLU TensorScatter TopK TreeEnsemble Unique""".split())

"""What a sweep goes over: architectures by package, and through which exporter, in which opset and variant each goes.

A line is family, architecture, size of the image (height and width, or all of its sizes), and options of the constructor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sweep_timm import TIMM

TORCHVISION = """
alexnet alexnet 96
convnext convnext_tiny 64
efficientnet efficientnet_v2_s 64
googlenet googlenet 64
lraspp lraspp_mobilenet_v3_large 96 backbone=1
deeplabv3 deeplabv3_mobilenet_v3_large 96 backbone=1
fcn fcn_resnet50 64 backbone=1
maxvit maxvit_t 224
mobilenet mobilenet_v2 64
shufflenet shufflenet_v2_x0_5 64
squeezenet squeezenet1_1 64
swin swin_v2_t 64
vit vit_b_32 64 image_size=64
video r3d_18 3x4x56x56
video r2plus1d_18 3x4x56x56
video mc3_18 3x4x56x56
swin swin_t 64
video swin3d_t 3x4x64x64
detectors ssdlite320_mobilenet_v3_large 320 backbone=1 boxes=1 score_thresh=0.0 detections_per_img=10
detectors ssd300_vgg16 300 backbone=1 boxes=1 score_thresh=0.0 detections_per_img=10
detectors retinanet_resnet50_fpn 128 backbone=1 boxes=1 min_size=128 max_size=128 score_thresh=0.0 detections_per_img=10
detectors fcos_resnet50_fpn 128 backbone=1 boxes=1 min_size=128 max_size=128 score_thresh=0.0 detections_per_img=10
detectors fasterrcnn_mobilenet_v3_large_320_fpn 128 backbone=1 boxes=1 min_size=128 max_size=128 box_score_thresh=0.0 box_detections_per_img=10
detectors maskrcnn_resnet50_fpn 128 backbone=1 boxes=1 min_size=128 max_size=128 box_score_thresh=0.0 box_detections_per_img=10
"""

SMP = """
Unet Unet+resnet18 64
UnetPlusPlus UnetPlusPlus+mobilenet_v2 64
Linknet Linknet+resnet18 64
FPN FPN+efficientnet-b0 64
PSPNet PSPNet+resnet18 96
PAN PAN+resnet18 128
DeepLabV3 DeepLabV3+resnet18 64
DeepLabV3Plus DeepLabV3Plus+mobilenet_v2 64
MAnet MAnet+resnet18 64
Segformer Segformer+mit_b0 64
UPerNet UPerNet+resnet18 64
DPT DPT+tu-vit_tiny_patch16_224 224
Unet Unet+timm-regnetx_002 64
Unet Unet+densenet121 64
"""

SPANDREL = """
ATD ATD 32 embed_dim=24 depths=[2,2] num_heads=[2,2] upscale=2 upsampler="pixelshuffledirect" img_size=32
Compact Compact 32 num_feat=16 num_conv=4 upscale=2
CRAFT CRAFT 32 embed_dim=24 depths=[2,2] num_heads=[6,6] upscale=2
DAT DAT 32 embed_dim=24 depth=[2,2] num_heads=[2,2] split_size=[8,8] img_size=32
DCTLSA DCTLSA 32 nf=20 num_head=4 upscale=2
DITN DITN 32 dim=16 ITL_blocks=1 SAL_blocks=1 upscale=2
DRCT DRCT 32 embed_dim=24 depths=[6,6] num_heads=[6,6] window_size=8 img_size=32 gc=12 upscale=2 upsampler="pixelshuffle"
DRUNet DRUNet 1x32x32 nc=[8,16,24,32] nb=2
DnCNN DnCNN 1x32x32 nc=16 nb=6
ESRGAN ESRGAN 32 num_filters=16 num_blocks=2
FBCNN FBCNN 32 nb=1
FDAT FDAT 32 embed_dim=24 num_groups=1 num_heads=2 scale=2
FFTformer FFTformer 32 dim=12 num_blocks=[1,1,1] num_refinement_blocks=1
GRL GRL 32 img_size=32 embed_dim=24 depths=[2,2] num_heads_window=[2,2] num_heads_stripe=[2,2] upscale=2 upsampler="pixelshuffle"
HAT HAT 32 img_size=32 embed_dim=24 depths=[2,2] num_heads=[2,2] window_size=8 upscale=2 compress_ratio=3 squeeze_factor=6
SAFMNBCIE SAFMNBCIE 32 dim=16 n_blocks=2 num_layers=2 upscaling_factor=2
KBNet KBNet.KBNet_s 32 width=16 middle_blk_num=1 enc_blk_nums=[1,1] dec_blk_nums=[1,1]
RealCUGAN RealCUGAN.UpCunet3x 64
MixDehazeNet MixDehazeNet 64
MoESR MoESR 32 dim=16 n_blocks=2 n_block=1 scale=2
MoSR MoSR 32 n_block=2 dim=16 upscale=2
NAFNet NAFNet 32 enc_blk_nums=[1,1] dec_blk_nums=[1,1]
OmniSR OmniSR 32 num_feat=16 up_scale=2
PLKSR PLKSR 32 dim=16 n_blocks=2 upscaling_factor=2
PLKSR PLKSR.RealPLKSR 32 dim=16 n_blocks=2 upscaling_factor=2 dysample=true
RCAN RCAN 32 n_resgroups=2 n_resblocks=2 n_feats=16 scale=2
RGT RGT 32 img_size=32 embed_dim=24 depth=[2,2] num_heads=[2,2] split_size=[8,8]
RealCUGAN RealCUGAN.UpCunet2x 64
RetinexFormer RetinexFormer 32 n_feat=16 stage=1
SAFMN SAFMN 32 dim=16 n_blocks=2 upscaling_factor=2
SCUNet SCUNet 64 config=[1,1,1,1,1,1,1] dim=64 input_resolution=64
SPAN SPAN 32 num_in_ch=3 num_out_ch=3 feature_channels=16 upscale=2
SeemoRe SeemoRe 32 scale=2 num_layers=2 embedding_dim=16 num_experts=3
SwiftSRGAN SwiftSRGAN 32 num_channels=16 num_blocks=2 upscale_factor=2
Swin2SR Swin2SR 32 img_size=32 embed_dim=24 depths=[2,2] num_heads=[2,2] window_size=8 upsampler="pixelshuffle"
SwinIR SwinIR 32 img_size=32 embed_dim=24 depths=[2,2] num_heads=[2,2] window_size=8 upscale=2 upsampler="pixelshuffle"
Uformer Uformer 128 img_size=128 embed_dim=8 depths=[1,1,1,1,1,1,1,1,1] modulator=true
"""

KERAS = """
ConvNeXt ConvNeXtTiny 64
DenseNet DenseNet121 64
EfficientNet EfficientNetB0 64
EfficientNetV2 EfficientNetV2B0 64
InceptionResNetV2 InceptionResNetV2 96
InceptionV3 InceptionV3 96
MobileNet MobileNet 64 alpha=0.25
MobileNetV2 MobileNetV2 64 alpha=0.35
MobileNetV3 MobileNetV3Small 64 alpha=0.75
MobileNetV3 MobileNetV3Large 64 alpha=0.75 minimalistic=true
NASNet NASNetMobile 64
ResNet ResNet50 64
ResNetV2 ResNet50V2 64
VGG VGG16 64
Xception Xception 96
"""

PADDLE = """
LeNet LeNet 1x28x28
DenseNet densenet121 64
GoogLeNet googlenet 224
InceptionV3 inception_v3 96
MobileNetV1 mobilenet_v1 64 scale=0.25
MobileNetV2 mobilenet_v2 64 scale=0.25
MobileNetV3 mobilenet_v3_small 64
MobileNetV3 mobilenet_v3_large 64
ResNet resnet18 64
ResNet resnet50 64
ResNeXt resnext50_32x4d 64
ResNet wide_resnet50_2 64
ShuffleNetV2 shufflenet_v2_x0_25 64
ShuffleNetV2 shufflenet_v2_swish 64
SqueezeNet squeezenet1_0 96
SqueezeNet squeezenet1_1 96
VGG vgg11 64
"""

# the exporters of each package's architectures, with the opsets that they take turns with
TORCH = {"torch-dynamo": tuple(range(18, 24)), "torch-script": tuple(range(11, 21))}
KERAS_EXPORTERS = {
    "tf2onnx": tuple(range(11, 19)),
    "keras-torch": (18, 20, 22),
    "keras-tensorflow": (15, 17),
    "jax2onnx": (21, 23),
}
PACKAGES: dict[str, tuple[str, dict[str, tuple[int, ...]], int]] = {
    # the exporters through which each architecture goes: one of them in turn, or all
    "timm": (TIMM, TORCH, 1),
    "torchvision": (TORCHVISION, TORCH, 1),
    "smp": (SMP, TORCH, 1),
    "spandrel": (SPANDREL, TORCH, 1),
    "keras": (KERAS, KERAS_EXPORTERS, 2),
    "paddle": (PADDLE, {"paddle2onnx": tuple(range(11, 20))}, 1),
}
VARIANTS = {4: "float16", 9: "QDQ"}  # of a tenth of the architectures each
NUMBERED = {"keras": {}, "paddle": {"num_classes": 10}}


@dataclass(frozen=True)
class Case:
    """One architecture through one exporter, as it is or in another precision."""

    exporter: str
    package: str
    family: str
    architecture: str
    size: str  # channels, height, width
    opset: int
    options: str  # of the constructor, as JSON
    variant: str = ""  # float16 or QDQ

    @property
    def name(self) -> str:
        """What the case is known by in results, and as a file."""
        parts = (self.exporter, self.package, self.architecture, f"opset{self.opset}", self.variant)
        return "-".join(filter(None, parts)).replace("/", "_")


def cases() -> list[Case]:
    """All cases: the packages take turns, in the order of their tables; other precisions come last."""
    every = [
        (bool(case.variant), k, case) for package in PACKAGES for k, case in enumerate(of_package(package))
    ]
    return [case for *_, case in sorted(every, key=lambda entry: entry[:2])]


def of_package(package: str) -> Iterator[Case]:
    table, exporters, through = PACKAGES[package]
    names = list(exporters)
    for k, line in enumerate(table.split("\n")[1:-1]):
        family, architecture, size, *options = line.split()
        made = {**NUMBERED.get(package, {}), **dict(map(option, options))}
        sizes = size if "x" in size else f"3x{size}x{size}"
        for exporter in (names[(k + turn) % len(names)] for turn in range(through)):
            opset = exporters[exporter][k // len(names) % len(exporters[exporter])]
            case = Case(exporter, package, family, architecture, sizes, opset, json.dumps(made))
            yield case
            tenth = (k + k // 10) % 10  # so that it falls on all exporters
            if tenth in VARIANTS and exporter == names[k % len(names)]:
                yield replace(case, variant=VARIANTS[tenth])


def option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name, json.loads(value)

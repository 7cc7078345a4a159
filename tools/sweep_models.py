"""What a sweep goes over: architectures by package, and through which exporter, in which opset and variant each goes.

A line is family, architecture, size of the image (height and width, or all of its sizes), and options of the constructor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

TIMM = """
beit beit_base_patch16_224 64 img_size=64 depth=2 embed_dim=96 num_heads=3
beit beitv2_base_patch16_224 64 img_size=64 depth=2 embed_dim=96 num_heads=3
byoanet halonet_h1 256
byoanet lambda_resnet26t 64
byoanet botnet26t_256 128 img_size=128
byobnet test_byobnet 64
byobnet mobileone_s0 64
byobnet repvgg_a0 64
byobnet gcresnext26ts 64
cait cait_xxs24_224 64 img_size=64 depth=2
coat coat_tiny 64 img_size=64
coat coat_lite_tiny 64 img_size=64
convit convit_tiny 64 img_size=64 depth=2
convmixer convmixer_768_32 64
convnext test_convnext 64
convnext test_convnext2 64
convnext test_convnext3 64
convnext convnext_zepto_rms 64
cpubone cpubone_nano 64
crossvit crossvit_tiny_240 120 img_size=120 depth=[[1,2,0],[1,2,0],[1,2,0]]
csatv2 csatv2 128
cspnet cs3darknet_focus_s 64
cspnet cspresnet50 64
cspnext cspnext_tiny 64
davit davit_tiny 64 depths=[1,1,1,1]
deepseek_vit deepseek_vit_412m 84 depth=2 embed_dim=96 num_heads=3
deit deit_tiny_patch16_224 64 img_size=64 depth=2
deit deit_tiny_distilled_patch16_224 64 img_size=64 depth=2
densenet densenet121 64
densenet densenetblur121d 64
dla dla46x_c 64
dla dla46_c 64
dpn dpn48b 64
dpn dpn68 64
edgenext edgenext_xx_small 64
efficientformer efficientformer_l1 224
efficientformer_v2 efficientformerv2_s0 224
efficientnet test_efficientnet 64
efficientnet test_efficientnet_gn 64
efficientnet test_efficientnet_ln 64
efficientnet test_efficientnet_evos 64
efficientnet efficientnet_lite0 64
efficientnet tf_efficientnet_b0 64
efficientnet mnasnet_small 64
efficientnet mixnet_s 64
efficientnet tinynet_e 64
efficientvim efficientvim_m1 64
efficientvit_mit efficientvit_b0 64
efficientvit_msra efficientvit_m0 128 img_size=128
eva eva02_tiny_patch14_224 56 img_size=56 depth=2
eva vit_tiny_patch16_dinov3_qkvb 64 img_size=64 depth=2
fasternet fasternet_t0 64
fastvit fastvit_t8 64
focalnet focalnet_tiny_srf 64 depths=[1,1,1,1] embed_dim=32
gcvit gcvit_xxtiny 64 img_size=64
gemma4_vit gemma4_vit_167m 96 depth=2 embed_dim=96 num_heads=3
ghostnet ghostnet_050 64
ghostnet ghostnetv2_100 64
ghostnet ghostnetv3_050 64
hardcorenas hardcorenas_a 64
hgnet hgnetv2_b0 64
hgnet hgnet_tiny 64
hiera hiera_tiny_224 64 img_size=64 embed_dim=32
hieradet_sam2 hieradet_small 64 embed_dim=32
hrnet hrnet_w18_small 64
iformer iformer_t 64
inception_next inception_next_atto 64
inception_resnet_v2 inception_resnet_v2 96
inception_v3 inception_v3 96
inception_v4 inception_v4 96
lcnetv2 lcnetv2_small 64
levit levit_128s 224
levit levit_conv_128s 224
lowformer lowformer_b0 64
mambaout test_mambaout 64
maxxvit test_coatnet 64 img_size=64
maxxvit test_maxvit 64 img_size=64
metaformer poolformer_s12 64
metaformer caformer_s18 64 depths=[1,1,1,1] dims=[32,64,96,128]
metaformer convformer_s18 64 depths=[1,1,1,1] dims=[32,64,96,128]
mlp_mixer gmlp_ti16_224 64 img_size=64 num_blocks=3
mlp_mixer gmixer_12_224 64 img_size=64 num_blocks=3
mlp_mixer resmlp_12_224 64 img_size=64 num_blocks=3
mlp_mixer mixer_s16_224 64 img_size=64 num_blocks=3
mobilenetv3 lcnet_035 64
mobilenetv3 mobilenetv3_small_050 64
mobilenetv3 fbnetc_100 64
mobilenetv3 mobilenetv4_conv_small_035 64
mobilenetv3 mobilenetv4_hybrid_medium 64
mobilenetv5 mobilenetv5_base 64
mobilevit mobilevit_xxs 64
mobilevit mobilevitv2_050 64
mvitv2 mvitv2_tiny 64 img_size=64 depths=[1,1,2,1] embed_dim=48
naflexvit naflexvit_base_patch16_gap 64 depth=2 embed_dim=96 num_heads=3
nasnet nasnetalarge 96 num_conv_filters=4 num_reduction_filters=4
nest nest_tiny 64 img_size=64 embed_dims=[48,96,192] num_heads=[1,2,4] depths=[1,1,2]
nextvit nextvit_small 64 depths=[1,1,2,1]
nfnet test_nfnet 64
nfnet nf_regnet_b0 64
nfnet dm_nfnet_f0 64 depths=[1,1,1,1]
pit pit_ti_224 64 img_size=64
pnasnet pnasnet5large 96
pvt_v2 pvt_v2_b0 64
qwen3_vit qwen3_vit_88m 64 depth=2 embed_dim=96 num_heads=3
rdnet rdnet_tiny 64
regnet regnetx_002 64
regnet regnety_002 64
regnet regnetz_b16 64
repghost repghostnet_050 64
repvit repvit_m0_9 64
res2net res2next50 64 layers=[1,1,1,1]
res2net res2net50_14w_8s 64 layers=[1,1,1,1]
resnest resnest14d 64
resnet test_resnet 64
resnet resnet10t 64
resnet ecaresnet26t 64 layers=[1,1,1,1]
resnet resnetrs50 64 layers=[1,1,1,1]
resnet seresnext26d_32x4d 64 layers=[1,1,1,1]
resnet resnetblur50 64 layers=[1,1,1,1]
resnetv2 resnetv2_18 64
resnetv2 resnetv2_50x1_bit 64 layers=[1,1,1,1]
rexnet rexnet_100 64
selecsls selecsls42 64
senet legacy_seresnet18 64
senet legacy_senet154 64 layers=[1,1,1,1]
sequencer sequencer2d_s 64 img_size=64 layers=[1,1,2,1]
shvit shvit_s1 64
sknet skresnet18 64
starnet starnet_s050 64
swiftformer swiftformer_xs 64
swin_transformer swin_tiny_patch4_window7_224 56 img_size=56 depths=[1,1,2,1] embed_dim=48
swin_transformer swin_s3_tiny_224 56 img_size=56 window_size=[7,7,7,7] depths=[1,1,2,1] embed_dim=48
swin_transformer_v2 swinv2_tiny_window8_256 64 img_size=64 depths=[1,1,2,1] embed_dim=48
swin_transformer_v2_cr swinv2_cr_tiny_224 64 img_size=64 depths=[1,1,2,1] embed_dim=48
tiny_vit tiny_vit_5m_224 64
tnt tnt_s_patch16_224 64 img_size=64 depth=2
tresnet tresnet_m 64 layers=[1,1,1,1]
twins twins_svt_small 64 img_size=64 depths=[1,1,2,1]
twins twins_pcpvt_small 64 img_size=64 depths=[1,1,2,1]
vgg vgg11 64
vgg vgg11_bn 64
visformer visformer_tiny 64 img_size=64
vision_transformer test_vit 64 img_size=64
vision_transformer test_vit2 64 img_size=64
vision_transformer test_vit3 64 img_size=64
vision_transformer vit_tiny_patch16_224 64 img_size=64 depth=2
vision_transformer_hybrid vit_tiny_r_s16_p8_224 64 img_size=64 depth=2
vision_transformer_relpos test_vit_relpos 64 img_size=64
vision_transformer_sam samvit_base_patch16_224 64 img_size=64 depth=2 embed_dim=96 num_heads=3 global_attn_indexes=[1]
vitamin vitamin_small_224 64 img_size=64 depths=[1,1,2,1]
volo volo_d1_224 64 img_size=64 layers=[1,1,1,1]
vovnet ese_vovnet19b_slim_dw 64
vovnet vovnet39a 64
xception legacy_xception 64
xception_aligned xception41p 64
xcit xcit_nano_12_p8_224 64 img_size=64 depth=2
"""

TORCHVISION = """
alexnet alexnet 96
convnext convnext_tiny 64
efficientnet efficientnet_v2_s 64
googlenet googlenet 64
lraspp lraspp_mobilenet_v3_large 96 backbone=1
deeplabv3 deeplabv3_mobilenet_v3_large 96 backbone=1
fcn fcn_resnet50 64 backbone=1
maxvit maxvit_t 64 input_size=[64,64] partition_size=2
mobilenet mobilenet_v2 64
shufflenet shufflenet_v2_x0_5 64
squeezenet squeezenet1_1 64
swin swin_v2_t 64
vit vit_b_32 64 image_size=64 num_layers=2
video r3d_18 3x4x56x56
video r2plus1d_18 3x4x56x56
video s3d 3x16x64x64
video mvit_v2_s 3x16x224x224
video swin3d_t 3x4x64x64
detectors ssdlite320_mobilenet_v3_large 320 backbone=1 boxes=1
detectors ssd300_vgg16 300 backbone=1 boxes=1
detectors retinanet_resnet50_fpn 128 backbone=1 boxes=1 min_size=128 max_size=128
detectors fcos_resnet50_fpn 128 backbone=1 boxes=1 min_size=128 max_size=128
detectors fasterrcnn_mobilenet_v3_large_320_fpn 128 backbone=1 boxes=1 min_size=128 max_size=128
detectors maskrcnn_resnet50_fpn 128 backbone=1 boxes=1 min_size=128 max_size=128
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
DCTLSA DCTLSA 32 nf=20 num_modules=2 num_head=4 upscale=2
DITN DITN 32 dim=16 ITL_blocks=1 SAL_blocks=1 upscale=2
DRCT DRCT 32 embed_dim=24 depths=[6,6] num_heads=[6,6] window_size=8 img_size=32 gc=12 upscale=2 upsampler="pixelshuffle"
DRUNet DRUNet 1x32x32 nc=[8,16,24,32] nb=2
DnCNN DnCNN 1x32x32 nc=16 nb=6
ESRGAN ESRGAN 32 num_filters=16 num_blocks=2
FBCNN FBCNN 32 nc=[8,16,24,32] nb=2
FDAT FDAT 32 embed_dim=24 num_groups=1 num_heads=2 scale=2
FFTformer FFTformer 32 dim=12 num_blocks=[1,1,1] num_refinement_blocks=1
GRL GRL 32 img_size=32 embed_dim=24 depths=[2,2] num_heads_window=[2,2] num_heads_stripe=[2,2] upscale=2 upsampler="pixelshuffle"
HAT HAT 32 img_size=32 embed_dim=24 depths=[2,2] num_heads=[2,2] window_size=8 upscale=2 compress_ratio=3 squeeze_factor=6
HVICIDNet HVICIDNet 32 channels=[12,12,24,48]
KBNet KBNet.KBNet_s 32 width=16 middle_blk_num=1 enc_blk_nums=[1,1] dec_blk_nums=[1,1]
LaMa LaMa 4x64x64 in_nc=4
MixDehazeNet MixDehazeNet 32
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
SCUNet SCUNet 64 config=[1,1,1,1,1,1,1] dim=16 input_resolution=64
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
GoogLeNet googlenet 96
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

"""The architectures of timm that a sweep goes over, at least one of each module; the lines are as sweep_models.py says."""

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
focalnet focalnet_tiny_srf 64
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
metaformer caformer_s18 64
metaformer convformer_s18 64
mlp_mixer gmlp_ti16_224 64 img_size=64
mlp_mixer gmixer_12_224 64 img_size=64
mlp_mixer resmlp_12_224 64 img_size=64
mlp_mixer mixer_s16_224 64 img_size=64
mobilenetv3 lcnet_035 64
mobilenetv3 mobilenetv3_small_050 64
mobilenetv3 fbnetc_100 64
mobilenetv3 mobilenetv4_conv_small_035 64
mobilenetv3 mobilenetv4_hybrid_medium 64
mobilenetv5 mobilenetv5_base 64
mobilevit mobilevit_xxs 64
mobilevit mobilevitv2_050 64
mvitv2 mvitv2_tiny 64 img_size=64
naflexvit naflexvit_base_patch16_gap 64 depth=2 embed_dim=96 num_heads=3
nasnet nasnetalarge 96
nest nest_tiny 64 img_size=64
nextvit nextvit_small 64
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
resnetv2 resnetv2_50x1_bit 64
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
vitamin vitamin_small_224 64 img_size=64
volo volo_d1_224 64 img_size=64
vovnet ese_vovnet19b_slim_dw 64
vovnet vovnet39a 64
xception legacy_xception 64
xception_aligned xception41p 64
xcit xcit_nano_12_p8_224 64 img_size=64 depth=2
"""

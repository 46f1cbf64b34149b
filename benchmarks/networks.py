"""The laws of prepared networks on small networks of many families, as timm has them; a table.

    python benchmarks/networks.py [NAME ...] [--laws 1 2 5]

Each is held against the laws in float64, on two images, with random weights; timm must be installed (hrat[models]).
What conversion refuses is told with its reason.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import torch

from hrat.errors import HratError
from hrat.testing import check_laws

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from model_packages import package

FAMILIES = """
resnet10t resnetv2_18 resnext26ts seresnext26ts densenet121 mobilenetv2_035 mobilenetv3_small_050
mobilenetv4_conv_small_035 efficientnet_lite0 efficientnetv2_rw_t tf_efficientnet_b0 mixnet_s mnasnet_050 fbnetc_100
spnasnet_100 semnasnet_050 hardcorenas_a ghostnet_050 ghostnetv2_100 lcnet_035 tinynet_e regnetx_002 regnety_002
regnetz_005 rexnet_100 res2net50_14w_8s resnest14d gernet_s repvgg_a0 mobileone_s0 dla34 dpn48b hrnet_w18_small
inception_v3 inception_next_atto cspresnet50 darknet17 nf_regnet_b0 convnext_atto convnextv2_atto edgenext_xx_small
poolformer_s12 convmixer_768_32 mixer_s32_224 resmlp_12_224 gmlp_ti16_224 vit_tiny_patch16_224 deit_tiny_patch16_224
cait_xxs24_224 xcit_nano_12_p16_224 pit_ti_224 levit_128s visformer_tiny coat_lite_tiny twins_svt_small
swin_tiny_patch4_window7_224 crossvit_tiny_240 mobilevit_xxs mobilevitv2_050 efficientformer_l1 fastvit_t8
repvit_m0_9 starnet_s1 efficientvit_b0 tiny_vit_5m_224 nextvit_small tresnet_m sequencer2d_s selecsls42 hgnet_tiny
shvit_s1 tnt_s_legacy_patch16_224 focalnet_tiny_srf
"""
SMALL = 96
"""Side of the images for networks that take any."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=FAMILIES.split(), metavar="NAME", help="networks of timm")
    parser.add_argument("--laws", type=int, nargs="+", default=[1, 2, 5])
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    timm = package("timm")
    held = 0
    print("| network | laws | seconds | |\n|---|---|---:|---|")
    for name in options.names:
        start = time.perf_counter()
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=5).double().eval()
        word, why = findings(model, options.laws)
        held += word == "hold"
        print(f"| {name} | {word} | {time.perf_counter() - start:.0f} | {why} |", flush=True)
    print(f"\n{held} of {len(options.names)}")


def findings(model: torch.nn.Module, laws: list[int]) -> tuple[str, str]:
    """Whether the laws hold, and what is broken or why it is refused."""
    try:
        report = check_laws(model, "generic-4bit", images_for(model), laws=laws, throw=False)
    except HratError as error:
        return "refused", str(error).replace("\n", " ")[:300]
    broken = [f"{finding.name}: {finding.detail}" for finding in report.findings if not finding.ok]
    return ("broken", "; ".join(broken)[:300]) if broken else ("hold", "")


def images_for(model: torch.nn.Module) -> torch.Tensor:
    """Two images, small ones if the network takes these."""
    channels, height, width = model.default_cfg["input_size"]  # type: ignore[index, union-attr]
    images = torch.randn(2, channels, SMALL, SMALL, dtype=torch.float64)
    try:
        with torch.no_grad():
            model(images)
    except Exception:  # whatever a network raises for a size that it does not take
        return torch.randn(2, channels, height, width, dtype=torch.float64)
    return images


if __name__ == "__main__":
    main()

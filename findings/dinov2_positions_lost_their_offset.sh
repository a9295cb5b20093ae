#!/usr/bin/env bash
# transformers resizes the position table of DINOv2 otherwise than DINOv2 does, and than it did itself.
#
# Expected: the same weights give the same features. DINOv2's own code (its hub models have an
# `interpolate_offset` of 0.1) resizes the table of 37 x 37 positions by the factor (patches + 0.1) / 37,
# bicubic, without antialiasing. transformers ports this code, cites it in the docstring, and had it so.
#
# What happens: 4.38 equals the original. Later versions resize to the number of patches, without the
# offset: torch then takes its sampling places from 16 / 37 and not from 16.1 / 37, so every place is
# another one. For a table of noise and an input of 224 pixels the result is 30 % (rms) away;
# for one that is smooth over two cells 6 %. The models with registers, published with an offset of 0 and
# with antialiasing, are equal in all versions that have them. Neither warns, and loading succeeds.
#
# Why it matters: DINOv2 at another size than 518 pixels, which is how it is mostly used, has other
# features than in DINOv2's repository and in older versions. What was trained on stored features of one
# is used with those of the other.
#
# Needs: bash, python3.11, pip. Prints versions, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'torch==2.13.0' 'numpy==2.4.6'
install() {
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --target "$work/$1" \
        "transformers==$1" 'numpy==2.4.6'
}
install 4.38.2
install 5.24.0
cat > "$work/compare.py" <<'PYTHON'
import torch
import transformers
from torch.nn import functional as F

SIZE, SIDE = 224, 37
CELLS = SIZE // 14


def original(table, offset, antialias):
    """As interpolate_pos_encoding of facebookresearch/dinov2."""
    grid = table.reshape(1, SIDE, SIDE, -1).permute(0, 3, 1, 2)
    to = {"scale_factor": ((CELLS + offset) / SIDE,) * 2} if offset else {"size": (CELLS, CELLS)}
    resized = F.interpolate(grid, mode="bicubic", antialias=antialias, **to)
    return resized.permute(0, 2, 3, 1).reshape(1, CELLS * CELLS, -1)


found = []
for name, offset, antialias in (("Dinov2", 0.1, False), ("Dinov2WithRegisters", 0.0, True)):
    config = getattr(transformers, f"{name}Config", None)
    if config is None:
        found.append("absent")
        continue
    torch.manual_seed(0)
    shape = dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=2)
    model = getattr(transformers, f"{name}Model")(config(image_size=518, patch_size=14, **shape))
    embeddings = model.eval().embeddings
    torch.nn.init.normal_(embeddings.position_embeddings)
    with torch.no_grad():
        tokens = torch.zeros(1, 1 + CELLS * CELLS, 64)
        own = embeddings.interpolate_pos_encoding(tokens, SIZE, SIZE)[:, 1:]
        theirs = original(embeddings.position_embeddings[:, 1:], offset, antialias)
    found.append(f"{((own - theirs).norm() / theirs.norm()).item():.2f}")
print(transformers.__version__, *found)
PYTHON
result=""
for version in 4.38.2 5.24.0; do
    result+="$(PYTHONPATH="$work/$version" "$work/venv/bin/python" "$work/compare.py" 2> "$work/log")"$'\n'
done
echo "version, distance from the original (rms): DINOv2, DINOv2 with registers"
echo -n "$result"
if [ "$result" = $'4.38.2 0.00 absent\n5.24.0 0.30 0.00\n' ]; then
    echo "as described"
else
    cat "$work/log"
    echo "CHANGED"
    exit 1
fi

#!/usr/bin/env bash
# The word "llava" in a config.json changes the token ids of a Llama tokenizer, and how depends on
# the version of transformers.
#
# Expected: a folder with `tokenizer.model` and a `tokenizer_config.json` that names LlamaTokenizer
# (as Vicuna, LISA and GLaMM ship theirs) has the ids of sentencepiece under every version, whatever
# model the config.json beside them describes. Sentencepiece puts a space before the first word
# ("Which" is the piece "▁Which").
#
# What happens: with `model_type: llama` AutoTokenizer is right. With `model_type: llava`, which LISA's
# and GLaMM's files say, it takes the class TokenizersBackend in place of the one that the folder
# names. Under transformers 5.4.0 that one leaves the first space out, so the first word of every text
# has other ids than in training. Under 5.24.0 plain text is right, but with `legacy: true` a second
# space comes behind every added token: "[SEG] (IMAGE1)" has one token more. LlamaTokenizer, called by
# name, gives sentencepiece's ids in all eight cases, and the same ids behind an added token. Nothing
# warns.
#
# Why it matters: a model gets a first word that it has hardly ever seen, and code that looks for a
# token sequence in answers (LISA and its successors look for "[SEG]" and what follows) finds it under
# one version and not under the other. Scores change, no error is raised.
#
# Needs: bash, python3.11, pip. Prints version, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    'sentencepiece==0.2.1' 'protobuf==6.33.0' 'jinja2==3.1.6'
cat > "$work/make.py" <<'PYTHON'
"""Write a small model of sentencepiece with Llama's settings, and folders around it."""
import io
import json
import pathlib

import sentencepiece

TEXTS = ["Which parts do both objects have in common?", "Both are a mug (IMAGE1) and (IMAGE2).",
         "The handle and the lid belong to one of them only."] * 3
written = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXTS), model_writer=written, vocab_size=340, model_type="bpe",
    byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
    minloglevel=2)
for kind, legacy in [(k, l) for k in ("llama", "llava") for l in (True, False)]:
    folder = pathlib.Path(f"{kind}-{legacy}")
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": legacy, "bos_token": "<s>",
                "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "added_tokens.json").write_text(json.dumps({"[SEG]": 340}))
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
PYTHON
cat > "$work/ids.py" <<'PYTHON'
"""Print what both classes make of two texts, beside sentencepiece, as JSON."""
import json
import sys

import sentencepiece
from transformers import AutoTokenizer, LlamaTokenizer

PLAIN, ADDED = "Which parts do both have?", "Both are [SEG] (IMAGE1)"
found = {}
for folder in ("llama-True", "llama-False", "llava-True", "llava-False"):
    oracle = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/tokenizer.model")
    for kind in (AutoTokenizer, LlamaTokenizer):
        tokenizer = kind.from_pretrained(folder)
        ids = tokenizer(PLAIN, add_special_tokens=False)["input_ids"]
        added = tokenizer(ADDED, add_special_tokens=False)["input_ids"]
        found[f"{kind.__name__} {folder}"] = {
            "as sentencepiece": ids == oracle.encode(PLAIN),
            "first": tokenizer.convert_ids_to_tokens(ids[:1])[0],
            "behind [SEG]": tokenizer.convert_ids_to_tokens(added[added.index(340) + 1 :][:2]),
        }
json.dump(found, open(sys.argv[1], "w"), ensure_ascii=False)
PYTHON
cd "$work"
"$work/venv/bin/python" make.py
for version in 5.4.0 5.24.0; do
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --upgrade \
        --target "$work/$version" "transformers==$version"
    PYTHONPATH="$work/$version" TRANSFORMERS_VERBOSITY=error "$work/venv/bin/python" ids.py \
        "$work/$version.json" 2> /dev/null
done
"$work/venv/bin/python" - <<'PYTHON'
import json
import sys

rows = {version: json.load(open(f"{version}.json")) for version in ("5.4.0", "5.24.0")}
for version, found in rows.items():
    print(f"transformers {version}:")
    for name, seen in found.items():
        print(f"  {name:26} {json.dumps(seen, ensure_ascii=False)}")
right, wrong = {}, {}
for version, found in rows.items():
    for name, seen in found.items():
        (wrong if name.startswith("AutoTokenizer llava") else right)[version, name] = seen
behind = {json.dumps(seen["behind [SEG]"]) for seen in right.values()}
expected = (
    all(seen["as sentencepiece"] for seen in right.values())
    and len(behind) == 1
    and not any(seen["as sentencepiece"] for (v, _), seen in wrong.items() if v == "5.4.0")
    and all(seen["as sentencepiece"] for (v, _), seen in wrong.items() if v == "5.24.0")
    and json.dumps(wrong["5.24.0", "AutoTokenizer llava-True"]["behind [SEG]"]) not in behind
)
print("as described" if expected else "the behaviour has changed")
sys.exit(not expected)
PYTHON

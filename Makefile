# Two commands for a stranger: `make demo` runs everything once, `make test` checks everything.
# Both set themselves up in .venv from nothing but Python 3.11 (or later) and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/ready
DEMO := runs/demo
STUDY := runs/study
SOURCES := --sources paco partimagenet ade20k
# Two synthetic pictures of the test split, a bus and a truck.
PAIR := $(addprefix $(DEMO)/sources/ADE20KPart234/images/validation/, \
	ADE_val_09000786.jpg ADE_val_09000113.jpg)

# The lower bounds in pyproject.toml that decide whether the model works, and which values data,
# labels and metrics have; and the tests of these.
OLDEST := transformers==5.4.0 peft==0.18.0 numpy==1.26.4 opencv-python==4.10.0.84 pillow==11.0.0 \
	pyarrow==19.0.1 pycocotools==2.0.8 pysimdjson==6.0.2 datasets==4.0.0
OLDEST_TESTS := tests/calico tests/builders/formats $(addprefix tests/mixedparts/,test_masks.py \
	test_loading.py images tables entities synthetic/test_painting.py synthetic/test_raster.py \
	interchange/test_round_trip.py interchange/export pipeline/test_odd_runs.py \
	verification/test_tables.py viewer/selection)

# datumaro allows only older numpy, pandas and pyarrow, but works with the newest. So it is installed
# without its dependencies, and those that .venv does not have come with it.
READERS := datumaro==1.13.12 'cachetools<8' 'imagesize<3' 'json-stream<3' \
	json-stream-rs-tokenizer 'lxml<7' 'orjson<4' 'ruamel.yaml<0.20' attrs

.PHONY: demo test test-oldest test-readers test-demo test-slow lint docs docs-serve setup \
	benchmarks gpu-check study-data preset ablations clean

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[train,quantized,view,serve,webdataset,dev,docs]'
	touch $(READY)

# Synthetic sources -> dataset -> load -> train -> evaluate -> a picture; goes on where it stopped.
demo: $(READY)
	$(BIN)/mixedparts sample --out $(DEMO)/sources --images 1000 --seed 1
	$(BIN)/mixedparts build $(SOURCES) --root $(DEMO)/sources \
		--out $(DEMO)/mixedparts --samples 20000
	$(BIN)/python -c "import mixedparts; print(mixedparts.load_dataset('$(DEMO)/mixedparts'))"
	$(BIN)/calico-train --dataset $(DEMO)/mixedparts --preset tiny --config docs/demo.yaml \
		--output-dir $(DEMO)/calico --resume auto
	$(BIN)/calico-eval --dataset $(DEMO)/mixedparts --checkpoint $(DEMO)/calico --split benchmark \
		--limit 450 --json $(DEMO)/evaluation.json
	$(BIN)/calico-predict $(PAIR) --task common_parts --checkpoint $(DEMO)/calico \
		--out $(DEMO)/prediction
	@echo "a predicted pair: $(DEMO)/prediction/overlay.png"

test: $(READY)
	$(BIN)/pytest -m 'not slow'

# The model's tests, and those that compare with recorded values, on the oldest versions that
# pyproject.toml allows. Everything else comes from .venv: this one only lies over it.
test-oldest: .venv-oldest/ready
	.venv-oldest/bin/python -m pytest $(OLDEST_TESTS) -m 'not slow'

.venv-oldest/ready: $(READY) Makefile
	rm -rf .venv-oldest
	$(BIN)/python -m venv .venv-oldest
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$(.venv-oldest/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/newest.pth
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check $(OLDEST)
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# The COCO export read by datumaro, in an environment that lies over .venv like .venv-oldest.
test-readers: .venv-readers/ready
	.venv-readers/bin/python -m pytest tests/mixedparts/interchange/export/test_coco_readers.py

.venv-readers/ready: $(READY) Makefile
	rm -rf .venv-readers
	$(BIN)/python -m venv .venv-readers
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$(.venv-readers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/newest.pth
	.venv-readers/bin/pip install --quiet --disable-pip-version-check --no-deps $(READERS)
	touch $@

# The demo, in an environment that lies over .venv: gradio allows only an older Pillow.
test-demo: .venv-demo/ready
	.venv-demo/bin/python -m pytest tests/calico/demo tests/calico/cli/test_demo.py

.venv-demo/ready: $(READY) Makefile
	rm -rf .venv-demo
	$(BIN)/python -m venv .venv-demo
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$(.venv-demo/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/newest.pth
	.venv-demo/bin/pip install --quiet --disable-pip-version-check 'gradio>=6,<7'
	.venv-demo/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

test-slow: $(READY)
	$(BIN)/pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy mixedparts builders calico
	$(BIN)/lint-imports --no-cache --no-logo

# The documentation as a site of plain files: open site/index.html. A broken link or anchor fails it.
# The variable silences a note of the theme about its successor.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# The same on http://127.0.0.1:8000/, where the search works, built again after every change.
docs-serve: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

benchmarks: $(READY)
	$(BIN)/python -m benchmarks.build_speed --write docs/benchmarks.md

# Everything that runs on a GPU, in at most eight minutes on one of them (docs/gpu-check.md).
gpu-check: $(READY)
	$(BIN)/python -m benchmarks.gpu_check --write docs/gpu-check.md

# Synthetic datasets, to train on (seed 1, with contrasting samples) and to evaluate on (77 and 5).
study-data: $(READY)
	$(BIN)/mixedparts sample --out $(STUDY)/sources-1 --images 3000 --seed 1
	$(BIN)/mixedparts build $(SOURCES) --root $(STUDY)/sources-1 \
		--out $(STUDY)/seed-1 --samples 40000 --contrast 0.8
	for seed in 77 5; do \
		$(BIN)/mixedparts sample --out $(STUDY)/sources-$$seed --images 600 --seed $$seed && \
		$(BIN)/mixedparts build $(SOURCES) --root $(STUDY)/sources-$$seed \
			--out $(STUDY)/seed-$$seed --samples 9000 || exit; done

# The whole tiny preset and its scores (docs/training.md): half an hour on two cores; goes on where
# it stopped.
preset: study-data
	$(BIN)/calico-train --dataset $(STUDY)/seed-1 --preset tiny --output-dir $(STUDY)/tiny \
		--resume auto
	$(BIN)/calico-eval --dataset $(STUDY)/seed-77 --checkpoint $(STUDY)/tiny --split benchmark \
		--json $(STUDY)/evaluation.json
	@echo "strict mIoU, label F1 and all other variants: $(STUDY)/evaluation.json"
	$(BIN)/python -m benchmarks.preset_scores --checkpoint $(STUDY)/tiny \
		--test-dataset $(STUDY)/seed-77 --test-dataset $(STUDY)/seed-5 --write docs/comparing.md

# The ablation study at the preset's full budget, from its encoders: some 20 minutes of CPU time for
# each of 21 runs; goes on where it stopped.
ablations: preset
	$(BIN)/python -m benchmarks.ablations --dataset $(STUDY)/seed-1 \
		--test-dataset $(STUDY)/seed-77 --encoders $(STUDY)/tiny/encoders --seeds 0 1 2 \
		--limit 200 --triangles 100 --jobs 2 --out $(STUDY)/ablations \
		--write docs/ablations.md

clean:
	rm -rf .venv .venv-oldest .venv-readers .venv-demo runs site

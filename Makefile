# Thin over meson and ninja. Everything that is made lies in build/.
# Targets: all unit asan tsan valgrind fuzz wire crash faults faults-full demo-pg lint bench install clean; ./test runs them all.
# What needs a PostgreSQL takes the one in CENOTE_TEST_PG: `tools/pg with make unit` starts one for that time.
B = build
JOBS = $(shell nproc)
ROUNDS = 30
SECONDS = 30
PREFIX = /usr/local
FUZZERS = $(basename $(notdir $(filter-out tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c))))
MESON_TEST = meson test --no-rebuild --num-processes $(JOBS) --print-errorlogs
TEST_ARGS = --suite unit --suite no-valgrind
# For unit tests of the encoder, once `make model` has got it.
CENOTE_MODEL_DIR ?= $(wildcard $(CURDIR)/$(B)/models/minilm)
export CENOTE_MODEL_DIR
CLANG_FORMAT = $(shell command -v clang-format-14 || command -v clang-format)
CLANG_TIDY = $(shell command -v clang-tidy-14 || command -v clang-tidy)
SCRIPTS = run test src/cli/init/run .ci/run tools/deps tools/check-layers tools/check-banned tests/tools/checkers_test bench/run bench/recall/run examples/postgres/run clients/js/tests/run clients/python/tests/run
SOURCES = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h')

all: $(B)/build.ninja
	ninja -C $(B) cenote

$(B)/build.ninja:
	meson setup $(B) -Dbuildtype=release -Db_ndebug=false >/dev/null

# Everything, unit tests too.
everything: $(B)/build.ninja
	ninja -C $(B)

unit: everything
	$(MESON_TEST) -C $(B) $(TEST_ARGS)

$(B)/asan/build.ninja:
	meson setup $(B)/asan -Dwerror=true -Db_sanitize=address,undefined >/dev/null
$(B)/tsan/build.ninja:
	meson setup $(B)/tsan -Dwerror=true -Db_sanitize=thread >/dev/null
# The debug build that valgrind runs: no fortify wrappers, little optimisation.
$(B)/debug/build.ninja:
	meson setup $(B)/debug -Dwerror=true -Dbuildtype=debug -Doptimization=1 -Dwatchdog=true >/dev/null
$(B)/fuzz/build.ninja:
	CC=clang-14 meson setup $(B)/fuzz -Dfuzzers=true -Dtests=false -Db_sanitize=address,undefined -Db_lundef=false \
		-Dc_args=-fsanitize=fuzzer-no-link -Doptimization=1 >/dev/null

asan: $(B)/asan/build.ninja
	ninja -C $(B)/asan
	ASAN_OPTIONS=abort_on_error=1:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		$(MESON_TEST) -C $(B)/asan $(TEST_ARGS) --timeout-multiplier 4

tsan: $(B)/tsan/build.ninja
	ninja -C $(B)/tsan
	TSAN_OPTIONS=halt_on_error=1:atexit_sleep_ms=0:second_deadlock_stack=1:suppressions=$(CURDIR)/tests/tsan.supp \
		$(MESON_TEST) -C $(B)/tsan $(TEST_ARGS) --timeout-multiplier 8

valgrind: $(B)/debug/build.ninja
	ninja -C $(B)/debug
	CENOTE_VALGRIND=1 $(MESON_TEST) -C $(B)/debug --suite unit --timeout-multiplier 10 --wrapper \
		'valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --suppressions=$(CURDIR)/tests/valgrind.supp'

# Each target SECONDS long, from its corpus; what is new goes to a folder outside the tree.
fuzz: $(B)/fuzz/build.ninja
	ninja -C $(B)/fuzz
	@tests/fuzz/run $(B)/fuzz/tests $(SECONDS) $(FUZZERS)

wire: all env model
	$(B)/.venv/bin/python -m pytest -q -p no:cacheprovider tests/wire
	cd tests/wire/js && CENOTE_NODE_MODULES=$(CURDIR)/$(B)/js/node_modules node --test
	CENOTE_NODE_MODULES=$(CURDIR)/$(B)/js/node_modules clients/js/tests/run

# Python and npm packages with the versions pinned in tests/wire, below build/.
env: $(B)/.venv/ok $(B)/js/ok $(B)/mlflow/ok
# A server of its own packages (390 MB), which would clash with those of the tests.
$(B)/mlflow/ok: tests/wire/requirements-mlflow.txt
	python3 -m venv $(B)/mlflow
	$(B)/mlflow/bin/pip install -q --disable-pip-version-check --no-deps -r tests/wire/requirements-mlflow.txt
	rm -f $(B)/mlflow/template.db
	touch $@
$(B)/.venv/ok: tests/wire/requirements.txt
	python3 -m venv $(B)/.venv
	$(B)/.venv/bin/pip install -q --disable-pip-version-check -r tests/wire/requirements.txt
	$(B)/.venv/bin/pip install -q --disable-pip-version-check --no-deps --upgrade --target $(B)/agents-0.20 openai-agents==0.20.0
	touch $@
$(B)/js/ok: tests/wire/js/package.json
	mkdir -p $(B)/js && cp tests/wire/js/package.json $(B)/js/
	cd $(B)/js && npm install --silent --no-audit --no-fund --no-package-lock
	touch $@

# The model for search by meaning, where ./run and the tests look for it.
model: $(B)/models/minilm
$(B)/models/minilm: | all
	$(B)/cenote model add minilm --quiet --embed-model-dir $(B)/models

# The kill test: make crash ROUNDS=500 [SEED=n] [STORE=postgres] [GAP=5]
crash: all $(B)/.venv/ok
	$(B)/.venv/bin/python tests/crash/kill.py --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(if $(STORE),--store $(STORE)) \
		$(if $(GAP),--gap $(GAP))

$(B)/failio.so: tests/tools/failio.c
	$(CC) -shared -fPIC -O1 -Wall -Wextra -o $@ $< -ldl
faults: all $(B)/.venv/ok $(B)/failio.so
	$(B)/.venv/bin/python -m pytest -q -p no:cacheprovider tests/crash
# The same as long as the product's promises say: 5 s without a database, 30 s of killed connections, ... (some minutes); and what else
# has promised times, which the other runs only know with room for a machine that has other things to do.
faults-full: everything $(B)/.venv/ok $(B)/failio.so
	CENOTE_FAULTS_FULL=1 $(B)/.venv/bin/python -m pytest -q -p no:cacheprovider tests/crash
	CENOTE_FAULTS_FULL=1 $(B)/.venv/bin/python -m pytest -q -p no:cacheprovider tests/wire/test_isolation.py tests/wire/test_pg_interop.py
	CENOTE_FAULTS_FULL=1 tools/pg with $(MESON_TEST) -C $(B) --num-processes 1 store/postgres-exec store/postgres-outage \
		store/postgres-feed store/postgres-rank store/postgres-vectors store/postgres-schema

# PostgresStore, PostgreSQL and Cenote together, step by step.
demo-pg:
	examples/postgres/run

lint: layers format shell tidy
layers:
	tools/check-layers
	tools/check-banned
	tests/tools/checkers_test
format:
	$(CLANG_FORMAT) --dry-run --Werror $(SOURCES)
# Writes what `format` asks for.
fmt:
	$(CLANG_FORMAT) -i $(SOURCES)
shell:
	shellcheck $(SCRIPTS) tests/fuzz/run
	for f in $(SCRIPTS) tests/fuzz/run; do dash -n $$f || exit 1; done
# The analyzer looks at so many states of a function and no more: five times quicker, since few functions have more.
TIDY_ARGS = --extra-arg=-Xclang --extra-arg=-analyzer-config --extra-arg=-Xclang --extra-arg=max-nodes=40000
tidy: $(B)/debug/build.ninja
	ninja -C $(B)/debug build.ninja
	git ls-files 'src/*.c' | grep -v '_test\.c$$' | xargs -P $(JOBS) -n 4 $(CLANG_TIDY) --quiet -p $(B)/debug $(TIDY_ARGS)

bench: all
	bench/run

install: all
	meson install -C $(B) --no-rebuild --quiet $(if $(DESTDIR),--destdir $(DESTDIR))

clean:
	rm -rf $(B)

.PHONY: all everything unit asan tsan valgrind fuzz wire env model crash faults faults-full demo-pg lint layers format fmt shell tidy bench install clean

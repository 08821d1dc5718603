# Two commands: `make run` (tells a story with the model that ships) and `make test`. Everything else is a shorthand for
# a CMake preset. Packages come from scripts/packages.txt.
.DEFAULT_GOAL := help
SHELL := /bin/bash
JOBS ?= $(shell nproc)
LATHE := build/release/bin/lathe
FUZZ_SECONDS ?= 30

.PHONY: help packages build page run test format tidy asan tsan aarch64 fuzz bench install clean

help: ## show these targets
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9]+):.*## (.*)/  make \1\t\2/' | expand -t 18

packages: ## install what is missing of scripts/packages.txt (with sudo when not root)
	@scripts/install-packages.sh

build/release/build.ninja: | packages
	@cmake --preset release

build: packages build/release/build.ninja ## build/release/bin/lathe
	@cmake --build build/release -j $(JOBS) --target lathe

page: packages build/release/build.ninja ## build the web page again, say once there is a network, and the program around it
	@touch ui/package.json
	@cmake --build build/release -j $(JOBS) --target lathe

run: build ## build, and generate text with the model that ships (ARGS="-p 'Once'" for another prompt)
	@$(LATHE) run $(ARGS)

test: packages build/release/build.ninja ## build everything and run every test
	@cmake --build build/release -j $(JOBS)
	@ctest --test-dir build/release -j 2 --output-on-failure

format: ## clang-format every source file in place
	@scripts/sources.sh | xargs -0 clang-format -i

tidy: packages ## clang-tidy over every source file
	@cmake --preset debug && scripts/tidy.sh build/debug

asan: packages ## the tests under the address and undefined-behaviour sanitizers
	@cmake --preset asan-ubsan && cmake --build build/asan-ubsan -j $(JOBS)
	@ctest --test-dir build/asan-ubsan -j 2 --output-on-failure -LE 'style|install'

tsan: packages ## the concurrent rooms' tests under the thread sanitizer
	@cmake --preset tsan && cmake --build build/tsan -j $(JOBS) --target test_base test_kernels test_cache test_engine
	@ctest --test-dir build/tsan -j 1 --output-on-failure -L '^(base|kernels|cache|engine)$$'

aarch64: packages ## the kernels' tests on emulated 64-bit ARM (installs a cross compiler and arm64 libraries)
	@scripts/install-packages.sh scripts/packages-aarch64.txt
	@cmake --preset aarch64 -DCMAKE_CXX_FLAGS=$(if $(MARCH),-march=$(MARCH)) && cmake --build build/aarch64 -j $(JOBS) --target test_tensor test_kernels
	@ctest --test-dir build/aarch64 -j 2 --output-on-failure -L '^(tensor|kernels)$$'

fuzz: packages ## every fuzz target for FUZZ_SECONDS each
	@cmake --preset fuzz && cmake --build build/fuzz -j $(JOBS)
	@scripts/fuzz.sh build/fuzz $(FUZZ_SECONDS)

bench: packages ## build the micro-benchmarks
	@cmake --preset release -DLATHE_BENCH=ON && cmake --build build/release -j $(JOBS)

install: packages build/release/build.ninja ## program, library, headers to PREFIX (default /usr/local)
	@cmake --build build/release -j $(JOBS) && cmake --install build/release --prefix $(or $(PREFIX),/usr/local)

clean: ## remove build/
	@rm -rf build

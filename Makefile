# What people do here, and nothing else: each line calls a script of the same name in scripts/.
# Flags go in ARGS, as in `make run ARGS="--host simulated"`.

ARGS ?=

.PHONY: help run test bench conformance build-all image deploy deploy-installer crash simulate fuzz mutants clean

help:              ## this list
	@sed -n 's/^\([a-z-]*\): *## */\1|/p' Makefile | awk -F'|' '{ printf "make %-18s %s\n", $$1, $$2 }'

run:               ## a container host with one pod, on this machine
	@scripts/run $(ARGS)

test:              ## format, lints, every test, documents, dependency rules
	@scripts/test

bench:             ## the figures of docs/performance.md
	@scripts/bench $(ARGS)

conformance:       ## suites and clients of others: the OCI suite, Python, npm, kube, kopf, schemathesis
	@scripts/conformance $(ARGS)

build-all:         ## release binaries for every machine
	@scripts/later build-all "for this machine, 'cargo build --release --locked' makes target/release/mkube"

image:             ## the container image for a router
	@scripts/later image "there is no image to build from yet"

deploy:            ## put the image on a router
	@scripts/later deploy "there is no image to put there yet"

deploy-installer:  ## put the installer on a router
	@scripts/later deploy-installer "there is no installer yet"

crash:             ## kill -9, torn files, lost power: long
	@scripts/crash

simulate:          ## simulation seeds, many
	@scripts/simulate

fuzz:              ## fuzzing, long
	@scripts/fuzz

mutants:           ## each promise broken on purpose, its test must turn red
	@scripts/mutants $(ARGS)

clean:             ## remove what `make run` left on this machine, and what was built
	@scripts/clean

# SPDX-License-Identifier: MIT
#
# What a person types. Each target is one line into scripts/ or qemu/, where the work is explained.

.PHONY: help run test test-debug shell demo-two-vms bench check build clean distclean

help: ## Show this
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: ## Send a file (INPUT=path; default: the kernel's image) through the driver, in a VM
	@qemu/vm --add $(if $(INPUT),'$(INPUT)' -- kpipe demo '$(INPUT)',build/kernel-stock/vmlinuz:/boot/vmlinuz -- kpipe demo)

test: ## Run every test, on the host and in a VM with Debian's own kernel
	@scripts/test

test-debug: ## Run the VM's tests on a kernel with KASAN, lockdep and leak detection
	@scripts/test --kernel debug

shell: ## An interactive shell in a VM with the module loaded
	@qemu/vm

demo-two-vms: ## Send a file (INPUT=path) from a queue in one VM to a queue in another
	@qemu/demo-two-vms $(if $(INPUT),'$(INPUT)')

bench: ## Compare the device with pipe(2) and sockets (ICOUNT=1: in instructions)
	@qemu/vm --timeout 0 $(if $(ICOUNT),--icount) -- kpipe bench $(if $(ICOUNT),--icount)

check: ## Formatting, lints, the unsafe fence, shell scripts
	@scripts/check

build: ## Only build
	@scripts/build

clean: ## Remove what was built here
	rm -rf build

distclean: clean ## Remove the cache too (toolchain, kernels), for all checkouts
	@scripts/remove-cache

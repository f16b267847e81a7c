# shellcheck shell=bash
# Sourced on the host and in the box.

# What in the kernel's log makes a run or a test fail (extended regular expression).
# shellcheck disable=SC2034
KERNEL_WARNINGS='WARNING:|BUG:|kernel BUG at|Oops|Call Trace|blocked for more than|rcu.*stall|soft lockup|INFO: possible|inconsistent lock state|general protection fault|refcount_t:|UBSAN|KASAN|KFENCE:|scheduling while atomic|DMA-API:|unreferenced object|drm_WARN'
